"""A reply part: which ones are valid, and the item that keeps one once and in order."""

import hashlib
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NotRequired, TypedDict, cast
from zoneinfo import ZoneInfo

from relay.domain import strict_json
from relay.domain.keys import part_key, session_key
from relay.domain.schemas import schema_fault
from relay.domain.segments import Segment, text_of
from relay.domain.timestamps import UtcText, emission_time, utc_text


class PartBody(TypedDict):
    """What LangBot posts; further fields are kept as they come."""

    session_id: str
    reply_to: str
    sequence: int
    is_final: bool
    message: list[Segment]
    stream: NotRequired[bool]
    timestamp: NotRequired[object]


class ReplyPart(TypedDict):
    """An item of RepliesTable, with the body's further fields beside these.

    If DynamoDB cannot hold the body, `message` and `text` are missing, as `sequence` is past 38 digits;
    `overflow` is the path in the overflow bucket then.
    """

    session: str
    part: str
    session_id: str
    bot: str
    reply_to: str
    sequence: int
    is_final: bool
    stream: bool
    message: list[Segment]
    text: str
    created_at: UtcText
    sent_at: UtcText
    received_at: UtcText
    digest: str
    expires_at: int
    overflow: NotRequired[str]


_WITHOUT_BODY = ReplyPart.__required_keys__ - {"message", "text"}


@dataclass(frozen=True)
class VerifiedCallback:
    """A body that is LangBot's, with all else that its item is made of; times in Unix seconds.

    `zone` is the bot's at reception. It decides the item's key. So a copy that is stored later and LangBot's
    retry that is stored at once are one item, even if the bot's secret changes between them.
    """

    bot: str
    raw: bytes
    signed_at: float
    received_at: float
    zone: ZoneInfo | None


def parse_part(raw: bytes) -> PartBody:
    """Return the fields of a verified body, numbers as DynamoDB wants them. Raise strict_json.Malformed."""
    body = strict_json.loads(raw, parse_float=Decimal)
    if fault := schema_fault("part", body):
        raise strict_json.Malformed(fault)
    return cast(PartBody, body)


def reply_part(callback: VerifiedCallback, body: PartBody, keep_days: int) -> ReplyPart:
    """Return the item of a part; `body` is what `parse_part` read from it."""
    digest = hashlib.sha256(callback.raw).hexdigest()
    stamp, created_at = emission_time(body.get("timestamp"), callback.signed_at, callback.zone)
    ours: ReplyPart = {
        "session": session_key(callback.bot, body["session_id"]),
        "part": part_key(stamp, body["sequence"], digest),
        "session_id": body["session_id"],
        "bot": callback.bot,
        "reply_to": body["reply_to"],
        "sequence": body["sequence"],
        "is_final": body["is_final"],
        "stream": body.get("stream", False),
        "message": body["message"],
        "text": text_of(body["message"]),
        "created_at": created_at,
        "sent_at": utc_text(callback.signed_at),
        "received_at": utc_text(callback.received_at),
        "digest": digest,
        "expires_at": int(callback.received_at) + keep_days * 86_400,
    }
    return cast(ReplyPart, {**body, **ours})


def without_body(part: ReplyPart) -> ReplyPart:
    """Return the part without what only the raw body can hold."""
    kept: dict[str, Any] = {name: value for name, value in part.items() if name in _WITHOUT_BODY}
    if abs(part["sequence"]) >= 10**38:
        del kept["sequence"]
    return cast(ReplyPart, kept)


def with_body(part: ReplyPart, raw: bytes) -> ReplyPart:
    """Return a part that was stored without its body, with what the raw body holds."""
    body = cast(PartBody, strict_json.loads(raw))
    ours = {**part, "sequence": body["sequence"], "text": text_of(body["message"])}
    return cast(ReplyPart, {**body, **ours})


def sync_reply_body(session_id: str, reply_to: str, message: list[Segment], timestamp: str) -> bytes:
    """Return the reply in the response to a sync call, as the body of the callback that it stands for.

    That response has no timestamp; `timestamp` is the one that LangBot would have written.
    """
    body: PartBody = {
        "session_id": session_id,
        "reply_to": reply_to,
        "sequence": 1,
        "is_final": True,
        "stream": False,
        "message": message,
        "timestamp": timestamp,
    }
    return json.dumps(body, ensure_ascii=False).encode()
