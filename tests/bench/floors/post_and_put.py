"""The floor of push: a POST and a put_item of the same item, with boto3 and requests as they come."""

import json
import os
from itertools import count
from typing import Any

import boto3
import requests

from bench.lambda_events import signed
from bench.measured_items import delete_all

_numbers = count(1)


class Subject:
    """See bench.subject."""

    def __init__(self) -> None:
        self._dynamodb: Any = boto3.client("dynamodb")
        self._http = requests.Session()
        self._item = json.loads(os.environ["BENCH_RECORD"])

    def prepare(self, count: int) -> list[Any]:
        """Return bodies with their items."""
        body = b'{"session_id": "bench", "message": [{"type": "Plain", "text": "Where is my order?"}]}'
        return [(body, self._item | {"message": {"S": f"{next(_numbers):039}"}}) for _ in range(count)]

    def run(self, given: Any) -> None:
        """Post and put."""
        body, item = given
        self._http.post(os.environ["BENCH_BOT_URL"], data=body, headers=signed(body)).raise_for_status()
        self._dynamodb.put_item(TableName=os.environ["MESSAGES_TABLE"], Item=item)

    def clean(self) -> None:
        """Delete the items."""
        delete_all(os.environ["MESSAGES_TABLE"], "message")
