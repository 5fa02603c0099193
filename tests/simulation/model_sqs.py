"""SQS as its developer guide describes it: groups, visibility, receive counts, deduplication, limits."""

from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from simulation.model_aws import refusal
from simulation.world import Task, World

DEDUPLICATION_INTERVAL = 300
MAX_MESSAGE_BYTES = 1 << 20
MAX_HIDDEN = 43_200
"""Seconds from its receive for which a message can be hidden."""

_FIRST_SEQUENCE_NUMBER = 18_849_496_460_467_696_128


@dataclass(eq=False)
class Stored:
    """A message on a queue."""

    id: str
    body: str
    group: str
    deduplication_id: str
    number: int
    sent_at: float
    attributes: dict[str, Any]
    visible_at: float
    receives: int = 0
    received_at: float = 0
    receipt: str = ""


@dataclass(eq=False)
class SqsQueue:
    """A queue. A FIFO queue holds back a group while one of its messages is in flight.

    Up to `limit` messages of a FIFO queue can be in flight. Then it hands out no others, and raises no error.
    And it looks for groups only among its first `limit` messages.
    Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/
    avoid-backlog-with-the-same-message-group-id.html
    """

    world: World
    name: str
    visibility: float
    retention: float
    limit: int
    messages: dict[str, Stored] = field(default_factory=dict)
    expired: list[Stored] = field(default_factory=list)
    watching: list[Task] = field(default_factory=list)
    _accepted: dict[tuple[str, str], Stored] = field(default_factory=dict)
    _sent: int = 0
    _hidden: dict[str, Stored] = field(default_factory=dict)
    """The messages that may be invisible: a queue can have many others."""

    @property
    def url(self) -> str:
        return f"https://sqs.eu-central-1.amazonaws.com/123456789012/{self.name}"

    @property
    def arn(self) -> str:
        return f"arn:aws:sqs:eu-central-1:123456789012:{self.name}"

    @property
    def is_fifo(self) -> bool:
        return self.name.endswith(".fifo")

    def send(self, arguments: dict[str, Any]) -> Stored:
        """Put a message on the queue, or return the one that has its deduplication id."""
        group = arguments.get("MessageGroupId", "")
        deduplication_id = arguments.get("MessageDeduplicationId", "")
        before = self._accepted.get((group, deduplication_id))
        if self.is_fifo and before and self.world.now < before.sent_at + DEDUPLICATION_INTERVAL:
            return before
        self._sent += 1
        message = Stored(
            id=f"{self.name.removeprefix('relay-')[:4]}-{self._sent:04}",
            body=arguments["MessageBody"],
            group=group,
            deduplication_id=deduplication_id,
            number=_FIRST_SEQUENCE_NUMBER + self._sent * 256,
            sent_at=self.world.now,
            attributes=arguments.get("MessageAttributes", {}),
            visible_at=self.world.now + arguments.get("DelaySeconds", 0),
        )
        self.messages[message.id] = self._hidden[message.id] = message
        self._accepted[group, deduplication_id] = message
        self.changed()
        return message

    def receive(self, most: int, visibility: float | None = None) -> list[Stored]:
        """Receive up to `most` messages, in order."""
        now = self.world.now
        # The first was sent first.
        while (oldest := next(iter(self.messages.values()), None)) and oldest.sent_at + self.retention <= now:
            self.expired.append(self.messages.pop(oldest.id))
        # "When you receive a message with a message group ID, no more messages for the same message group ID
        # are returned unless you delete the message or it becomes visible." (SQS Developer Guide)
        first, busy = iter(self.messages.values()), set[str]()
        if self.is_fifo:
            in_flight = [m.group for m in self._invisible()]
            first, busy = islice(first, self.limit), set(in_flight)
            most = min(most, self.limit - len(in_flight))
        visible = (m for m in first if m.visible_at <= now and m.group not in busy)
        received = list(islice(visible, most))
        for message in received:
            self._hidden[message.id] = message
            message.receives += 1
            message.received_at = now
            message.receipt = f"{message.id}/{message.receives}"
            message.visible_at = now + (self.visibility if visibility is None else visibility)
        return received

    def in_flight(self, receipt: str, operation: str) -> Stored:
        """Return the message of a receipt handle. Raise if the handle is no longer good."""
        message = self.messages.get(receipt.partition("/")[0])
        if message is None or message.receipt != receipt or message.visible_at <= self.world.now:
            raise refusal("InvalidParameterValue", operation, "The receipt handle has expired")
        return message

    def delete(self, receipt: str) -> None:
        """Delete a message. A FIFO queue keeps it if its visibility time-out is over."""
        message = self.messages.get(receipt.partition("/")[0])
        if message is None:
            return
        if self.is_fifo:
            self.in_flight(receipt, "DeleteMessage")
        del self.messages[message.id]
        self.changed()

    def set_visibility(self, receipt: str, seconds: float) -> None:
        """Set when a message in flight is visible again."""
        operation = "ChangeMessageVisibility"
        message = self.in_flight(receipt, operation)
        if self.world.now + seconds > message.received_at + MAX_HIDDEN:
            raise refusal("InvalidParameterValue", operation, "Total VisibilityTimeout is beyond the limit")
        message.visible_at = self.world.now + seconds
        self.changed()

    def wait(self) -> None:
        """Wait until the queue may have something to receive."""
        later = [m.visible_at - self.world.now for m in self._invisible()]
        self.watching.append(self.world.current)
        self.world.suspend(min(later, default=None))

    def _invisible(self) -> list[Stored]:
        hidden = self._hidden.values()
        now, messages = self.world.now, self.messages
        self._hidden = {m.id: m for m in hidden if m.visible_at > now and m.id in messages}
        return list(self._hidden.values())

    def changed(self) -> None:
        """Let those that wait for the queue look at it again."""
        watching, self.watching = self.watching, []
        for task in watching:
            self.world.wake(task)


