"""What settle does with one final part at a time, on the real tables."""

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
