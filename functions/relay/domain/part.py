"""A reply part: which ones are valid, and the item that keeps one once and in order."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, NotRequired, TypedDict, TypeGuard, cast
from zoneinfo import ZoneInfo

from relay.domain import lenient_json
from relay.domain.keys import part_key, session_key
from relay.domain.segments import Segment, text_of
from relay.domain.strict_json import MAX_VALUES, Malformed
from relay.domain.timestamps import UtcText, days_after, emission_time, utc_text


@dataclass(frozen=True)
class PartBody:
    """What LangBot posts, as it was meant. `is_exact` is False if something in it had to be changed."""

    session_id: str
    reply_to: str
    sequence: int
    is_final: bool
    stream: bool
    message: list[Segment]
    timestamp: object
    more: dict[str, Any]
    is_exact: bool


class ReplyPart(TypedDict):
    """An item of RepliesTable, with the body's further fields beside these. docs/reference.md shows them.

    If DynamoDB cannot hold the body, `message`, `text` and a `sequence` of more than 38 digits are missing.
    """

    session: str
    """The partition key, `{bot}#{session_id}`."""
    part: str
    """The sort key, `{stamp}#{sequence}#{digest}`. It orders the parts of a session."""
    session_id: str
    """The session."""
    bot: str
    """The bot whose part it is."""
    reply_to: str
    """The turn: the `accepted_message_id` of the message that it answers. Empty for a proactive push."""
    sequence: int
    """LangBot's counter. It orders nothing."""
    is_final: bool
    """Whether LangBot ends a text with this part."""
    stream: bool
    """Whether it carries the whole text so far."""
    message: list[Segment]
    """LangBot's segments."""
    text: str
    """The Plain segments of `message`, for people. The table has none of a streamed part that is not final: a
    later part repeats it."""
    created_at: UtcText
    """When LangBot emitted the part, in UTC. If the bot's time zone is not known, it is computed from the
    signed time."""
    sent_at: UtcText
    """When LangBot signed it, in UTC."""
    received_at: UtcText
    """When callback received it, in UTC."""
    digest: str
    """SHA-256 of the body."""
    expires_at: int
    """When DynamoDB deletes it, in Unix seconds."""
    verified_with: NotRequired[int]
    """Which of the bot's secrets LangBot signed it with, 0 for the newest. Missing for the reply in the
    response to a sync call."""
    overflow: NotRequired[str]
    """The path of the body in OverflowBucket, if DynamoDB cannot hold it. Then `message` and `text` are
    missing."""
    normalized: NotRequired[bool]
    """True if the body could not be stored as LangBot wrote it, for example because of NaN or half an emoji.
    The raw body is in OverflowBucket, at `parts/{bot}/{digest}.json`."""
    conflicting_fields: NotRequired[dict[str, Any]]
    """Further fields of the body with a name from this table."""


LANGBOT_FIELDS = {"session_id", "reply_to", "sequence", "is_final", "stream", "message", "timestamp"}
CHECKED_FIELDS = ("reply_to", "sequence", "is_final", "stream", "message")
RELAY_FIELDS = (ReplyPart.__required_keys__ | ReplyPart.__optional_keys__) - LANGBOT_FIELDS
_WITHOUT_BODY = (ReplyPart.__required_keys__ | {"normalized", "verified_with"}) - {"message", "text"}

_MAX_SESSION_ID = 480
"""Characters, which make at most 1,920 bytes of the 2,048 that a key may have."""

MAX_REPLY_TO_BYTES = 1024
"""Bytes of an id of LangBot's, which has 35. It is a key of an index, which may have 2,048."""


@dataclass(frozen=True)
class VerifiedCallback:
    """A body that is LangBot's, with all else that its item is made of; times in Unix seconds.

    `verified_with` is the position of the bot's secret that signed it, 0 for the newest. It is None for a
    reply in the response to a sync call, which has no signature.

    `zone` is the bot's at reception. It decides the item's key. So a copy that is stored later and LangBot's
    retry that is stored at once are one item, even if the bot's secret changes between them.
    """

    bot: str
    raw: bytes
    signed_at: float
    received_at: float
    zone: ZoneInfo | None
    verified_with: int | None = None


def parse_part(raw: bytes) -> PartBody:
    """Read a verified body as it was meant, numbers as DynamoDB wants them.

    Raise strict_json.Malformed if it is no part at all: no JSON object, no session, or no list of segments.
    """
    return _read(raw, Decimal)


