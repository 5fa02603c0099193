"""A function that dies at any point loses nothing: real tables and a real bot, death made by hand."""

import time
from dataclasses import replace

import pytest
from batches import again, at, deliver, queued

from conftest import eventually
from local.sample_bot import OVERLOADED, Answer
from relay.rules.ledger import key
from relay.rules.message import parse

ACCEPTED = ("delivered", "answered")  # its reply may have come by then


class Died(BaseException):
    pass


class Dying:
    """Does what `thing` does, and dies before or after its `method`, once."""

    def __init__(self, thing, method, when):
        self._thing, self._method, self._when = thing, method, when

    def __getattr__(self, name):
        method = getattr(self._thing, name)
        if name != self._method or not self._when:
            return method
        when, self._when = self._when, None

        def dying(*arguments, **named):
            if when == "after":
                method(*arguments, **named)
            raise Died

        return dying


def dying(courier, part, method, when):
    """A courier that dies in one of its parts, or of its sender's."""
    if hasattr(courier, part):
        return replace(courier, **{part: Dying(getattr(courier, part), method, when)})
    sender = replace(courier.sender, **{part: Dying(getattr(courier.sender, part), method, when)})
    return replace(courier, sender=sender)


def item(courier, message):
    return courier.ledger.read(key(message, parse(message.body)))


@pytest.mark.parametrize(
    ("part", "method", "when"),
    [
        ("bots", "get", "before"),
        ("gate", "enter", "before"),
        ("gate", "enter", "after"),
        ("langbot", "post", "before"),
        ("langbot", "post", "after"),
        ("ledger", "write", "before"),
        ("ledger", "write", "after"),
        ("gate", "worked", "before"),
        ("gate", "worked", "after"),
    ],
)
def test_a_message_whose_function_died_is_delivered_once(talk, courier, part, method, when):
    message = queued(talk)
    with pytest.raises(Died):
        deliver(dying(courier, part, method, when), message)
    assert deliver(courier, again(message)) == []
    assert item(courier, message)["state"] in ACCEPTED
    eventually(talk.conversation().turns)
    assert [r.status for r in talk.bot.received].count(202) == 1


def test_a_message_that_was_written_down_is_not_posted_again(talk, courier):
    message = queued(talk)
    deliver(courier, message)
    deliver(courier, again(message))
    assert len(talk.bot.received) == 1


def test_an_accepted_id_that_is_on_record_survives_a_second_delivery(talk, courier):
    message = queued(talk, "SILENT")
    deliver(courier, message)
    before = item(courier, message)
    deliver(courier, again(message))
    assert item(courier, message) == before


@pytest.mark.parametrize(("part", "method"), [("ledger", "write"), ("queues", "park")])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_message_whose_function_died_while_parking_is_on_the_parked_queue(
    talk, courier, part, method, when
):
    message = queued(talk, text=None)
    with pytest.raises(Died):
        deliver(dying(courier, part, method, when), message)
    parked = []
    assert deliver(replace(courier, queues=Recording(parked)), again(message)) == []
    assert [entry["reason"] for _, entry in parked] == ["text must be string"]


class Recording:
    def __init__(self, parked):
        self.parked = parked

    def park(self, *arguments):
        self.parked.append(arguments)

    def show_after(self, *arguments):
        pass


