"""What settle does with one final part at a time, on the real tables."""

import time
from dataclasses import replace

import pytest

from relay.domain.keys import record_key
from relay.domain.states import AnswerKind, State
from relay.domain.timestamps import unix_seconds
from support.queued_messages import deliver, queued
from support.workers import final_part


def test_a_message_without_an_id_takes_no_turn_at_the_first_check(talk, workers):
    message = queued(talk, "SILENT")
    deliver(workers.dispatcher(), message)
    record = workers.record(message)
    del record["accepted_message_id"]
    workers.overwrite(record)
    final = final_part(talk, "in_unknown")
    assert workers.settler().settle(final)
    assert workers.record(message) == record
    assert not workers.settler().settle(final, checks=1)
    assert workers.record(message)["answered_by"] == "in_unknown"


class LateIndex:
    """The index of what waits as it was before a message was merged again."""

    def __init__(self, key):
        self.key = key

    def count_parked(self):
        return 0

    def overdue(self, bot, now):
        return iter([self.key])


@pytest.mark.usefixtures("only_this_bot")
def test_a_message_that_was_merged_again_meanwhile_awaits_its_own_reply(talk, workers):
    first, second = queued(talk, "SILENT"), queued(talk, "SILENT")
    deliver(workers.dispatcher(), first, second)
    began = workers.record(first)["accepted_message_id"]
    workers.settler().settle(final_part(talk, began, sent_at=time.time() + 1))
    merged = workers.record(second)
    key = record_key(merged["session"], merged["message"])
    due_items = replace(workers.due_items(), awaiting_index=LateIndex(key))
    due_items.handle(iter([60, 60, 0]).__next__)
    assert workers.record(second) == merged
    late = workers.at(unix_seconds(merged["due_at"])).due_items()
    replace(late, awaiting_index=LateIndex(key)).handle(iter([60, 0]).__next__)
    assert "awaiting" not in workers.record(second)


def test_a_message_that_earlier_code_called_merged_is_answered_by_its_own_turn(talk, workers):
    message = queued(talk, "SILENT")
    deliver(workers.dispatcher(), message)
    record = workers.record(message)
    own = record["accepted_message_id"]
    answer = {"answered_by": "in_other", "answered_at": record["delivered_at"], "answer_part": "0"}
    workers.overwrite(record | answer | {"state": State.ANSWERED, "indirect": True})
    workers.settler().settle(final_part(talk, own))
    after = workers.record(message)
    assert (after["answered_by"], after["answer_kind"]) == (own, AnswerKind.OWN)
