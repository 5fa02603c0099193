"""What push, settle and callback measure: the lines that they write in the embedded metric format."""

import json
import time
from dataclasses import replace

import pytest

from local.sample_bot import OVERLOADED, Answer
from support.callbacks import part_body, signed_headers
from support.parked_messages import UNPARSED
from support.queued_messages import again, deliver, queued
from support.waiting import eventually
from support.workers import final_part


@pytest.fixture
def lines(capsys):
    """Returns the lines of the embedded metric format that were written since the last call."""
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def values(line):
    """Return the values of a line by metric, and the one dimension that they have; () if they have none."""
    (described,) = line["_aws"]["CloudWatchMetrics"]
    (dimensions,) = described["Dimensions"]
    dimension = tuple(text for name in dimensions for text in (name, line[name]))
    return dimension, {one["Name"]: line[one["Name"]] for one in described["Metrics"]}


@pytest.fixture
def emitted(workers, lines):
    """Emits what the workers have measured, and returns it by dimension and metric."""

    def emitted():
        workers.metrics.emit()
        return dict(map(values, lines()))

    return emitted


def test_a_delivery_is_counted_with_its_latency(talk, dispatcher, emitted):
    message = replace(queued(talk), queued_at=time.time() - 5)
    deliver(dispatcher, message)
    longest = (time.time() - message.queued_at) * 1000
    measured = emitted()
    assert measured.keys() == {("bot", talk.name)}
    assert measured["bot", talk.name].keys() == {"Delivered", "DeliveryLatency"}
    assert measured["bot", talk.name]["Delivered"] == [1]
    assert 5000 <= measured["bot", talk.name]["DeliveryLatency"][0] <= longest + 1


def test_the_lines_name_the_namespace_and_the_units(talk, workers, dispatcher, lines):
    deliver(dispatcher, queued(talk))
    workers.metrics.emit()
    (line,) = lines()
    (described,) = line["_aws"]["CloudWatchMetrics"]
    assert described["Namespace"] == "LangBotRelay/test"
    units = {one["Name"]: one["Unit"] for one in described["Metrics"]}
    assert units == {"Delivered": "Count", "DeliveryLatency": "Milliseconds"}


def test_nothing_is_emitted_twice(talk, dispatcher, emitted):
    deliver(dispatcher, queued(talk))
    emitted()
    assert emitted() == {}


def test_a_503_is_counted_as_refused(talk, dispatcher, emitted):
    talk.bot.answer_with(OVERLOADED)
    deliver(dispatcher, queued(talk))
    assert emitted() == {("bot", talk.name): {"Refused": [1]}}


def test_a_dropped_connection_is_counted_as_unknown(talk, dispatcher, emitted):
    talk.bot.answer_with(Answer(drop=True))
    deliver(dispatcher, queued(talk))
    assert emitted() == {("bot", talk.name): {"Unknown": [1]}}


def test_a_message_that_waits_for_its_bot_is_not_counted(talk, workers, emitted):
    talk.bot.answer_with(OVERLOADED)
    dispatcher = workers.at(time.time()).dispatcher()
    message, other = queued(talk), replace(queued(talk), group_id="other")
    deliver(dispatcher, message)
    emitted()
    assert deliver(dispatcher, other) == [other.message_id]
    assert emitted() == {}


def test_a_400_is_counted_as_refused_and_parked(talk, dispatcher, emitted):
    talk.bot.answer_with(UNPARSED)
    deliver(dispatcher, queued(talk))
    assert emitted() == {("bot", talk.name): {"Refused": [1], "Parked": [1]}}


def test_a_message_that_was_parked_before_is_not_counted_again(talk, dispatcher, emitted):
    talk.bot.answer_with(UNPARSED)
    message = queued(talk)
    deliver(dispatcher, message)
    emitted()
    deliver(dispatcher, again(message))
    assert emitted() == {}


@pytest.mark.parametrize("fields", [{"text": ["no text"]}, {"bot": "made-up"}, {"bot": "NO BOT"}])
def test_a_parked_message_without_a_bot_is_counted_for_bot_unknown(talk, dispatcher, emitted, fields):
    deliver(dispatcher, queued(talk, **fields))
    assert emitted() == {("bot", "unknown"): {"Parked": [1]}}


def test_the_time_to_answer_is_measured_once(talk, workers, dispatcher, emitted):
    message = replace(queued(talk, "SILENT"), queued_at=int(time.time()) - 60)
    deliver(dispatcher, message)
    emitted()
    reply_to = workers.record(message)["accepted_message_id"]
    final = final_part(talk, reply_to, message.queued_at + 90)
    workers.settler().settle(final)
    assert emitted() == {("bot", talk.name): {"TimeToAnswer": [90_000]}}
    workers.settler().settle(final)
    assert emitted() == {}