def _read(raw: bytes, parse_float: Callable[[str], Any], max_values: int = MAX_VALUES) -> PartBody:
    body, is_exact = lenient_json.loads(raw, parse_float, max_values)
    if not isinstance(body, dict):
        raise Malformed("it is no JSON object")
    session_id, message = body.get("session_id"), body.get("message")
    if not isinstance(session_id, str) or len(session_id) > _MAX_SESSION_ID:
        raise Malformed(f"session_id must be a string of at most {_MAX_SESSION_ID} characters")
    if not isinstance(message, list):
        raise Malformed("message must be a list of segments")
    reply_to, sequence = body.get("reply_to"), body.get("sequence")
    part = PartBody(
        session_id=session_id,
        reply_to=reply_to if is_id(reply_to) else "",
        sequence=sequence if type(sequence) is int else 0,
        is_final=body.get("is_final") is True,
        stream=body.get("stream") is True,
        message=[segment for segment in message if isinstance(segment, dict)],
        timestamp=body.get("timestamp"),
        more={name: value for name, value in body.items() if name not in LANGBOT_FIELDS},
        is_exact=is_exact,
    )
    as_sent = all(
        getattr(part, name) == body.get(name) for name in CHECKED_FIELDS if name != "stream" or name in body
    )
    return part if as_sent else replace(part, is_exact=False)


def is_id(value: object) -> TypeGuard[str]:
    """Tell whether `value` can be an id of LangBot's and a key in our tables; a proactive push has ""."""
    return isinstance(value, str) and len(value.encode()) <= MAX_REPLY_TO_BYTES


def reply_part(callback: VerifiedCallback, body: PartBody, keep_days: int) -> ReplyPart:
    """Return the item of a part; `body` is what `parse_part` read from it."""
    digest = hashlib.sha256(callback.raw).hexdigest()
    stamp, created_at = emission_time(body.timestamp, callback.signed_at, callback.zone)
    part: ReplyPart = {
        "session": session_key(callback.bot, body.session_id),
        "part": part_key(stamp, body.sequence, digest),
        "session_id": body.session_id,
        "bot": callback.bot,
        "reply_to": body.reply_to,
        "sequence": body.sequence,
        "is_final": body.is_final,
        "stream": body.stream,
        "message": body.message,
        "text": text_of(body.message),
        "created_at": created_at,
        "sent_at": utc_text(callback.signed_at),
        "received_at": utc_text(callback.received_at),
        "digest": digest,
        "expires_at": days_after(callback.received_at, keep_days),
    }
    if callback.verified_with is not None:
        part["verified_with"] = callback.verified_with
    if not body.is_exact:
        part["normalized"] = True
    return _with_more(part, body)


def _with_more(part: ReplyPart, body: PartBody) -> ReplyPart:
    """Add the body's further fields; those with a name of ours go into `conflicting_fields`."""
    more = {name: value for name, value in body.more.items() if name not in RELAY_FIELDS}
    if body.timestamp is not None:
        more["timestamp"] = body.timestamp
    if conflicting := {name: value for name, value in body.more.items() if name in RELAY_FIELDS}:
        part["conflicting_fields"] = conflicting
    return cast(ReplyPart, {**more, **part})


def without_replaced_text(part: ReplyPart) -> ReplyPart:
    """Return the part as the table has it: without `text` if it is streamed and not final."""
    if part["is_final"] or not part["stream"]:
        return part
    return cast(ReplyPart, {name: value for name, value in part.items() if name != "text"})


def with_text(part: ReplyPart) -> ReplyPart:
    """Return a part that has its `message` with its `text`, also if the table has none."""
    return part if "text" in part else {**part, "text": text_of(part["message"])}


def without_body(part: ReplyPart) -> ReplyPart:
    """Return the part without what only the raw body can hold."""
    kept: dict[str, Any] = {name: value for name, value in part.items() if name in _WITHOUT_BODY}
    if abs(part["sequence"]) >= 10**38:
        del kept["sequence"]
    return cast(ReplyPart, kept)


def with_body(part: ReplyPart, raw: bytes | None, max_values: int = MAX_VALUES) -> ReplyPart:
    """Return a part that was stored without its body, with what the raw body holds; None if that is gone.

    Raise strict_json.Malformed if it has more than `max_values` values.
    """
    if raw is None:
        return cast(ReplyPart, {"sequence": 0, **part, "message": [], "text": ""})
    body = _read(raw, float, max_values)
    whole = {**part, "sequence": body.sequence, "message": body.message, "text": text_of(body.message)}
    return _with_more(cast(ReplyPart, whole), body)


def session_id_in(raw: bytes) -> str | None:
    """Return the session id that a body names, or None if none can be read from it."""
    try:
        body, _ = lenient_json.loads(raw, float, MAX_VALUES)
    except Malformed:
        return None
    session_id = body.get("session_id") if isinstance(body, dict) else None
    return session_id if isinstance(session_id, str) else None


def sync_reply_body(session_id: str, reply_to: str, message: list[Segment], timestamp: str) -> bytes:
    """Return the reply in the response to a sync call, as the body of the callback that it stands for.

    That response has no timestamp; `timestamp` is the one that LangBot would have written.
    """
    body = {
        "session_id": session_id,
        "reply_to": reply_to,
        "sequence": 1,
        "is_final": True,
        "stream": False,
        "message": message,
        "timestamp": timestamp,
    }
    return json.dumps(body, ensure_ascii=False).encode()
