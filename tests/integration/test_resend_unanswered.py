"""Sweep sends messages without any reply again: in this process, with real tables and a real bot."""

import time
from dataclasses import replace

import pytest

from local.sample_bot import OVERLOADED, Answer
from relay.domain.timestamps import unix_seconds
from support.deaths import Died, Dying
from support.parked_messages import UNPARSED
from support.queued_messages import deliver, queued
from support.waiting import eventually
from support.workers import final_part

pytestmark = pytest.mark.usefixtures("only_this_bot")

DEADLINE = 900


def sweeper_in(workers, seconds, max_resends=1):
    """Return the sweeper of so many seconds from now."""
    return workers.at(time.time() + seconds).sweeper(max_resends)


def sweep(workers, seconds, max_resends=1, seconds_left=60):
    """Sweep so many seconds from now."""
    return sweeper_in(workers, seconds, max_resends).sweep(lambda: seconds_left)


@pytest.fixture
def silent(talk, dispatcher):
    message = queued(talk, "SILENT")
    deliver(dispatcher, message)
    return message


def test_a_silent_message_is_sent_again_with_a_fresh_key_and_deadline(talk, workers, silent):
    before = workers.record(silent)
    assert sweep(workers, DEADLINE + 1) == 0
    after = workers.record(silent)
    assert (after["state"], after["resends"], after["attempts"]) == ("delivered", 1, 2)
    assert after["accepted_message_id"] != before["accepted_message_id"]
    later = unix_seconds(after["due_at"]) - unix_seconds(before["due_at"])
    assert after["expires_at"] - before["expires_at"] == int(later) > 0
    assert len(set(talk.keys())) == 2
    assert [attempt["key"] for attempt in after["last_attempts"]] == talk.keys()


def test_a_silent_message_is_unanswered_after_max_resends(talk, workers, silent):
    sweep(workers, DEADLINE + 1, max_resends=2)
    sweep(workers, 2 * DEADLINE + 2, max_resends=2)
    assert workers.record(silent)["state"] == "delivered"
    assert sweep(workers, 3 * DEADLINE + 3, max_resends=2) == 1
    assert workers.record(silent)["state"] == "unanswered"
    assert len(set(talk.keys())) == len(talk.bot.received) == 3


def test_nothing_is_sent_again_by_default(talk, workers, silent):
    assert sweep(workers, DEADLINE + 1, max_resends=0) == 1
    assert len(talk.bot.received) == 1


def test_a_message_whose_reply_broke_off_is_not_sent_again(talk, workers, dispatcher):
    message = queued(talk, "LONG:4:1 MIDFAIL")
    deliver(dispatcher, message)
    eventually(lambda: len(talk.conversation().parts()) == 3)
    assert sweep(workers, DEADLINE + 1) == 1
    assert len(talk.bot.received) == 1


def test_the_silent_messages_of_a_session_are_sent_again_in_order(talk, workers, dispatcher):
    deliver(dispatcher, *(queued(talk, f"SILENT {n}") for n in range(3)))
    sweep(workers, DEADLINE + 1)
    assert talk.texts() == ["SILENT 0", "SILENT 1", "SILENT 2"] * 2


def test_no_message_overtakes_one_that_its_bot_refused(talk, workers, dispatcher):
    refused, following = queued(talk, "SILENT 0"), queued(talk, "SILENT 1")
    deliver(dispatcher, refused, following)
    talk.bot.answer_with(OVERLOADED)
    sweep(workers, DEADLINE + 1)
    assert talk.texts()[2:] == ["SILENT 0"]
    assert [attempt["status"] for attempt in workers.record(refused)["last_attempts"]] == [202, 503]
    sweep(workers, DEADLINE + 61)
    assert talk.texts()[3:] == ["SILENT 0", "SILENT 1"]
    # The key of the one that was refused is burned.
    assert len(set(talk.keys())) == 5