def test_a_reply_in_the_response_is_measured_by_push(talk, dispatcher, emitted):
    deliver(dispatcher, queued(talk, action="sync"))
    measured = emitted()["bot", talk.name]
    assert measured["Delivered"] == [1]
    assert measured["TimeToAnswer"] == measured["DeliveryLatency"]


@pytest.mark.usefixtures("only_this_bot")
def test_unanswered_messages_are_counted(talk, workers, dispatcher, emitted):
    deliver(dispatcher, *(queued(talk, "SILENT") for _ in range(2)))
    emitted()
    workers.at(time.time() + 901).due_items().handle(lambda: 60)
    assert emitted()["bot", talk.name] == {"Unanswered": [1, 1]}


@pytest.mark.usefixtures("only_this_bot")
def test_a_message_that_is_resent_is_not_counted_as_unanswered(talk, workers, dispatcher, emitted):
    deliver(dispatcher, queued(talk, "SILENT"))
    emitted()
    workers.at(time.time() + 901).due_items(max_resends=1).handle(lambda: 60)
    assert ("bot", talk.name) not in emitted()


@pytest.mark.usefixtures("only_this_bot")
def test_each_minute_the_number_of_parked_messages_is_measured(talk, workers, dispatcher, emitted):
    def parked():
        workers.due_items().handle(lambda: 60)
        return sum(emitted().get((), {}).get("ParkedMessages", []))

    before = parked()
    talk.bot.answer_with(UNPARSED)
    deliver(dispatcher, queued(talk))
    eventually(lambda: parked() == before + 1)


def test_a_part_that_is_stored_at_once_emits_nothing(talk, callback, lines):
    assert callback.post(talk, part_body(talk))[0] == 200
    assert lines() == []


def test_a_retry_of_langbots_is_counted_as_a_duplicate(talk, callback, lines):
    raw = part_body(talk)
    callback.post(talk, raw)
    callback.post(talk, raw)
    assert [values(line) for line in lines()] == [(("bot", talk.name), {"Duplicates": [1]})]


def test_a_signed_body_that_is_no_part_is_counted_as_quarantined(talk, callback, lines):
    assert callback.post(talk, b"{}")[0] == 400
    assert [values(line) for line in lines()] == [(("bot", talk.name), {"Quarantined": [1]})]


def test_a_part_that_cannot_be_stored_is_counted_as_spilled(talk, callback, lines):
    callback.table.mode, callback.queue.mode = "refuses", "accepts"
    assert callback.post(talk, part_body(talk))[0] == 200
    assert [values(line) for line in lines()] == [(("bot", talk.name), {"Spilled": [1]})]


def test_a_part_of_the_spill_queue_that_was_stored_before_is_a_duplicate(talk, callback, lines):
    callback.table.mode, callback.queue.mode = "refuses", "accepts"
    callback.post(talk, part_body(talk))
    callback.table.mode = "works"
    spilled = callback.queue.accepted * 2
    lines()
    assert callback.store_spilled(*spilled) == []
    assert [values(line) for line in lines()] == [(("bot", talk.name), {"Duplicates": [1]})]


def late(raw):
    return signed_headers(raw, timestamp=str(int(time.time()) - 400))


@pytest.mark.parametrize(
    ("bot", "headers", "reason"),
    [
        (None, lambda _: {}, "timestamp_missing"),
        (None, lambda raw: signed_headers(raw, timestamp="soon"), "timestamp_malformed"),
        (None, late, "timestamp_expired"),
        (None, lambda raw: signed_headers(raw) | {"X-LB-Signature": ""}, "signature_missing"),
        (None, lambda raw: signed_headers(raw, secret="forged"), "signature_mismatch"),
        ("made-up", signed_headers, "unknown_bot"),
        ("NO BOT", signed_headers, "unknown_bot"),
    ],
)
def test_a_refused_signature_is_counted_by_its_reason_alone(talk, callback, lines, bot, headers, reason):
    raw = part_body(talk)
    assert callback.post(talk, raw, headers(raw), bot)[0] == 401
    (line,) = lines()
    assert values(line) == (("reason", reason), {"SignatureRefused": [1]})
    assert (bot or talk.name) not in json.dumps(line)


@pytest.mark.parametrize(("age", "late"), [(1700, {}), (1900, {(): {"LateMessages": [1]}})])
def test_a_message_that_stays_on_the_queue_for_half_an_hour_is_late(talk, dispatcher, emitted, age, late):
    talk.bot.answer_with(OVERLOADED)
    deliver(dispatcher, replace(queued(talk), queued_at=time.time() - age))
    assert emitted() == {("bot", talk.name): {"Refused": [1]}} | late


def test_a_message_that_leaves_the_queue_is_not_late(talk, dispatcher, emitted):
    deliver(dispatcher, replace(queued(talk), queued_at=time.time() - 1900))
    assert emitted().keys() == {("bot", talk.name)}
