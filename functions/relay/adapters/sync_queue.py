"""SyncQueue: messages whose sync call is made outside of the batches of PushQueue."""

import json
from dataclasses import asdict, replace
from typing import Any

from relay.domain.message import Message, QueuedMessage, session_body


class SyncQueue:
    """The queue. A bot is a message group: so it gets one sync call at a time, and holds up no other bot.

    The message itself stays on PushQueue, invisible, so that nothing of its session overtakes it.
    """

    def __init__(self, sqs: Any, url: str) -> None:
        self._sqs = sqs
        self._url = url

    def put(self, queued: QueuedMessage, message: Message) -> None:
        """Put a message on the queue; its record must have the body. Raise botocore's errors."""
        body = session_body(message.bot, message.session_id)
        self._sqs.send_message(
            QueueUrl=self._url,
            MessageBody=json.dumps(asdict(replace(queued, body=body, handed_over=True))),
            MessageGroupId=message.bot,
            # A receipt handle is good for one receive.
            MessageDeduplicationId=f"{queued.message_id}-{queued.receive_count}",
        )

    def sends(self, event_source_arn: str) -> bool:
        """Tell whether an event's record with this source is of the queue."""
        return event_source_arn.rpartition(":")[2] == self._url.rpartition("/")[2]

    @staticmethod
    def read(body: str) -> QueuedMessage:
        """Return the message of an entry of the queue."""
        return QueuedMessage(**json.loads(body))
