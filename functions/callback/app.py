"""callback: keeps the reply parts that LangBot posts, and those that it had to spill before."""

import base64
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from relay.describe import describe
from relay.edge import clients
from relay.edge.bots import Bots
from relay.edge.replies import Replies
from relay.edge.spill import Spill
from relay.receive import Receiver
from relay.rules.signing import NotAuthentic
from relay.rules.strict_json import Malformed
from relay.settings import CallbackSettings

log = logging.getLogger(__name__)

# A part must be in the spill queue before the function's 12 s are over, even where nothing refuses and
# all just hang:
#   Secrets Manager  1 try of 1 + 1.5 s, then the last good secret serves     2.5 s
#   DynamoDB or S3   2 tries of 1 + 1.5 s, up to 1 s apart                     6 s
#   SQS              1 try of 1 + 1.5 s                                        2.5 s
# which is 11 s. Where S3 hangs too and the part is too large for the queue it cannot be kept: LangBot
# is told so, or the function is cut off, which API Gateway tells it by a 5xx as well.
client = partial(clients.client, connect=1, read=1.5)

settings = CallbackSettings.from_env()
s3 = client("s3")
spill = Spill(client("sqs", tries=1), settings.spill_queue_url, s3, settings.overflow_bucket)
receiver = Receiver(
    bots=Bots(client("secretsmanager", tries=1), settings.bot_secret_prefix),
    replies=Replies(client("dynamodb"), settings.replies_table, s3, settings.overflow_bucket),
    spill=spill,
    keep_days=settings.keep_days,
)


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Takes a part from the HTTP API, or a batch of the spill queue."""
    return store(event["Records"]) if "Records" in event else take(event)


def take(event: dict[str, Any]) -> dict[str, Any]:
    """Answers LangBot: 200 kept, 401 not authentic, 400 no valid part, 503 not kept, try again."""
    try:
        body = event.get("body") or ""
        receiver.receive(
            bot_name=event["pathParameters"]["bot"],
            headers=event["headers"],
            raw=base64.b64decode(body) if event["isBase64Encoded"] else body.encode("utf-8", "surrogatepass"),
        )
    except NotAuthentic as error:
        log.warning("not authentic", extra={"reason": str(error)})
        return answer(401, "not authentic")
    except Malformed as error:
        return answer(400, f"not a valid part: {error}")
    except Exception as error:
        # Whatever it is: LangBot tries again only after a 5xx.
        log.error("a part could not be kept", extra=describe(error))
        return answer(503, "could not be kept, try again")
    return answer(200, "kept")


def answer(status: int, text: str) -> dict[str, Any]:
    """An answer of the HTTP API."""
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "body": json.dumps({"message": text}),
    }


def store(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Stores spilled parts, and reports those that stay in the queue.

    Side by side, so that a table that hangs does so once a batch.
    """
    with ThreadPoolExecutor(max_workers=len(records)) as threads:
        stored = list(threads.map(is_stored, records))
    return {
        "batchItemFailures": [
            {"itemIdentifier": record["messageId"]}
            for record, done in zip(records, stored, strict=True)
            if not done
        ]
    }


def is_stored(record: dict[str, Any]) -> bool:
    """Stores one spilled part; False where it must be tried again."""
    try:
        receiver.store(spill.read(record["body"]))
    except Malformed:
        return True  # it is in the quarantine now
    except Exception as error:
        # Whatever it is, the part stays in the queue and the others of the batch go on.
        log.error(
            "a spilled part stays in the queue", extra=describe(error) | {"message_id": record["messageId"]}
        )
        return False
    return True
