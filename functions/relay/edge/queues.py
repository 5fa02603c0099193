"""The queues."""

import json
from dataclasses import asdict
from typing import Any

from relay.rules.ledger import Queued
from relay.rules.settling import Final

MAX_MESSAGE = 1 << 20
"""Bytes of an SQS message, its attributes included."""

_BESIDE = ("session", "message", "reason", "attempts", "queued_at", "first_failed_at", "parked_at")


class Queues:
    """What push does to the queues; taking and deleting messages is the event source mapping's."""

    def __init__(self, sqs: Any, push_url: str, parked_url: str) -> None:
        self._sqs = sqs
        self._push_url = push_url
        self._parked_url = parked_url

    def park(self, queued: Queued, item: dict[str, Any]) -> None:
        """Puts a message on ParkedQueue, as it came, with what its item in the ledger says of it beside it.

        A body that leaves no room for that is left out: the ledger has it. Each message is a group of its
        own, since a group shows nothing behind what somebody is looking at. Raises botocore's errors.
        """
        answer = item.get("last_answer", {})
        fields = {name: item.get(name) for name in _BESIDE} | {
            "answer_status": answer.get("status"),
            "answer_body": answer.get("body"),
        }
        attributes = {name: _plain(str(value)) for name, value in fields.items() if value not in (None, "")}
        size = len(queued.body.encode()) + sum(
            len(name) + len("String") + len(value.encode()) for name, value in attributes.items()
        )
        key = {"session": item["session"], "message": item["message"]}
        self._sqs.send_message(
            QueueUrl=self._parked_url,
            MessageBody=queued.body if size <= MAX_MESSAGE else json.dumps(key),
            MessageGroupId=queued.message_id,
            MessageDeduplicationId=queued.message_id,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
            },
        )

    def show_after(self, queued: Queued, delay: int) -> None:
        """Makes a message visible again after so many seconds. Raises botocore's errors."""
        self._sqs.change_message_visibility(
            QueueUrl=self._push_url, ReceiptHandle=queued.receipt_handle, VisibilityTimeout=delay
        )


def _plain(text: str) -> str:
    """A text as an attribute of a message may hold it."""
    return "".join(c if c.isprintable() or c in "\t\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


class Unsettled:
    """The queue of final parts that are looked at again."""

    def __init__(self, sqs: Any, url: str) -> None:
        self._sqs = sqs
        self._url = url

    def look_again(self, final: Final, looks: int, delay: int) -> None:
        """Has `final` looked at again after `delay` seconds, for the `looks`-th time.

        Raises botocore's errors.
        """
        self._sqs.send_message(
            QueueUrl=self._url,
            DelaySeconds=delay,
            MessageBody=json.dumps({"final": asdict(final), "looks": looks}),
        )

    @staticmethod
    def read(body: str) -> tuple[Final, int]:
        """What `look_again` sent."""
        fields = json.loads(body)
        return Final(**fields["final"]), fields["looks"]
