"""What the workers count, in CloudWatch's embedded metric format."""

import json
import time
from dataclasses import replace

import pytest

from local.sample_bot import OVERLOADED, Answer
from relay.domain.signing import NotAuthentic
from relay.domain.strict_json import Malformed
from support.callbacks import lower_case, part_body, signed_headers
from support.queued_messages import deliver, queued
from support.workers import final_part


@pytest.fixture
def emitted(workers, capsys):
    """Emit and return what was counted: the values of each metric, by dimension."""

    def emit():
        capsys.readouterr()
        workers.metrics.emit()
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line]
        values = {}
        for line in lines:
            (described,) = line["_aws"]["CloudWatchMetrics"]
            assert described["Namespace"] == "LangBotRelay/test"
            ((dimension,),) = described["Dimensions"]
            for metric in described["Metrics"]:
                values[metric["Name"], dimension, line[dimension]] = line[metric["Name"]]
        return values

    return emit


def receive(talk, receiver, raw, secret="out-secret"):
    receiver.receive(talk.name, lower_case(signed_headers(raw, secret)), raw)


def test_a_delivery_is_counted_with_its_latency(talk, dispatcher, emitted):
    deliver(dispatcher, replace(queued(talk, "SILENT"), queued_at=time.time() - 5))
    values = emitted()
    assert values.pop(("Delivered", "bot", talk.name)) == [1]
    ((metric, _, bot),) = values
    assert (metric, bot) == ("DeliveryLatency", talk.name)
    assert 5000 <= values[metric, "bot", bot][0] < 65_000


@pytest.mark.parametrize(
    ("answer", "metric"), [(OVERLOADED, "Refused"), (Answer(drop=True), "Unknown")], ids=["503", "dropped"]
)
def test_a_failed_attempt_is_counted_by_its_outcome(talk, dispatcher, emitted, answer, metric):
    talk.bot.answer_with(answer)
    deliver(dispatcher, queued(talk))
    assert emitted() == {(metric, "bot", talk.name): [1]}


def test_a_message_that_langbot_refuses_for_good_is_counted_as_parked(talk, dispatcher, emitted):
    talk.bot.answer_with(Answer(400, {"code": 40001, "data": None, "msg": "failed to parse message: x"}))
    deliver(dispatcher, queued(talk))
    assert emitted() == {("Refused", "bot", talk.name): [1], ("Parked", "bot", talk.name): [1]}


@pytest.mark.parametrize(
    "fields", [{"text": None}, {"bot": "a-made-up-name"}], ids=["invalid", "unknown bot"]
)
def test_a_name_that_a_sender_made_up_is_no_dimension(talk, dispatcher, emitted, fields):
    deliver(dispatcher, queued(talk, **fields))
    assert emitted() == {("Parked", "bot", "unknown"): [1]}


def test_the_time_to_the_answer_is_counted_once(talk, workers, dispatcher, emitted):
    message = queued(talk, "SILENT")
    deliver(dispatcher, message)
    emitted()
    final = final_part(talk, workers.record(message)["accepted_message_id"], message.queued_at + 7)
    for _ in range(2):
        workers.settler().settle(final)
    assert emitted() == {("TimeToAnswer", "bot", talk.name): [7000]}


@pytest.mark.usefixtures("only_this_bot")
def test_an_unanswered_message_is_counted(talk, workers, dispatcher, emitted):
    deliver(dispatcher, queued(talk, "SILENT"))
    emitted()
    assert workers.at(time.time() + 901).sweeper().sweep(lambda: 60) == 1
    assert emitted() == {("Unanswered", "bot", talk.name): [1]}


def test_a_part_is_counted_only_if_it_was_stored_before(talk, workers, emitted):
    receiver, raw = workers.receiver(), part_body(talk)
    receive(talk, receiver, raw)
    assert emitted() == {}
    receive(talk, receiver, raw)
    assert emitted() == {("Duplicates", "bot", talk.name): [1]}


def test_a_body_in_the_quarantine_is_counted(talk, workers, emitted):
    with pytest.raises(Malformed):
        receive(talk, workers.receiver(), b"{}")
    assert emitted() == {("Quarantined", "bot", talk.name): [1]}


def test_a_refused_signature_is_named_by_its_reason(talk, workers):
    receiver, raw = workers.receiver(), part_body(talk)
    with pytest.raises(NotAuthentic) as mismatch:
        receive(talk, receiver, raw, secret="wrong")
    with pytest.raises(NotAuthentic) as unknown:
        receiver.receive("missing", lower_case(signed_headers(raw)), raw)
    assert (mismatch.value.refusal, unknown.value.refusal) == ("signature_mismatch", "unknown_bot")
