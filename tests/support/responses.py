"""Responses to an attempt: LangBot 4.11.2's, as recorded, and those of proxies in front of it."""

import json
from typing import Any

from relay.domain.attempt import Response


def response(
    status: int, code: Any = None, msg: str = "", data: Any = None, retry_after: str | None = None
) -> Response:
    """Make a response with LangBot's envelope."""
    return Response(status, json.dumps({"code": code, "msg": msg, "data": data}).encode(), retry_after)


ACCEPTED = response(202, 0, "accepted", {"accepted_message_id": "in_1", "aggregating": True})
OVERLOADED = response(503, 50301, "too many inbound messages are already being processed")
NO_ROOM_FOR_KEY = response(503, 50301, "idempotency capacity reached; retry later")
TOO_MANY_REQUESTS = response(429, "blocking_work_capacity_exceeded")
KEY_KNOWN = response(409, 40901, "idempotency key already accepted")
SYNC_IN_FLIGHT = response(409, 40901, "a sync request is already in flight for this session")
BAD_SIGNATURE = response(401, 40101, "invalid signature: signature_mismatch")
BOT_NOT_FOUND = Response(404, b'{"error":"Bot not found"}')
UNPARSED = response(400, 40001, "failed to parse message: x")
TOO_LARGE = response(413, 41301, "message too large")
INTERNAL_ERROR = response(500, "internal_error", "Internal server error")
HTML_PAGE = Response(405, b"<!doctype html>\n<title>405 Method Not Allowed</title>")

REFUSALS = [
    OVERLOADED,
    NO_ROOM_FOR_KEY,
    TOO_MANY_REQUESTS,
    BAD_SIGNATURE,
    BOT_NOT_FOUND,
    HTML_PAGE,
    Response(403, b""),
    Response(301, b""),
]
"""The message was not accepted, and another attempt may succeed."""

PERMANENT_REFUSALS = [UNPARSED, TOO_LARGE]
"""The message itself is at fault."""