class Sqs:
    """The service."""

    name, throttled = "sqs", "RequestThrottled"

    def __init__(self, queues: list[SqsQueue]) -> None:
        self.queues = {queue.url: queue for queue in queues}

    def send_message(self, QueueUrl: str, **arguments: Any) -> dict[str, Any]:
        attributes = arguments.get("MessageAttributes", {})
        texts = [text for name, value in attributes.items() for text in (name, *value.values())]
        if sum(len(text.encode()) for text in (arguments["MessageBody"], *texts)) > MAX_MESSAGE_BYTES:
            raise refusal(
                "InvalidParameterValue", "SendMessage", "Message must be shorter than 1048576 bytes"
            )
        message = self.queues[QueueUrl].send(arguments)
        return {"MessageId": message.id, "SequenceNumber": str(message.number)}

    def receive_message(self, QueueUrl: str, **arguments: Any) -> dict[str, Any]:
        received = self.queues[QueueUrl].receive(
            arguments["MaxNumberOfMessages"], arguments.get("VisibilityTimeout")
        )
        return {
            "Messages": [
                {
                    "MessageId": message.id,
                    "ReceiptHandle": message.receipt,
                    "Body": message.body,
                    "Attributes": {
                        "MessageDeduplicationId": message.deduplication_id,
                        "ApproximateReceiveCount": str(message.receives),
                    },
                }
                for message in received
            ]
        }

    def delete_message(self, QueueUrl: str, ReceiptHandle: str) -> dict[str, Any]:
        self.queues[QueueUrl].delete(ReceiptHandle)
        return {}

    def change_message_visibility(
        self,
        QueueUrl: str,
        ReceiptHandle: str,
        VisibilityTimeout: int,
    ) -> dict[str, Any]:
        self.queues[QueueUrl].set_visibility(ReceiptHandle, VisibilityTimeout)
        return {}

    def change_message_visibility_batch(
        self,
        QueueUrl: str,
        Entries: list[dict[str, Any]],
    ) -> dict[str, Any]:
        for entry in Entries:
            self.queues[QueueUrl].set_visibility(entry["ReceiptHandle"], entry["VisibilityTimeout"])
        return {}

    def get_queue_attributes(self, QueueUrl: str, **_: Any) -> dict[str, Any]:
        queue = self.queues[QueueUrl]
        visible = sum(m.visible_at <= queue.world.now for m in queue.messages.values())
        return {
            "Attributes": {
                "ApproximateNumberOfMessages": str(visible),
                "ApproximateNumberOfMessagesNotVisible": str(len(queue.messages) - visible),
            }
        }
