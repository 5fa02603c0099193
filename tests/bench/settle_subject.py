"""settle as Lambda runs it, warm: its handler, a final part an invocation, which answers a message."""

import json
import os
from typing import Any

import boto3

from bench.lambda_events import Context, log_as_on_lambda, new_turn, stream_event
from settle.app import handler


class Subject:
    """See bench.subject."""

    def __init__(self) -> None:
        log_as_on_lambda()
        self._dynamodb: Any = boto3.client("dynamodb")
        self._record, self._part = (json.loads(os.environ[f"BENCH_{name}"]) for name in ("RECORD", "PART"))
        self._last: dict[str, Any] = {}

    def prepare(self, count: int) -> list[Any]:
        """Write messages that wait, and return events."""
        events = []
        for _ in range(count):
            self._last, part = new_turn(self._record, self._part)
            self._dynamodb.put_item(TableName=os.environ["MESSAGES_TABLE"], Item=self._last)
            events.append(stream_event(part))
        return events

    def run(self, given: Any) -> None:
        """Settle a message."""
        if handler(given, Context)["batchItemFailures"]:
            raise RuntimeError("a part was not settled")

    def clean(self) -> None:
        """Check the last message."""
        key = {name: self._last[name] for name in ("session", "message")}
        item = self._dynamodb.get_item(TableName=os.environ["MESSAGES_TABLE"], Key=key)["Item"]
        if item["state"]["S"] != "answered":
            raise RuntimeError("a message was not settled")
