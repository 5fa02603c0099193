"""Peer: push with Powertools' FIFO processor and Idempotency, as their documentation says.

https://docs.powertools.aws.dev/lambda/python/latest/utilities/batch/ and .../utilities/idempotency/
"""

import hashlib
import hmac
import json
import os
import time
from typing import Any

import boto3
import requests
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.batch import SqsFifoPartialProcessor, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)

from bench.lambda_events import Context, push_event
from bench.measured_items import delete_all

logger = Logger(service="push")
processor = SqsFifoPartialProcessor()
persistence = DynamoDBPersistenceLayer(table_name=os.environ["BENCH_IDEMPOTENCY_TABLE"])
config = IdempotencyConfig(event_key_jmespath="messageId")
messages: Any = boto3.resource("dynamodb").Table(os.environ["MESSAGES_TABLE"])
http = requests.Session()


@idempotent_function(  # type: ignore[untyped-decorator]
    data_keyword_argument="record", config=config, persistence_store=persistence
)
def deliver(record: SQSRecord) -> dict[str, Any]:
    """Post a message, signed, and keep its record."""
    message = record.json_body
    secret: Any = parameters.get_secret(
        os.environ["BOT_SECRET_PREFIX"] + message["bot"], transform="json", max_age=60
    )
    content = {"session_id": message["session_id"], "message": [{"type": "Plain", "text": message["text"]}]}
    body, now = json.dumps(content).encode(), str(int(time.time()))
    signature = hmac.new(secret["inbound_secret"].encode(), f"{now}.".encode() + body, hashlib.sha256)
    headers = {
        "Content-Type": "application/json",
        "X-LB-Timestamp": now,
        "X-LB-Signature": f"sha256={signature.hexdigest()}",
        "X-LB-Idempotency-Key": record.message_id,
    }
    response = http.post(secret["url"] + "/push", data=body, headers=headers, timeout=10)
    response.raise_for_status()
    key = {
        "session": f"{message['bot']}#{message['session_id']}",
        "message": (record.attributes.sequence_number or "").zfill(39),
    }
    item = {
        "message_id": record.message_id,
        "state": "delivered",
        "body": record.body,
        "accepted_message_id": response.json()["data"]["accepted_message_id"],
        "awaiting": message["bot"],
        "due_at": f"{time.time() + 900}",
        "queued_on": time.strftime("%Y-%m-%d"),
        "queued_at": f"{time.time()}",
    }
    messages.put_item(Item=key | item)
    logger.info("delivered", extra={"message_id": record.message_id})
    return {"status": response.status_code}


def record_handler(record: SQSRecord) -> dict[str, Any]:
    """Handle a record of a batch."""
    delivered: dict[str, Any] = deliver(record=record)
    return delivered


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> Any:
    """Handle a batch."""
    config.register_lambda_context(context)
    return process_partial_response(
        event=event, record_handler=record_handler, processor=processor, context=context
    )


class Subject:
    """See bench.subject. It gets batches of ten, the default of an event source mapping."""

    def prepare(self, count: int) -> list[Any]:
        """Return events."""
        return [push_event(10) for _ in range(count // 10)]

    def run(self, given: Any) -> None:
        """Deliver ten messages."""
        if handler(given, Context)["batchItemFailures"]:
            raise RuntimeError("a message was not delivered")

    def clean(self) -> None:
        """Delete the records."""
        delete_all(os.environ["MESSAGES_TABLE"], "message")
