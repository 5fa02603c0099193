"""A push that dies at any point loses nothing: real tables and a real bot, deaths made by hand."""

import time
from dataclasses import replace

import pytest

from local.sample_bot import OVERLOADED, Answer
from support.deaths import Died, dying
from support.parked_messages import UNPARSED
from support.queued_messages import again, deliver, queued
from support.waiting import eventually

ACCEPTED = ("delivered", "answered")  # its reply may have come by then


def statuses(talk):
    return [request.status for request in talk.bot.received]


@pytest.mark.parametrize(
    ("part", "method", "when"),
    [
        ("bot_registry", "get", "before"),
        ("admission_control", "admit", "before"),
        ("admission_control", "admit", "after"),
        ("langbot", "post", "before"),
        ("langbot", "post", "after"),
        ("messages_table", "write", "before"),
        ("messages_table", "write", "after"),
        ("admission_control", "record_success", "before"),
        ("admission_control", "record_success", "after"),
    ],
)
def test_a_message_whose_function_died_is_delivered_once(talk, workers, dispatcher, part, method, when):
    message = queued(talk)
    with pytest.raises(Died):
        deliver(dying(dispatcher, part, method, when), message)
    assert deliver(dispatcher, again(message)) == []
    assert workers.record(message)["state"] in ACCEPTED
    eventually(talk.conversation().turns)
    assert statuses(talk).count(202) == 1


def test_a_late_copy_of_a_refused_message_is_not_accepted_twice(talk, workers, dispatcher):
    talk.bot.answer_with(Answer(429))
    message = queued(talk)
    deliver(dispatcher, message)
    later = workers.at(time.time() + 3).dispatcher()
    assert deliver(later, again(message)) == []
    deliver(later, message)
    assert statuses(talk) == [429, 202, 409]


def test_a_late_copy_of_a_message_does_not_give_back_a_key_that_was_used_up(talk, workers, dispatcher):
    talk.bot.answer_with(OVERLOADED)
    message = queued(talk)
    deliver(dispatcher, message)
    assert deliver(workers.at(time.time() + 3).dispatcher(), message) == [message.message_id]
    deliver(workers.at(time.time() + 70).dispatcher(), again(message))
    assert statuses(talk) == [503, 409, 202]


def test_two_deliveries_of_a_refused_message_do_not_make_it_delivered(talk, workers, dispatcher):
    talk.bot.answer_with(OVERLOADED)
    message = again(queued(talk))
    deliver(dispatcher, message)
    late = workers.at(time.time() + 3).dispatcher()
    table = ReadsNothingAtFirst(late.messages_table)
    assert deliver(replace(late, messages_table=table), message) == [message.message_id]
    deliver(workers.at(time.time() + 70).dispatcher(), again(message))
    assert statuses(talk) == [503, 409, 202]


class ReadsNothingAtFirst:
    """MessagesTable, as a delivery sees it that read it before the other one wrote the record."""

    def __init__(self, messages_table):
        self.messages_table, self.reads = messages_table, 0

    def read(self, key):
        self.reads += 1
        return self.messages_table.read(key) if self.reads > 1 else None

    def __getattr__(self, name):
        return getattr(self.messages_table, name)


def test_a_function_that_died_after_a_refusal_leaves_the_key(talk, workers, dispatcher):
    talk.bot.answer_with(Answer(429), Answer(), Answer(429))
    message = queued(talk)
    deliver(dispatcher, message)
    with pytest.raises(Died):
        deliver(dying(workers.at(time.time() + 3).dispatcher(), "langbot", "post", "after"), again(message))
    for seconds in (70, 140, 210, 280):
        deliver(workers.at(time.time() + seconds).dispatcher(), again(message))
    assert statuses(talk).count(202) == 1
    assert workers.record(message)["state"] in ACCEPTED


def test_a_message_whose_record_was_written_is_not_posted_again(talk, dispatcher):
    message = queued(talk)
    deliver(dispatcher, message)
    deliver(dispatcher, again(message))
    assert len(talk.bot.received) == 1


def test_a_recorded_accepted_id_survives_a_second_delivery(talk, workers, dispatcher):
    message = queued(talk, "SILENT")
    deliver(dispatcher, message)
    before = workers.record(message)
    deliver(dispatcher, again(message))
    assert workers.record(message) == before


class RecordingParkedQueue:
    def __init__(self):
        self.reasons = []

    def put(self, _queued, record):
        self.reasons.append(record["reason"])


@pytest.mark.parametrize(("part", "method"), [("messages_table", "write"), ("parked_queue", "put")])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_message_whose_function_died_while_parking_is_on_parked_queue(talk, dispatcher, part, method, when):
    message, parked_queue = queued(talk, text=None), RecordingParkedQueue()
    with pytest.raises(Died):
        deliver(dying(dispatcher, part, method, when), message)
    assert deliver(replace(dispatcher, parked_queue=parked_queue), again(message)) == []
    assert parked_queue.reasons == ["give either message or text"]


