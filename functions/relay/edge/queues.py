"""The queues."""

import json
from dataclasses import asdict
from typing import Any

from relay.rules.ledger import Queued
from relay.rules.settling import Final

MAX_MESSAGE = 1 << 20
"""Bytes of an SQS message, its attributes included."""


class Queues:
    """What push does to the queues; taking and deleting messages is the event source mapping's."""

    def __init__(self, sqs: Any, push_url: str, parked_url: str) -> None:
        self._sqs = sqs
        self._push_url = push_url
        self._parked_url = parked_url

    def park(self, queued: Queued, key: dict[str, str], reason: str) -> None:
        """Puts a message on ParkedQueue, as it came, with its key in the ledger and the reason beside it.

        A body that leaves no room for them is left out: the ledger has it. Raises botocore's errors.
        """
        attributes = {
            "session": key["session"],
            "message": key["message"],
            "reason": reason.encode("ascii", "backslashreplace").decode()[:1000],
        }
        size = len(queued.body.encode()) + sum(
            len(name) + len("String") + len(value.encode()) for name, value in attributes.items()
        )
        self._sqs.send_message(
            QueueUrl=self._parked_url,
            MessageBody=queued.body if size <= MAX_MESSAGE else json.dumps(key),
            MessageGroupId=queued.group,
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
