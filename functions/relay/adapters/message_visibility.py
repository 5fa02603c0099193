"""The visibility of the messages that push has received from PushQueue."""

from typing import Any

from relay.domain.message import QueuedMessage


class MessageVisibility:
    """Sets when a message is delivered again; the event source mapping receives and deletes messages."""

    def __init__(self, sqs: Any, push_queue_url: str) -> None:
        self._sqs = sqs
        self._url = push_queue_url

    def set_visibility(self, queued: QueuedMessage, seconds: int) -> None:
        """Make a message visible again after so many seconds. Raise botocore's errors."""
        self._sqs.change_message_visibility(
            QueueUrl=self._url, ReceiptHandle=queued.receipt_handle, VisibilityTimeout=seconds
        )
