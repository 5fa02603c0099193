"""Taking back a message that waits on the queue."""

import json
import time

import pytest

from local.sample_bot import Answer
from relay import InvalidState, Messages
from relay.adapters.dynamodb import Table
from relay.client import messages as client_messages
from relay.domain.keys import BOTS
from support.parked_messages import park
from support.queued_messages import again, deliver, queued
from support.waiting import eventually

BUSY = Answer(429, headers={"Retry-After": "20"})
"""The message is tried again when the command has long begun."""


@pytest.fixture
def messages(talk):
    return Messages(talk.deployed.stack)


@pytest.fixture
def cancelled(talk):
    """Cancel a message that no queue has, but that the test delivers by itself."""

    def cancelled(message):
        control = talk.deployed.stack.open_admission_control()
        control.cancel(talk.name, message.message_id, time.time(), time.time() + 60)

    return cancelled


def marks(talk):
    table = Table(talk.deployed.client("dynamodb"), talk.deployed.stack.messages_table)
    return (table.get({"session": BOTS, "message": talk.name}) or {}).get("cancelled", [])


def test_a_message_behind_another_is_dropped_when_its_turn_comes(talk, relay):
    talk.bot.answer_with(BUSY)
    talk.push("first")
    eventually(lambda: talk.bot.received)
    second, third = talk.push("second"), talk.push("third")
    done = relay("cancel", "--bot", talk.name, talk.session, second.message_id)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"cancelled {second.message_id}: ")
    talk.conversation().wait(third)
    record = talk.deployed.state(second, "dropped")
    assert (record["drop_reason"], record["attempts"]) == ("cancelled", 0)
    assert talk.texts() == ["first", "first", "third"]


def test_a_message_that_is_retried_is_not_sent_again(talk, relay):
    talk.bot.answer_with(BUSY)
    sent = talk.push("hello")
    talk.deployed.state(sent, "retrying")
    done = relay("cancel", "--bot", talk.name, talk.session, sent.message_id, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["state"] in ("retrying", "dropped")
    record = talk.deployed.state(sent, "dropped")
    assert (record["drop_reason"], record["attempts"]) == ("cancelled", 1)
    assert talk.texts() == ["hello"]


def test_a_message_that_langbot_has_is_refused_in_one_line(talk, relay):
    sent = talk.push("hello")
    talk.deployed.state(sent, "answered")
    done = relay("cancel", "--bot", talk.name, talk.session, sent.message_id)
    assert done.returncode == 2
    assert (
        done.stderr == "relay: the message is answered: only one that waits on the queue can be cancelled\n"
    )
    assert not marks(talk)


def test_a_parked_message_is_dropped_by_another_command(talk, messages):
    sent, _ = park(talk)
    with pytest.raises(InvalidState, match="the message is parked"):
        messages.cancel(talk.session, sent.message_id, talk.name)


def test_a_message_that_is_sent_meanwhile_is_told_to_be_delivered(talk, messages):
    talk.bot.answer_with(Answer(delay=3))
    sent = talk.push("SILENT")
    eventually(lambda: talk.bot.received)
    with pytest.raises(InvalidState, match="the message is delivered"):
        messages.cancel(talk.session, sent.message_id, talk.name)
    assert talk.deployed.record(sent)["state"] == "delivered"


def test_a_message_can_be_cancelled_twice(talk, messages, workers, cancelled):
    message = queued(talk)
    cancelled(message)
    assert deliver(workers.dispatcher(), message) == []
    record = messages.cancel(talk.session, message.message_id, talk.name)
    assert (record["state"], record["drop_reason"]) == ("dropped", "cancelled")


def test_a_cancelled_message_that_sqs_delivers_twice_is_not_sent(talk, workers, cancelled):
    message = queued(talk)
    cancelled(message)
    dispatcher = workers.dispatcher()
    assert deliver(dispatcher, message, message, again(message)) == []
    assert not talk.bot.received
    assert workers.record(message)["state"] == "dropped"


def test_a_cancelled_message_stays_cancelled_for_a_quarter_of_an_hour(talk, workers, cancelled):
    message, now = queued(talk), time.time()
    cancelled(message)
    deliver(workers.at(now).dispatcher(), message)
    deliver(workers.at(now + 899).dispatcher(), message)
    assert not talk.bot.received
    deliver(workers.at(now + 899 + 901).dispatcher(), queued(talk))
    assert not marks(talk)


def test_cancelling_ends_when_the_attempt_that_was_under_way_ends(talk, messages, workers, monkeypatch):
    control, message = workers.admission_control(), queued(talk)
    permit = control.acquire(talk.name, "another", needs_slot=False, max_duration=10, is_sync=False)
    polls = []

    def sleep(seconds):
        polls.append(seconds)
        if len(polls) == 2:
            Table(talk.deployed.client("dynamodb"), talk.deployed.stack.messages_table).update(
                {"session": BOTS, "message": talk.name}, f"REMOVE {permit.lease}", "", {}
            )

    monkeypatch.setattr(client_messages.environment, "sleep", sleep)
    assert messages.cancel(talk.session, message.message_id, talk.name) is None
    assert len(polls) == 3


@pytest.mark.parametrize("name", ["two words", "1" * 39])
def test_what_can_be_no_message_is_not_cancelled(talk, relay, name):
    done = relay("cancel", "--bot", talk.name, talk.session, name)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert not marks(talk)


def test_no_message_of_a_bot_that_does_not_exist_is_cancelled(talk, relay):
    done = relay("cancel", "--bot", "nobody", talk.session, "id-1")
    assert (done.returncode, "there is no bot 'nobody'" in done.stderr) == (2, True)
