"""Peer: callback with Powertools' resolver and Idempotency, as their documentation says.

https://docs.powertools.aws.dev/lambda/python/latest/core/event_handler/api_gateway/
"""

import hashlib
import hmac
import os
import time
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.event_handler.exceptions import UnauthorizedError
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)

from bench.lambda_events import Context, callback_event

logger = Logger(service="callback")
app = APIGatewayHttpResolver()
persistence = DynamoDBPersistenceLayer(table_name=os.environ["BENCH_IDEMPOTENCY_TABLE"])
config = IdempotencyConfig(event_key_jmespath="[reply_to, sequence]")
replies: Any = boto3.resource("dynamodb").Table(os.environ["REPLIES_TABLE"])


@app.post("/callbacks/<bot>")
def receive(bot: str) -> dict[str, str]:
    """Verify a part and store it."""
    event = app.current_event
    raw = (event.decoded_body or "").encode()
    secret: Any = parameters.get_secret(os.environ["BOT_SECRET_PREFIX"] + bot, transform="json", max_age=60)
    timestamp = event.headers.get("x-lb-timestamp", "")
    expected = hmac.new(secret["outbound_secret"].encode(), timestamp.encode() + b"." + raw, hashlib.sha256)
    is_authentic = hmac.compare_digest(
        f"sha256={expected.hexdigest()}", event.headers.get("x-lb-signature", "")
    )
    if not is_authentic or abs(time.time() - int(timestamp)) > 300:
        raise UnauthorizedError("not authentic")
    store(part=event.json_body | {"bot": bot})
    return {"message": "kept"}


@idempotent_function(  # type: ignore[untyped-decorator]
    data_keyword_argument="part", config=config, persistence_store=persistence
)
def store(part: dict[str, Any]) -> dict[str, str]:
    """Store a part once."""
    keys = {
        "session": f"{part['bot']}#{part['session_id']}",
        "part": f"{part['timestamp']}#{part['sequence']:06}",
    }
    text = "".join(segment["text"] for segment in part["message"])
    replies.put_item(Item=part | keys | {"text": text, "received_at": f"{time.time()}"})
    logger.info("part stored")
    return {"stored": keys["part"]}


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a request."""
    config.register_lambda_context(context)
    return app.resolve(event, context)


class Subject:
    """See bench.subject."""

    def prepare(self, count: int) -> list[Any]:
        """Return events."""
        return [callback_event() for _ in range(count)]

    def run(self, given: Any) -> None:
        """Receive a part."""
        if handler(given, Context)["statusCode"] != 200:
            raise RuntimeError("a part was not stored")

    def clean(self) -> None:
        """Leave the parts."""