@pytest.mark.parametrize("method", ["resend", "write"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_message_that_somebody_sends_again_is_sent_once_though_its_function_died(
    talk, courier, method, when
):
    talk.bot.answer_with(Answer(400))
    original = queued(talk)
    deliver(courier, original)
    repetition = replace(queued(talk), resend_of=key(original, parse(original.body))["message"])
    with pytest.raises(Died):
        deliver(dying(courier, "ledger", method, when), repetition)
    assert deliver(courier, again(repetition)) == []
    assert item(courier, original)["state"] == "resent"
    assert item(courier, repetition)["state"] in ACCEPTED
    assert [r.status for r in talk.bot.received].count(202) == 1


def test_a_sync_reply_whose_function_died_before_the_ledger_is_kept_once(talk, courier):
    message = queued(talk, action="sync")
    with pytest.raises(Died):
        deliver(dying(courier, "ledger", "write", "before"), message)
    deliver(courier, again(message))
    assert [part["text"] for part in talk.conversation().parts()] == ["echo: hello"]
    assert item(courier, message)["state"] in ACCEPTED


def test_a_burned_key_is_remembered_from_one_function_to_the_next(talk, courier):
    talk.bot.answer_with(OVERLOADED)
    message = queued(talk)
    assert deliver(courier, message) == [message.message_id]
    assert deliver(at(courier, time.time() + 3), again(message)) == []
    assert len(set(talk.keys())) == 2
    assert item(courier, message)["accepted_message_id"].startswith("in_")


@pytest.mark.parametrize(("part", "method"), [("ledger", "write"), ("gate", "failed"), ("bots", "doubt")])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_message_whose_function_died_while_it_failed_is_delivered_once(talk, courier, part, method, when):
    talk.bot.answer_with(Answer(502, takes="message"))
    message = queued(talk)
    with pytest.raises(Died):
        deliver(dying(courier, part, method, when), message)
    assert deliver(at(courier, time.time() + 3), again(message)) == []
    assert item(courier, message)["state"] in ACCEPTED
    assert len(talk.bot.emitted) == 1


def test_a_message_is_parked_once_its_time_is_up_and_not_before(talk, courier):
    talk.bot.answer_with(*[Answer(503)] * 3)
    message = queued(talk)
    now = int(time.time())
    assert deliver(at(courier, now), message) == [message.message_id]
    message = again(message)
    assert deliver(at(courier, now + 3599), message) == [message.message_id]
    assert item(courier, message)["state"] == "retrying"
    message = again(message)
    assert deliver(at(courier, now + 3662), message) == []
    assert item(courier, message)["state"] == "parked"
    assert item(courier, message)["reason"] == "tried for 3662 s, 3 times; at last answered 503"


def test_a_message_that_merely_waited_is_never_parked(talk, courier):
    old = replace(queued(talk), receive_count=5000, sent_at=time.time() - 13 * 86_400)
    assert deliver(courier, old) == []
    assert item(courier, old)["state"] in ACCEPTED


def test_a_message_that_the_queue_would_drop_is_parked_though_its_bot_lets_nothing_through(talk, courier):
    talk.bot.answer_with(Answer(503))
    other, message = queued(talk), replace(queued(talk), group="old", sent_at=time.time() - 13.6 * 86_400)
    deliver(courier, other)
    assert deliver(courier, message) == []
    assert item(courier, message)["state"] == "parked"
    assert len(talk.bot.received) == 1


def test_a_message_for_which_there_is_no_time_left_is_not_tried(talk, courier):
    message = queued(talk)
    assert deliver(courier, message, seconds_left=5) == [message.message_id]
    assert (talk.bot.received, item(courier, message)) == ([], None)


def test_a_table_that_refuses_leaves_the_message_in_the_queue_and_the_other_sessions_go_on(talk, courier):
    class Refusing:
        def __init__(self, ledger, group):
            self.ledger, self.group = ledger, group

        def write(self, item):
            if item["message_id"] == self.group:
                raise OSError("no table")
            self.ledger.write(item)

    message, other = queued(talk), replace(queued(talk), group="other")
    refusing = replace(courier, ledger=Refusing(courier.ledger, message.message_id))
    assert deliver(refusing, message, other) == [message.message_id]
    assert item(courier, other)["state"] in ACCEPTED
    deliver(courier, again(message))
    assert item(courier, message)["state"] in ACCEPTED
    assert [r.status for r in talk.bot.received].count(202) == 2


def test_those_behind_a_failed_message_stay_with_it(talk, courier):
    talk.bot.answer_with(Answer(502))
    messages = [queued(talk, f"m{n}") for n in range(3)]
    assert deliver(courier, *messages) == [message.message_id for message in messages]
    assert len(talk.bot.received) == 1


def test_a_parked_message_holds_nobody_up(talk, courier):
    talk.bot.answer_with(Answer(400))
    messages = [queued(talk, f"m{n}") for n in range(2)]
    assert deliver(courier, *messages) == []
    assert item(courier, messages[0])["state"] == "parked"
    assert item(courier, messages[1])["state"] in ACCEPTED
