"""Events as Lambda hands them to a function, and its context."""

import json
import logging
import os
import sys
import time
from itertools import count
from typing import Any
from uuid import uuid4

from awslambdaric.lambda_runtime_log_utils import JsonFormatter

from relay.domain.signing import sign

_numbers = count(int(time.time() * 1_000_000))
SESSION = "bench"


class Context:
    """What Lambda tells a function about an invocation."""

    function_name, function_version, memory_limit_in_mb = "bench", "1", 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:bench"
    aws_request_id = "5b441b59-a550-11c6-86d5-1a1b6b5a2f19"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """Return the milliseconds that are left."""
        return 80_000


def push_event(messages: int = 1) -> dict[str, Any]:
    """Return an event of PushQueue with new messages of one session."""
    return {"Records": [_message() for _ in range(messages)]}


def _message() -> dict[str, Any]:
    body = {"bot": os.environ["BENCH_BOT"], "session_id": SESSION, "text": "Where is my order?"}
    queue = os.environ["PUSH_QUEUE_URL"].rpartition("/")[2]
    return {
        "messageId": str(uuid4()),
        "receiptHandle": "gone",
        "body": json.dumps(body),
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": str(int(time.time() * 1000)),
            "SequenceNumber": str(next(_numbers)),
            "MessageGroupId": SESSION,
        },
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:us-east-1:000000000000:{queue}",
        "awsRegion": "us-east-1",
    }


def part() -> bytes:
    """Return the body of a new part."""
    number = next(_numbers)
    body = {
        "session_id": SESSION,
        "reply_to": "in_27e0637421794466b29194fe48513235",
        "sequence": number % 1_000_000,
        "is_final": False,
        "stream": True,
        "message": [{"type": "Plain", "text": f"It left our warehouse on Monday. {number}"}],
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.000001", time.gmtime()),
    }
    return json.dumps(body).encode()


def signed(raw: bytes) -> dict[str, str]:
    """Return the headers of a part, signed now."""
    now = str(int(time.time()))
    return {
        "content-type": "application/json",
        "x-lb-timestamp": now,
        "x-lb-signature": sign(os.environ["BENCH_OUTBOUND"], now, raw),
    }


def callback_event() -> dict[str, Any]:
    """Return an event of the HTTP API with a new part."""
    raw, bot = part(), os.environ["BENCH_BOT"]
    path = f"/callbacks/{bot}"
    return {
        "version": "2.0",
        "routeKey": "POST /callbacks/{bot}",
        "rawPath": path,
        "rawQueryString": "",
        "headers": signed(raw),
        "requestContext": {
            "http": {"method": "POST", "path": path, "protocol": "HTTP/1.1"},
            "stage": "$default",
        },
        "pathParameters": {"bot": bot},
        "body": raw.decode(),
        "isBase64Encoded": False,
    }


def new_turn(record: dict[str, Any], part: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return these items of DynamoDB for a session of its own: a message, and the part that answers it."""
    number, bot = next(_numbers), os.environ["BENCH_BOT"]
    session = {"session": {"S": f"{bot}#{SESSION}-{number}"}, "bot": {"S": bot}}
    reply_to = {"S": f"in_{number:032}"}
    waits = {"accepted_message_id": reply_to, "awaiting": {"S": bot}}
    return record | session | waits, part | session | {"reply_to": reply_to, "is_final": {"BOOL": True}}


def stream_event(new: dict[str, Any]) -> dict[str, Any]:
    """Return an event of a table's stream with a new item."""
    change = {
        "ApproximateCreationDateTime": int(time.time()),
        "NewImage": new,
        "SequenceNumber": str(next(_numbers)),
    }
    return {"Records": [{"eventSource": "aws:dynamodb", "eventName": "INSERT", "dynamodb": change}]}


def log_as_on_lambda() -> None:
    """Write the log to standard output as Lambda's runtime formats it."""
    log = logging.StreamHandler(sys.stdout)
    log.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[log])
