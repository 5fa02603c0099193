"""PushQueue, from both ends: sending a message, and when one that push has received is visible again."""

from dataclasses import dataclass
from typing import Any

from relay import environment
from relay.domain.keys import group_id, message_key
from relay.domain.message import QueuedMessage, session_body
from relay.domain.record import MessageRecord


@dataclass(frozen=True)
class Queued:
    """What SQS says of a message that it has taken."""

    message_id: str
    sequence_number: str

    @property
    def key(self) -> str:
        """The sort key that the message's record will have."""
        return message_key(self.sequence_number)


class MessageQueue:
    """The queue. All methods raise botocore's errors."""

    def __init__(self, sqs: Any, url: str) -> None:
        self._sqs = sqs
        self._url = url

    def send(self, session: str, body: str, deduplication_id: str = "", **more: Any) -> Queued:
        """Put a message on the queue as the last of its session's; `session` is the session's key."""
        response = self._sqs.send_message(
            QueueUrl=self._url,
            MessageBody=body,
            MessageGroupId=group_id(session),
            MessageDeduplicationId=deduplication_id or environment.random_hex(),
            **more,
        )
        return Queued(response["MessageId"], response["SequenceNumber"])

    def resend(self, record: MessageRecord) -> Queued:
        """Put a message on the queue again, by its record, which has the body."""
        return self.send(
            record["session"],
            session_body(record["bot"], record["session_id"]),
            # Whoever can send to the queue could use up an id that can be guessed.
            MessageAttributes={"resend_of": {"DataType": "String", "StringValue": record["message"]}},
        )

    def set_visibility(self, queued: QueuedMessage, seconds: int) -> None:
        """Make a received message visible again after so many seconds."""
        self._sqs.change_message_visibility(
            QueueUrl=self._url, ReceiptHandle=queued.receipt_handle, VisibilityTimeout=seconds
        )