@pytest.mark.parametrize("method", ["mark_resent", "write"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_message_whose_function_died_while_resending_it_is_sent_once(
    talk, workers, dispatcher, method, when
):
    talk.bot.answer_with(UNPARSED)
    original = queued(talk)
    deliver(dispatcher, original)
    resend = replace(queued(talk), resend_of=workers.record(original)["message"])
    with pytest.raises(Died):
        deliver(dying(dispatcher, "messages_table", method, when), resend)
    assert deliver(dispatcher, again(resend)) == []
    assert workers.record(original)["state"] == "resent"
    assert workers.record(resend)["state"] in ACCEPTED
    assert statuses(talk).count(202) == 1


def test_a_sync_reply_whose_function_died_before_the_record_is_stored_once(talk, workers, dispatcher):
    message = queued(talk, action="sync")
    with pytest.raises(Died):
        deliver(dying(dispatcher, "messages_table", "write", "before"), message)
    deliver(dispatcher, again(message))
    assert [part["text"] for part in talk.conversation().parts()] == ["echo: hello"]
    assert workers.record(message)["state"] in ACCEPTED


def test_a_burned_key_is_remembered_from_one_function_to_the_next(talk, workers, dispatcher):
    talk.bot.answer_with(OVERLOADED)
    message = queued(talk)
    assert deliver(dispatcher, message) == [message.message_id]
    assert deliver(workers.at(time.time() + 3).dispatcher(), again(message)) == []
    assert len(set(talk.keys())) == 2
    assert workers.record(message)["accepted_message_id"].startswith("in_")


@pytest.mark.parametrize(
    ("part", "method"),
    [
        ("messages_table", "write"),
        ("admission_control", "record_failure"),
        ("bot_registry", "invalidate"),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_message_whose_function_died_while_it_failed_is_delivered_once(
    talk, workers, dispatcher, part, method, when
):
    talk.bot.answer_with(Answer(502, takes="message"))
    message = queued(talk)
    with pytest.raises(Died):
        deliver(dying(dispatcher, part, method, when), message)
    assert deliver(workers.at(time.time() + 3).dispatcher(), again(message)) == []
    assert workers.record(message)["state"] in ACCEPTED
    assert len(talk.bot.emitted) == 1


def test_a_message_is_parked_once_its_time_is_up_and_not_before(talk, workers):
    talk.bot.answer_with(*[Answer(502)] * 3)
    message = queued(talk)
    now = int(time.time())
    assert deliver(workers.at(now).dispatcher(), message) == [message.message_id]
    message = again(message)
    assert deliver(workers.at(now + 3599).dispatcher(), message) == [message.message_id]
    assert workers.record(message)["state"] == "retrying"
    message = again(message)
    assert deliver(workers.at(now + 3662).dispatcher(), message) == []
    record = workers.record(message)
    assert record["state"] == "parked"
    assert record["reason"] == "tried for 3662 s, 3 times; at last answered 502"


def test_a_message_that_merely_waited_is_never_parked(talk, workers, dispatcher):
    old = replace(queued(talk), receive_count=5000, queued_at=time.time() - 13 * 86_400)
    assert deliver(dispatcher, old) == []
    assert workers.record(old)["state"] in ACCEPTED


def test_an_old_message_is_parked_before_the_queue_deletes_it(talk, workers):
    talk.bot.answer_with(Answer(503))
    dispatcher = workers.at(time.time()).dispatcher()
    other = queued(talk)
    old = replace(queued(talk), group_id="old", queued_at=time.time() - 13.6 * 86_400)
    deliver(dispatcher, other)
    assert deliver(dispatcher, old) == []
    assert workers.record(old)["state"] == "parked"
    assert len(talk.bot.received) == 1


def test_a_message_for_which_there_is_no_time_left_is_not_tried(talk, workers, dispatcher):
    message = queued(talk)
    assert deliver(dispatcher, message, seconds_left=5) == [message.message_id]
    assert (talk.bot.received, workers.record(message)) == ([], None)


class RefusingTable:
    """A table that refuses one message."""

    def __init__(self, messages_table, message_id):
        self.messages_table, self.message_id = messages_table, message_id

    def write(self, record, if_new=False):
        if record["message_id"] == self.message_id:
            raise OSError("no table")
        return self.messages_table.write(record, if_new)

    def __getattr__(self, name):
        return getattr(self.messages_table, name)


def test_a_message_that_the_table_refuses_stays_and_other_sessions_go_on(talk, workers, dispatcher):
    message, other = queued(talk), replace(queued(talk), group_id="other")
    table = RefusingTable(dispatcher.messages_table, message.message_id)
    assert deliver(replace(dispatcher, messages_table=table), message, other) == [message.message_id]
    assert workers.record(other)["state"] in ACCEPTED
    deliver(dispatcher, again(message))
    assert workers.record(message)["state"] in ACCEPTED
    assert statuses(talk).count(202) == 2


def test_the_messages_behind_a_failed_one_stay_with_it(talk, dispatcher):
    talk.bot.answer_with(Answer(502))
    messages = [queued(talk, f"m{n}") for n in range(3)]
    assert deliver(dispatcher, *messages) == [message.message_id for message in messages]
    assert len(talk.bot.received) == 1


def test_a_parked_message_does_not_hold_up_the_next(talk, workers, dispatcher):
    talk.bot.answer_with(UNPARSED)
    messages = [queued(talk, f"m{n}") for n in range(2)]
    assert deliver(dispatcher, *messages) == []
    parked, next_one = workers.records(*messages)
    assert parked["state"] == "parked"
    assert next_one["state"] in ACCEPTED