def test_a_late_reply_under_its_old_id_answers_a_resent_message(talk, workers, silent):
    old = workers.record(silent)["accepted_message_id"]
    sweep(workers, DEADLINE + 1)
    workers.settler().settle(final_part(talk, old))
    record = workers.record(silent)
    assert (record["state"], record["answered_by"]) == ("answered", old)


def test_a_reply_under_its_new_id_answers_a_resent_message(talk, workers, silent):
    sweep(workers, DEADLINE + 1)
    new = workers.record(silent)["accepted_message_id"]
    workers.settler().settle(final_part(talk, new))
    record = workers.record(silent)
    assert (record["state"], record["answered_by"]) == ("answered", new)


def test_settle_does_not_take_the_items_of_old_ids_for_messages(talk, workers, dispatcher):
    first, second = queued(talk, "SILENT"), queued(talk, "SILENT")
    deliver(dispatcher, first)
    sweep(workers, DEADLINE + 1)
    deliver(dispatcher, second)
    workers.settler().settle(final_part(talk, workers.record(first)["accepted_message_id"]))
    assert workers.record(first)["state"] == "answered"


def test_a_sweep_that_died_after_sending_does_not_send_twice(talk, workers, silent):
    sweeper = sweeper_in(workers, DEADLINE + 1)
    mortal = Dying(sweeper.messages_table, "mark_redelivered", "before")
    with pytest.raises(Died):
        replace(sweeper, messages_table=mortal).sweep(lambda: 60)
    sweep(workers, DEADLINE + 61)
    assert [request.status for request in talk.bot.received] == [202, 202, 409]
    record = workers.record(silent)
    assert (record["state"], record["resends"]) == ("delivered", 1)


def test_a_message_that_cannot_be_resent_is_unanswered_a_deadline_later(talk, workers, silent):
    talk.bot.answer_with(*[Answer(502)] * 9)
    assert sweep(workers, DEADLINE + 1) == 0
    assert sweep(workers, 2 * DEADLINE - 100) == 0
    assert sweep(workers, 2 * DEADLINE + 1) == 1
    assert workers.record(silent)["last_error"] == "no reply"


def test_a_message_that_its_bot_refuses_for_good_is_unanswered(talk, workers, silent):
    talk.bot.answer_with(UNPARSED)
    assert sweep(workers, DEADLINE + 1) == 1
    reason = "no reply, and it cannot be sent again: answered 400: failed to parse message: x"
    assert workers.record(silent)["last_error"] == reason


def test_a_message_too_large_for_its_record_is_sent_again(talk, workers, dispatcher):
    deliver(dispatcher, queued(talk, "SILENT " + "x" * 500_000))
    assert sweep(workers, DEADLINE + 1) == 0
    assert len(set(talk.texts())) == 1
    assert len(talk.bot.received) == 2


def test_sweep_begins_nothing_that_it_has_no_time_for(talk, workers, silent):
    assert sweep(workers, DEADLINE + 1, seconds_left=10) == 0
    assert len(talk.bot.received) == 1


class UnreadableRecord:
    """A table of which one record cannot be read."""

    def __init__(self, messages_table, message):
        self.messages_table, self.message = messages_table, message

    def read(self, key):
        if key["message"] == self.message:
            raise OSError("no table")
        return self.messages_table.read(key)

    def __getattr__(self, name):
        return getattr(self.messages_table, name)


def test_a_message_that_cannot_be_read_does_not_hold_up_the_others(talk, workers, dispatcher):
    bad, good = queued(talk, "SILENT"), queued(talk, "SILENT")
    deliver(dispatcher, bad, good)
    sweeper = sweeper_in(workers, DEADLINE + 1, max_resends=0)
    table = UnreadableRecord(sweeper.messages_table, workers.record(bad)["message"])
    assert replace(sweeper, messages_table=table).sweep(lambda: 60) == 1
    assert workers.record(good)["state"] == "unanswered"
