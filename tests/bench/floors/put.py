"""The floor of callback: a put_item of the same item, with boto3 as it comes."""

import json
import os
from itertools import count
from typing import Any

import boto3

_numbers = count(1)


class Subject:
    """See bench.subject."""

    def __init__(self) -> None:
        self._dynamodb: Any = boto3.client("dynamodb")
        self._item = json.loads(os.environ["BENCH_PART"])

    def prepare(self, count: int) -> list[Any]:
        """Return items."""
        stamp = self._item["part"]["S"].partition("#")[0]
        return [self._item | {"part": {"S": f"{stamp}#{next(_numbers):06}#floor"}} for _ in range(count)]

    def run(self, given: Any) -> None:
        """Put."""
        self._dynamodb.put_item(TableName=os.environ["REPLIES_TABLE"], Item=given)

    def clean(self) -> None:
        """Leave the parts."""
