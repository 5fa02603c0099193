"""A message that looks merged may be the one that LangBot begins next, so it keeps its slot for a while."""

import time

import pytest

from relay.domain.admission import MERGED_SLOT_TIMEOUT
from relay.domain.timestamps import unix_seconds, utc_text
from support.callbacks import reply
from support.queued_messages import deliver, queued
from support.workers import final_part


@pytest.fixture
def three(talk, dispatcher):
    messages = [queued(talk, "SILENT") for _ in range(3)]
    deliver(dispatcher, *messages)
    return messages


def end_turn(talk, workers, record, later):
    """End the turn of a message so many seconds from now; return when that is."""
    ended = time.time() + later
    workers.settler().settle(final_part(talk, record["accepted_message_id"], ended))
    return ended


def in_flight(talk, workers, moment):
    """Count the slots that are taken at a moment."""
    return workers.admission_control().in_flight(talk.name, moment)


def test_a_message_that_looks_merged_keeps_its_slot_for_a_while(talk, workers, three):
    ended = end_turn(talk, workers, workers.record(three[0]), later=2)
    assert [record["state"] for record in workers.records(*three)] == ["answered"] * 3
    assert in_flight(talk, workers, ended + 1) == 2
    assert in_flight(talk, workers, ended + MERGED_SLOT_TIMEOUT + 1) == 0


def test_it_keeps_its_slot_from_the_end_of_the_last_turn_before_it(talk, workers, three):
    first, second, _ = workers.records(*three)
    end_turn(talk, workers, first, later=2)
    ended = end_turn(talk, workers, second, later=20)
    third = workers.record(three[2])
    assert (third["answered_by"], third["indirect"]) == (second["accepted_message_id"], True)
    assert in_flight(talk, workers, ended + MERGED_SLOT_TIMEOUT - 1) == 1


def test_turns_that_settle_in_another_order_give_the_same(talk, workers, three):
    first, second, _ = workers.records(*three)
    end_turn(talk, workers, second, later=20)
    end_turn(talk, workers, first, later=2)
    assert workers.record(three[2])["answered_by"] == second["accepted_message_id"]
    assert "indirect" not in workers.record(three[1])


@pytest.mark.usefixtures("only_this_bot")
def test_sweep_stops_waiting_for_its_reply_and_leaves_it_answered(talk, workers, three):
    end_turn(talk, workers, workers.record(three[0]), later=2)
    assert workers.at(time.time() + 1000).sweeper(max_resends=1).sweep(lambda: 60) == 0
    merged = workers.record(three[1])
    assert (merged["state"], merged["indirect"]) == ("answered", True)
    assert not {"awaiting", "due_at"} & merged.keys()
    assert len(talk.bot.received) == 3


def test_a_reply_counts_that_came_long_before_its_message_was_delivered(talk, workers, dispatcher):
    message = queued(talk, "SILENT")
    deliver(dispatcher, message)
    record = workers.record(message)
    reply_to, delivered_at = record["accepted_message_id"], record["delivered_at"]
    stamp = utc_text(unix_seconds(delivered_at) - 590).removesuffix("Z")
    reply(talk, reply_to, timestamp=stamp)
    (part,), _ = workers.replies_table.parts_around(record["session"], delivered_at)
    assert part["is_final"]
