"""A sync call has the first lease of its bot, and is made when no other message of its session is open."""

import time
from dataclasses import replace

from relay.adapters.langbot import max_attempt_seconds
from support.queued_messages import again, deliver, queued


def test_a_bot_gets_one_sync_call_at_a_time_and_other_messages_meanwhile(talk, workers, dispatcher):
    under_way = workers.admission_control()
    under_way.acquire(
        talk.name, "id", needs_slot=True, max_duration=max_attempt_seconds("sync"), is_sync=True
    )
    call, other = queued(talk, action="sync"), queued(replace(talk, session="another"))
    assert deliver(dispatcher, call, other) == [call.message_id]


def test_a_call_that_waits_is_parked_before_the_queue_deletes_it(talk, workers, dispatcher):
    deliver(dispatcher, queued(talk, "SILENT"))
    old = queued(talk, action="sync")
    assert deliver(dispatcher, old) == [old.message_id]
    assert workers.record(old) is None
    old = again(replace(old, queued_at=time.time() - 13.6 * 86_400))
    assert deliver(dispatcher, old) == []
    assert workers.record(old)["state"] == "parked"
    assert len(talk.bot.received) == 1
