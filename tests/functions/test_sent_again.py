"""Messages that nothing came for are sent again: the sweep in this process, real tables and a real bot."""

import time
from dataclasses import replace

import pytest
from batches import at, deliver, queued

from conftest import eventually
from local.sample_bot import OVERLOADED, Answer
from relay.rules.ledger import key
from relay.rules.message import parse
from relay.rules.part import utc
from relay.rules.settling import Final
from relay.settle import Settler
from relay.sweep import Sweeper

DEADLINE = 900


def sweep(courier, moment, times=1, seconds_left=60):
    """One sweep so many seconds from now, of a stack that sends messages again so many `times`."""
    courier = at(courier, time.time() + moment)
    clock, sender = courier.clock, courier.sender
    sweeper = Sweeper(courier.ledger, courier.replies, sender, times, DEADLINE, clock)
    return sweeper.sweep(lambda: seconds_left)


@pytest.fixture(autouse=True)
def alone(talk, monkeypatch):
    """The sweep sees the test's own bot and no other."""
    monkeypatch.setattr("relay.edge.ledger.Ledger.bots", lambda _: [talk.name])


def item(courier, message):
    return courier.ledger.read(key(message, parse(message.body)))


def texts(talk):
    return [parse(request.body.decode()).segments[0]["text"] for request in talk.bot.received]


def answer(courier, message, reply_to):
    now = utc(time.time())
    settler = Settler(courier.ledger, courier.replies, None, DEADLINE)
    settler.settle(Final(item(courier, message)["session"], reply_to, now.removesuffix("Z"), now, now))


@pytest.fixture
def silent(talk, courier):
    message = queued(talk, "SILENT")
    deliver(courier, message)
    return message


def test_a_silent_message_is_sent_again_with_a_fresh_key_and_a_new_deadline(talk, courier, silent):
    before = item(courier, silent)
    assert sweep(courier, DEADLINE + 1) == 0
    after = item(courier, silent)
    assert (after["state"], after["resends"], after["attempts"]) == ("delivered", 1, 2)
    assert after["accepted_message_id"] != before["accepted_message_id"]
    assert after["due_at"] > before["due_at"]
    assert len(set(talk.keys())) == 2


def test_it_is_unanswered_once_that_was_done_as_often_as_the_parameter_says(talk, courier, silent):
    sweep(courier, DEADLINE + 1, times=2)
    sweep(courier, 2 * DEADLINE + 2, times=2)
    assert item(courier, silent)["state"] == "delivered"
    assert sweep(courier, 3 * DEADLINE + 3, times=2) == 1
    assert item(courier, silent)["state"] == "unanswered"
    assert len(set(talk.keys())) == len(talk.bot.received) == 3


def test_nothing_is_sent_again_by_default(talk, courier, silent):
    assert sweep(courier, DEADLINE + 1, times=0) == 1
    assert len(talk.bot.received) == 1


def test_a_reply_that_broke_off_is_not_asked_for_again(talk, courier):
    message = queued(talk, "LONG:4:1 MIDFAIL")
    deliver(courier, message)
    eventually(lambda: len(talk.conversation().parts()) == 3)
    assert sweep(courier, DEADLINE + 1) == 1
    assert len(talk.bot.received) == 1


def test_the_silent_messages_of_a_session_go_again_in_their_order(talk, courier):
    deliver(courier, *(queued(talk, f"SILENT {n}") for n in range(3)))
    sweep(courier, DEADLINE + 1)
    assert texts(talk) == ["SILENT 0", "SILENT 1", "SILENT 2"] * 2


def test_none_overtakes_one_that_its_bot_did_not_take(talk, courier):
    messages = [queued(talk, f"SILENT {n}") for n in range(2)]
    deliver(courier, *messages)
    talk.bot.answer_with(OVERLOADED)
    sweep(courier, DEADLINE + 1)
    assert texts(talk)[2:] == ["SILENT 0"]
    sweep(courier, DEADLINE + 61)
    assert texts(talk)[3:] == ["SILENT 0", "SILENT 1"]
    # The key of the one that was refused is burned.
    assert len(set(talk.keys())) == 5


