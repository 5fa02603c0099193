"""Messages as SQS hands them to push, made by hand."""

import json
import time
from dataclasses import replace
from itertools import count
from typing import Any

from push.dispatcher import Dispatcher
from relay.domain.message import QueuedMessage
from support.deployed import Talk

_numbers = count(int(time.time() * 1000))


def queued(talk: Talk, text: Any = "hello", receive_count: int = 1, **more: Any) -> QueuedMessage:
    """Make a message of the talk's session, the queue's next."""
    number = next(_numbers)
    return QueuedMessage(
        message_id=f"id-{number}",
        body=json.dumps({"session_id": talk.session, "bot": talk.name, "text": text} | more),
        group_id=talk.session,
        sequence_number=str(number),
        receive_count=receive_count,
        queued_at=time.time(),
        receipt_handle="gone",
    )


def again(message: QueuedMessage) -> QueuedMessage:
    """Return the message as SQS delivers it once more."""
    return replace(message, receive_count=message.receive_count + 1)


def deliver(dispatcher: Dispatcher, *messages: QueuedMessage, seconds_left: float = 80) -> list[str]:
    """Deliver messages one after the other; return the ids of those that stay in the queue."""
    return [one.message_id for one in messages if dispatcher.deliver(one, lambda: seconds_left)]
