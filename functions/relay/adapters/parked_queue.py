"""ParkedQueue: messages that are not tried again unless an operator resends them."""

import json
import random
import re
import time
from typing import Any

from relay.adapters.queue_size import queue_size
from relay.domain.message import MAX_QUEUED_BYTES, QueuedMessage
from relay.domain.record import MessageRecord

PARKED_VISIBILITY = 60
"""Seconds for which a search hides the messages of the queue from others, at the most."""

_NOT_ALLOWED = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_ATTRIBUTES = ("session", "message", "reason", "attempts", "queued_at", "first_failed_at", "parked_at")


class ParkedQueue:
    """The queue. Its methods raise botocore's errors.

    Each message is a message group of its own: in a group, nothing behind a received message is visible.
    """

    def __init__(self, sqs: Any, url: str) -> None:
        self._sqs = sqs
        self._url = url

    def put(self, queued: QueuedMessage, record: MessageRecord) -> None:
        """Put a message on the queue, its body as it came, and what its record says in its attributes.

        If the two are too large together, the record's key replaces the body: the record has it. If the
        session has characters that SQS does not take, the attribute `key` has the exact key as JSON.
        """
        response = record.get("last_answer")
        fields = {name: record.get(name) for name in _ATTRIBUTES} | {
            "answer_status": response["status"] if response else None,
            "answer_body": response["body"] if response else None,
        }
        attributes = {name: _allowed(str(value)) for name, value in fields.items() if value not in (None, "")}
        key = json.dumps({"session": record["session"], "message": record["message"]})
        if attributes["session"] != record["session"]:
            attributes["key"] = key
        size = len(queued.body.encode()) + sum(
            len(name) + len("String") + len(value.encode()) for name, value in attributes.items()
        )
        self._sqs.send_message(
            QueueUrl=self._url,
            MessageBody=queued.body if size <= MAX_QUEUED_BYTES else key,
            MessageGroupId=queued.message_id,
            MessageDeduplicationId=queued.message_id,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
            },
        )

    def remove(self, message_id: str) -> bool:
        """Remove a message; return False if it was not seen. Wait while others hide messages by a search."""
        deadline = time.monotonic() + PARKED_VISIBILITY
        while (found := self._remove(message_id)) is None and time.monotonic() < deadline:
            # Not in step with others who search.
            time.sleep(random.uniform(0.1, 1))  # noqa: S311 - a pause is no secret
        return bool(found)

    def _remove(self, message_id: str) -> bool | None:
        """Return whether the message was there, or None if others hide messages, and it may be one of those.

        All other messages are visible again at once.
        """
        others: dict[str, str] = {}
        try:
            while messages := self._receive():
                known = len(others)
                found = None
                for message in messages:
                    if message["Attributes"]["MessageDeduplicationId"] == message_id:
                        found = message
                    else:
                        others[message["MessageId"]] = message["ReceiptHandle"]
                if found:
                    self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=found["ReceiptHandle"])
                    return True
                if len(others) == known:  # the first ones are visible again: there are too many to search
                    return None
            # This search still holds them: what it had made visible before would prove nothing.
            return False if queue_size(self._sqs, self._url) <= len(others) else None
        finally:
            handles = list(others.values())
            for begin in range(0, len(handles), 10):
                # If this fails, they are visible a little later.
                self._sqs.change_message_visibility_batch(
                    QueueUrl=self._url,
                    Entries=[
                        {"Id": str(n), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                        for n, handle in enumerate(handles[begin : begin + 10])
                    ],
                )

    def _receive(self) -> list[dict[str, Any]]:
        response = self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=10,
            AttributeNames=["MessageDeduplicationId"],
            VisibilityTimeout=PARKED_VISIBILITY,
            WaitTimeSeconds=1,
        )
        messages: list[dict[str, Any]] = response.get("Messages", [])
        return messages


def _allowed(text: str) -> str:
    """Return a text with U+FFFD for each character that SQS does not take (SendMessage in its reference)."""
    return _NOT_ALLOWED.sub("\N{REPLACEMENT CHARACTER}", text)
