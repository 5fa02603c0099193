"""A sync call between PushQueue, on which its message stays, and SyncQueue, whose consumer makes it."""

import time
from dataclasses import dataclass, field, replace

from relay.adapters.sync_queue import SyncQueue

from push.dispatcher import Dispatcher
from support.queued_messages import again, deliver, queued
from support.waiting import eventually


@dataclass
class Visibility:
    """In place of MessageVisibility: the seconds that were set, in order."""

    seconds: list[int] = field(default_factory=list)

    def set_visibility(self, _queued, seconds):
        self.seconds.append(seconds)


@dataclass
class QuickSqs:
    """In place of SyncQueue's SQS: its consumer makes a call before push returns."""

    consumer: Dispatcher

    def send_message(self, **parameters):
        self.consumer.call_sync(SyncQueue.read(parameters["MessageBody"]), lambda: 80)


def test_a_call_that_is_made_at_once_leaves_its_message_visible(talk, dispatcher):
    visibility, message = Visibility(), queued(talk, action="sync")
    consumer = replace(dispatcher, message_visibility=visibility)
    push = replace(consumer, sync_queue=SyncQueue(QuickSqs(consumer), ""))
    assert deliver(push, message) == [message.message_id]
    assert visibility.seconds == [0]
    assert deliver(push, again(message)) == []
    assert len(talk.bot.received) == 1


def test_a_call_that_waits_is_parked_before_the_queue_deletes_it(talk, workers, dispatcher):
    open_one = queued(talk, "SILENT")
    deliver(dispatcher, open_one)
    eventually(lambda: list(workers.messages_table.open_messages(workers.record(open_one)["session"])))
    old = queued(talk, action="sync")
    assert deliver(dispatcher, old) == [old.message_id]
    old = again(replace(old, queued_at=time.time() - 13.6 * 86_400))
    assert deliver(dispatcher, old) == []
    assert workers.record(old)["state"] == "parked"
    assert len(talk.bot.received) == 1
