"""PushQueue, from both ends: sending a message, and when one that push has received is visible again."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relay import environment
from relay.domain.keys import group_id, message_key
from relay.domain.message import QueuedMessage, session_body
from relay.domain.record import MessageRecord

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient


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

    def __init__(self, sqs: "SQSClient", url: str) -> None:
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
        # Whoever can send to the queue could use up an id that can be guessed.
        body = session_body(record["bot"], record["session_id"])
        resend_of = _attribute("resend_of", record["message"])
        return self.send(record["session"], body, MessageAttributes=resend_of)

    def send_test(self, session: str, body: str) -> Queued:
        """Put a message on the queue that push sends with the bot's secret as it is then, not as cached."""
        return self.send(session, body, MessageAttributes=_attribute("read_secret", "now"))

    def set_visibility(self, queued: QueuedMessage, seconds: int) -> None:
        """Make a received message visible again after so many seconds."""
        self._sqs.change_message_visibility(
            QueueUrl=self._url, ReceiptHandle=queued.receipt_handle, VisibilityTimeout=seconds
        )


def _attribute(name: str, value: str) -> dict[str, Any]:
    return {name: {"DataType": "String", "StringValue": value}}
