"""callback: keeps the reply parts that LangBot posts, and those that it had to spill before."""

import base64
import json
import logging
from functools import partial
from typing import Any

import relay.cold_start
from callback.receiver import LOOKUPS_PER_SECOND, NotVerified, Receiver
from relay import environment
from relay.adapters.aws import client, lazy_client
from relay.adapters.bot_registry import BotRegistry
from relay.adapters.dynamodb import Table
from relay.adapters.overflow_bucket import OverflowBucket
from relay.adapters.replies_table import RepliesTable
from relay.adapters.spill_queue import SpillQueue
from relay.domain.signing import NotAuthentic
from relay.domain.strict_json import Malformed
from relay.log_fields import REFUSED, error_fields
from relay.metrics import Metric, Metrics
from relay.settings import CallbackSettings

log = logging.getLogger(__name__)

# A part must be in the spill queue before the function's 12 s are over, even if nothing refuses and all
# services just hang:
#   Secrets Manager  1 try of 1 + 1.5 s, then the last good secret serves     2.5 s
#   DynamoDB or S3   2 tries of 1 + 1.5 s, up to 1 s apart                     6 s
#   SQS              1 try of 1 + 1.5 s                                        2.5 s
# These are 11 s. If S3 hangs too and the part is too large for the queue, it cannot be kept. Then LangBot
# is told so, or Lambda ends the function, and API Gateway tells LangBot by a 5xx as well.
connect, read = 1, 1.5

settings = CallbackSettings.from_env()
metrics = Metrics(settings.metrics_namespace)
bucket = OverflowBucket(lazy_client(lambda: client("s3", connect, read)), settings.overflow_bucket)
spill_queue = SpillQueue(
    lazy_client(lambda: client("sqs", connect, read, tries=1)), settings.spill_queue_url, bucket
)
receiver = Receiver(
    bot_registry=BotRegistry(
        client("secretsmanager", connect, read, tries=1),
        settings.bot_secret_prefix,
        lookups_per_second=LOOKUPS_PER_SECOND,
    ),
    replies_table=RepliesTable(Table(client("dynamodb", connect, read), settings.replies_table), bucket),
    bucket=bucket,
    spill_queue=spill_queue,
    keep_days=settings.keep_days,
    metrics=metrics,
)
relay.cold_start.end()


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Handle a part from the HTTP API, or a batch of the spill queue."""
    result = store_spilled(event["Records"]) if "Records" in event else receive(event)
    metrics.emit()
    return result


def receive(event: dict[str, Any]) -> dict[str, Any]:
    """Answer LangBot: 200 kept, 401 not authentic, 400 no valid part, 503 not kept, try again."""
    bot_name: str = event["pathParameters"]["bot"]
    try:
        body = event.get("body") or ""
        receiver.receive(
            bot_name=bot_name,
            headers=event["headers"],
            raw=base64.b64decode(body) if event["isBase64Encoded"] else body.encode("utf-8", "surrogatepass"),
        )
    except NotAuthentic as error:
        metrics.count(Metric.SIGNATURE_REFUSED, reason=error.refusal)
        # Anybody can make up a name, so no longer one than a bot can have is logged.
        log.warning(REFUSED, extra={"bot": bot_name[:63], "reason": error.refusal})
        return response(401, "not authentic")
    except Malformed as error:
        return response(400, f"not a valid part: {error}")
    except NotVerified as error:
        log.error("a part cannot be verified", extra={"reason": str(error)})
    except Exception as error:
        log.error("a part could not be kept", extra=error_fields(error))
    else:
        return response(200, "kept")
    # For every error, since LangBot tries again only after a 5xx.
    return response(503, "could not be kept, try again")


def response(status: int, text: str) -> dict[str, Any]:
    """Return a response of the HTTP API."""
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "body": json.dumps({"message": text}),
    }


def store_spilled(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Store spilled parts, and report those that stay in the queue.

    They are stored side by side, so that a table that hangs delays a batch only once.
    """
    storing = [environment.submit(partial(store_one, record)) for record in records]
    kept = [one.result() for one in storing]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in kept if message_id]}


def store_one(record: dict[str, Any]) -> str | None:
    """Store one spilled part; return its message id if it stays in the queue."""
    message_id: str = record["messageId"]
    try:
        receiver.store(spill_queue.read(record["body"]))
    except Malformed:
        return None  # it is in the quarantine now
    except Exception as error:
        # Whatever the error is, the part stays in the queue and the others of the batch go on.
        fields = error_fields(error) | {"message_id": message_id}
        log.error("a spilled part stays in the queue", extra=fields)
        return message_id
    return None
