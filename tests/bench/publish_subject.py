"""publish as Lambda runs it, warm: its handler, the final part of a turn of five an invocation."""

import json
import os
from typing import Any

import boto3

from bench.lambda_events import Context, log_as_on_lambda, new_turn, stream_event
from publish.app import handler


class Subject:
    """See bench.subject."""

    def __init__(self) -> None:
        log_as_on_lambda()
        self._dynamodb: Any = boto3.client("dynamodb")
        self._record, self._part = (json.loads(os.environ[f"BENCH_{name}"]) for name in ("RECORD", "PART"))

    def prepare(self, count: int) -> list[Any]:
        """Write messages and their turns, and return events."""
        events = []
        for _ in range(count):
            record, last = new_turn(self._record, self._part)
            self._dynamodb.put_item(TableName=os.environ["MESSAGES_TABLE"], Item=record)
            for number in range(5):
                # None is final in the table, or the deployed publish would be busy as well.
                part = last | {"part": {"S": f"{last['part']['S']}{number}"}, "is_final": {"BOOL": False}}
                self._dynamodb.put_item(TableName=os.environ["REPLIES_TABLE"], Item=part)
            events.append(stream_event(part | {"is_final": {"BOOL": True}}))
        return events

    def run(self, given: Any) -> None:
        """Publish a reply."""
        if handler(given, Context)["batchItemFailures"]:
            raise RuntimeError("a reply was not published")

    def clean(self) -> None:
        """Leave the turns."""
