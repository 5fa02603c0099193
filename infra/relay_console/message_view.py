"""What the page shows of a message."""

import json

from relay.domain import lenient_json
from relay.domain.attempt import ResponseExcerpt
from relay.domain.message import parse_message, without_task
from relay.domain.record import MessageRecord, without_secrets
from relay.domain.strict_json import Malformed
from relay.errors import InvalidMessage
from relay_console.curl_command import curl_command
from relay_console.segments_view import MAX_NAME, shown_segments, text_segment
from relay_console.view_item import ViewItem

_SHOWN = (
    "session",
    "message_id",
    "state",
    "action",
    "attempts",
    "queued_at",
    "delivered_at",
    "answered_at",
    "unanswered_at",
    "parked_at",
    "resent_at",
    "dropped_at",
    "reason",
    "last_error",
    "drop_reason",
    "resend_of",
    "answer_kind",
    "due_at",
)
"""What the page shows of a record as it is."""


def message_item(record: MessageRecord) -> ViewItem:
    """Return a message of the conversation."""
    segments, sender = _segments_and_sender(record)
    shown = {name: record[name] for name in _SHOWN if name in record}  # type: ignore[literal-required]
    return {
        **shown,
        **segments,
        "kind": "message",
        "id": f"message:{record['message']}",
        "key": record["message"],
        "order": record["queued_at"],
        "sender": sender,
    }


def _segments_and_sender(record: MessageRecord) -> tuple[ViewItem, str]:
    """Return the segments of a message, None if its body is in the bucket, and its sender's name.

    One that cannot be read is not valid: push would only park it again.
    """
    if "body" not in record:
        return {"segments": None}, ""
    try:
        message = parse_message(record["body"])
    except InvalidMessage:
        unread = {"segments": [text_segment("Unreadable", without_task(record["body"]))], "left_out": 0}
        return {**unread, "invalid": True}, ""
    sender = message.sender or {}
    return shown_segments(message.segments), str(sender.get("name") or sender.get("id") or "")[:MAX_NAME]


def message_detail(record: MessageRecord, body: str) -> ViewItem:
    """Return the protocol of a message; `body` is the message as it was queued."""
    return {
        "context": _indented(record.get("context", "")),
        "attempts": record.get("last_attempts", []),
        "response": _response(record["last_response"]) if "last_response" in record else None,
        "raw": json.dumps(without_secrets(record), ensure_ascii=False, indent=2, default=str),
        "curl": curl_command(body),
    }


def _response(excerpt: ResponseExcerpt) -> str:
    return f"HTTP {excerpt['status']}\n{_indented(excerpt['body'])}"


def _indented(text: str) -> str:
    """Return JSON text for people, and any other text as it is."""
    try:
        value, _ = lenient_json.loads(text.encode())
    except Malformed:
        return text
    return json.dumps(value, ensure_ascii=False, indent=2)
