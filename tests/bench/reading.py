"""Line 12: reading a long session with the library, beside the bare paginated Query.

The emulator needs seconds for a page. So each page comes from it once, and then from memory, as it came.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.httpsession import URLLib3Session

from bench.table import Line
from relay import Conversation
from relay.adapters.dynamodb import to_item
from relay.domain.timestamps import utc_text
from support.deployed import Deployed

PARTS, ROUNDS, SESSION = 10_000, 7, "long"


def reading_lines(deployed: Deployed) -> Iterator[Line]:
    """Measure the CPU of `Conversation.parts`."""
    dynamodb, table = deployed.stack.client("dynamodb"), deployed.stack.replies_table
    sent_at = utc_text(time.time())

    def put(first: int) -> None:
        items = [
            {
                "session": f"default#{SESSION}",
                "part": f"{sent_at[:-1]}#{number:06}#0",
                "session_id": SESSION,
                "bot": "default",
                "reply_to": f"in_{number // 5:032}",
                "sequence": number % 5,
                "is_final": False,  # or settle and publish would be busy for minutes
                "stream": True,
                "message": [{"type": "Plain", "text": "It left our warehouse on Monday."}],
                "created_at": sent_at,
                "sent_at": sent_at,
                "received_at": sent_at,
                "digest": "0" * 64,
                "expires_at": int(time.time()) + 86_400,
            }
            for number in range(first, first + 25)
        ]
        requests = [{"PutRequest": {"Item": to_item(item)}} for item in items]
        dynamodb.batch_write_item(RequestItems={table: requests})

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(put, range(0, PARTS, 25)))
    conversation = Conversation(deployed.stack, SESSION)
    http, known = URLLib3Session(), dict[bytes, AWSResponse]()
    # As boto3 comes: the stack's own client reads faster.
    plain: Any = boto3.client(
        "dynamodb",
        region_name=deployed.stack.region,
        endpoint_url=deployed.stack.endpoint_url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    pages = plain.get_paginator("query")

    def answer(request: Any, **_: Any) -> AWSResponse:
        if request.body not in known:
            known[request.body] = http.send(request)
        return known[request.body]

    def bare() -> int:
        query = pages.paginate(
            TableName=table,
            KeyConditionExpression="#session = :session",
            ExpressionAttributeNames={"#session": "session"},
            ExpressionAttributeValues={":session": {"S": f"default#{SESSION}"}},
            ConsistentRead=True,
        )
        return sum(len(page["Items"]) for page in query)

    for client in (plain, dynamodb):
        client.meta.events.register("before-send.dynamodb.Query", answer)
    took: dict[str, list[float]] = {"ours": [], "floor": []}
    for number in range(ROUNDS + 1):
        for name, read in (("floor", bare), ("ours", lambda: sum(1 for _ in conversation.parts()))):
            began = time.thread_time()
            if read() != PARTS:
                raise SystemExit("parts are missing")
            if number:  # the first time the pages come from the emulator
                took[name].append((time.thread_time() - began) * 1000)
    dynamodb.meta.events.unregister("before-send.dynamodb.Query", answer)
    ratios = [ours / floor for ours, floor in zip(took["ours"], took["floor"], strict=True)]
    spread = (min(ratios), max(ratios))
    what = f"reading {PARTS:,} parts, ms of CPU"
    yield Line("12", what, median(took["ours"]), median(took["floor"]), median(ratios), 1.2, spread)