def test_a_message_keeps_its_place_in_the_ledger_and_a_late_reply_under_its_old_id_answers_it(
    talk, courier, silent
):
    old = item(courier, silent)["accepted_message_id"]
    sweep(courier, DEADLINE + 1)
    answer(courier, silent, old)
    assert (item(courier, silent)["state"], item(courier, silent)["answered_by"]) == ("answered", old)


def test_a_reply_under_its_new_id_answers_it(talk, courier, silent):
    sweep(courier, DEADLINE + 1)
    new = item(courier, silent)["accepted_message_id"]
    answer(courier, silent, new)
    assert (item(courier, silent)["state"], item(courier, silent)["answered_by"]) == ("answered", new)


def test_the_items_of_old_ids_are_not_taken_for_messages_when_a_turn_settles(talk, courier):
    first, second = queued(talk, "SILENT"), queued(talk, "SILENT")
    deliver(courier, first)
    sweep(courier, DEADLINE + 1)
    deliver(courier, second)
    answer(courier, first, item(courier, first)["accepted_message_id"])
    assert item(courier, first)["state"] == "answered"


def test_a_sweep_that_died_after_sending_does_not_send_twice(talk, courier, silent):
    class Died(BaseException):
        pass

    def die(*_):
        raise Died

    dying = replace(courier, ledger=_With(courier.ledger, delivered_again=die))
    with pytest.raises(Died):
        sweep(dying, DEADLINE + 1)
    sweep(courier, DEADLINE + 61)
    assert [request.status for request in talk.bot.received] == [202, 202, 409]
    assert (item(courier, silent)["state"], item(courier, silent)["resends"]) == ("delivered", 1)


class _With:
    def __init__(self, thing, **methods):
        self._thing = thing
        self.__dict__ |= methods

    def __getattr__(self, name):
        return getattr(self._thing, name)


def test_a_message_that_its_bot_takes_no_more_is_unanswered_one_deadline_later(talk, courier, silent):
    talk.bot.answer_with(*[Answer(502)] * 9)
    assert sweep(courier, DEADLINE + 1) == 0
    assert sweep(courier, 2 * DEADLINE - 1) == 0
    assert sweep(courier, 2 * DEADLINE + 1) == 1
    assert item(courier, silent)["last_error"] == "no reply"


def test_a_message_that_its_bot_refuses_for_good_is_unanswered_and_says_why(talk, courier, silent):
    talk.bot.answer_with(Answer(400))
    assert sweep(courier, DEADLINE + 1) == 1
    assert item(courier, silent)["last_error"] == "no reply, and it cannot be sent again: answered 400"


def test_a_message_too_large_for_its_item_is_sent_again(talk, courier):
    message = queued(talk, "SILENT " + "x" * 500_000)
    deliver(courier, message)
    assert sweep(courier, DEADLINE + 1) == 0
    assert len(set(texts(talk))) == 1
    assert len(talk.bot.received) == 2


def test_nothing_is_begun_that_the_sweep_has_no_time_for(talk, courier, silent):
    assert sweep(courier, DEADLINE + 1, seconds_left=10) == 0
    assert len(talk.bot.received) == 1


def test_a_message_that_cannot_be_seen_to_holds_no_other_up(talk, courier):
    bad, good = queued(talk, "SILENT"), queued(talk, "SILENT")
    deliver(courier, bad, good)

    def read(its):
        if its["message"] == key(bad, parse(bad.body))["message"]:
            raise OSError("no table")
        return courier.ledger.read(its)

    assert sweep(replace(courier, ledger=_With(courier.ledger, read=read)), DEADLINE + 1, times=0) == 1
    assert item(courier, good)["state"] == "unanswered"
