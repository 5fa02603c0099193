"""callback: keeps the reply parts that LangBot posts."""

import base64
import json
import logging
from typing import Any

from relay.describe import describe
from relay.edge.bots import Bots
from relay.edge.clients import client
from relay.edge.replies import Replies
from relay.receive import Receiver
from relay.rules.signing import NotAuthentic
from relay.rules.strict_json import Malformed
from relay.settings import CallbackSettings

log = logging.getLogger(__name__)

settings = CallbackSettings.from_env()
receiver = Receiver(
    bots=Bots(client("secretsmanager"), settings.bot_secret_prefix),
    replies=Replies(client("dynamodb"), settings.replies_table, client("s3"), settings.overflow_bucket),
    keep_days=settings.keep_days,
)


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
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
