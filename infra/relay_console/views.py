"""Views: what the page shows of records, parts and bots. Pure, and no text in it is trusted."""

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from relay.domain import lenient_json
from relay.domain.admission import BotState
from relay.domain.attempt import ResponseExcerpt
from relay.domain.bot import Bot
from relay.domain.keys import bot_of, stamp_of
from relay.domain.message import PATHS, parse_message, request_for
from relay.domain.part import ReplyPart
from relay.domain.record import MessageRecord, State
from relay.domain.segments import Segment
from relay.domain.strict_json import Malformed
from relay.domain.timestamps import UtcText, host_clock_offset, unix_seconds, utc_text
from relay.domain.turn import Turn, effective_parts, turns
from relay.errors import InvalidMessage
from relay_cli.terminal import quoted

MAX_TEXT = 20_000
"""Characters of a text that the conversation shows; the raw JSON has all of it."""

STALLED_AFTER = 60
"""Seconds of silence after which a turn without a final part counts as stalled. LangBot counts the parts of a
session from 1 again after so long a pause (LangBot 4.11.2)."""

_PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+")

_HMAC = (
    "import hashlib, hmac, os, sys; "
    'secret = os.environ["BOT_INBOUND_SECRET"].encode(); '
    "print(hmac.new(secret, sys.stdin.buffer.read(), hashlib.sha256).hexdigest())"
)

_SHOWN = (
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
    "resent_as",
    "resends",
    "indirect",
    "probable",
    "unfinished",
    "expect_reply",
    "due_at",
)
"""What the conversation shows of a record as it is."""

Item = dict[str, Any]


# ---------------------------------------------------------------- sessions


@dataclass(frozen=True)
class Seen:
    """What the list of sessions needs of a record."""

    session: str
    message: str
    state: State
    queued_at: UtcText
    parked_at: UtcText | None
    delivered_at: UtcText | None
    waits: bool

    @classmethod
    def of(cls, record: MessageRecord) -> "Seen":
        return cls(
            session=record["session"],
            message=record["message"],
            state=record["state"],
            queued_at=record["queued_at"],
            parked_at=record.get("parked_at"),
            delivered_at=record.get("delivered_at"),
            waits=record["state"] == State.RETRYING or "awaiting" in record,
        )


def session_item(seen: Iterable[Seen]) -> Item:
    """Return a line of the list of sessions, from what was seen of the session's messages."""
    messages = list(seen)
    session = messages[0].session
    return {
        "kind": "session",
        "id": f"session:{session}",
        "session": session,
        "bot": bot_of(session),
        "session_id": session.partition("#")[2],
        "at": max(message.queued_at for message in messages),
        "states": dict(Counter(str(message.state) for message in messages)),
    }


# ---------------------------------------------------------------- a conversation


def message_item(record: MessageRecord) -> Item:
    """Return a message of the conversation."""
    segments, sender = _spoken(record)
    shown = {name: record[name] for name in _SHOWN if name in record}  # type: ignore[literal-required]
    return shown | {
        "kind": "message",
        "id": f"message:{record['message']}",
        "key": record["message"],
        "order": record["queued_at"],
        "sender": sender,
        "segments": segments,
    }


def _spoken(record: MessageRecord) -> tuple[list[Item] | None, str]:
    """Return what a message says, or None if its body is in the bucket or is no message, and who says it."""
    try:
        message = parse_message(record["body"]) if "body" in record else None
    except InvalidMessage:
        text = record["body"][:MAX_TEXT]
        return [{"type": "Unreadable", "text": text, "cut": len(record["body"]) > MAX_TEXT}], ""
    if message is None:
        return None, ""
    sender = message.sender or {}
    return shown_segments(message.segments), str(sender.get("name") or sender.get("id") or "")


def shown_segments(segments: Iterable[Segment]) -> list[Item]:
    """Return segments as the page shows them: each with its type and what can be shown of it."""
    return [_shown_segment(segment) for segment in segments]


def _shown_segment(segment: Segment) -> Item:
    kind = str(segment.get("type"))
    text = segment.get("text")
    if kind == "Plain" and isinstance(text, str):
        return {"type": kind, "text": text[:MAX_TEXT], "cut": len(text) > MAX_TEXT}
    picture = segment.get("base64")
    if kind == "Image" and isinstance(picture, str) and _PICTURE.fullmatch(picture):
        return {"type": kind, "picture": picture}
    # A picture elsewhere is not loaded: its host would see who looks at the conversation.
    label = json.dumps({name: value for name, value in segment.items() if name != "type" and value})
    return {"type": kind, "text": label[:300], "cut": len(label) > 300}


def turn_items(parts: Iterable[ReplyPart], records: Iterable[MessageRecord], now: float) -> list[Item]:
    """Return the turns of a session's parts at `now` (Unix seconds); both come in order."""
    by_reply_to: dict[str, MessageRecord] = {}
    by_push: dict[str, MessageRecord] = {}
    merged: dict[str, list[str]] = {}
    for record in records:
        if accepted := record.get("accepted_message_id"):
            by_reply_to[accepted] = record
        if "indirect" in record:
            merged.setdefault(record["answered_by"], []).append(record["message"])
        elif "answer_part" in record and not record["answered_by"]:
            by_push[record["answer_part"]] = record
    items = []
    for turn in turns(parts):
        key = turn.parts[0]["part"]
        answered = by_reply_to.get(turn.reply_to) if turn.reply_to else by_push.get(key)
        items.append(_turn_item(turn, answered, now) | {"merged": merged.get(turn.reply_to, [])})
    return items


def _turn_item(turn: Turn, record: MessageRecord | None, now: float) -> Item:
    first, last = turn.parts[0], turn.parts[-1]
    begun_at = min(part["received_at"] for part in turn.parts)
    if record:
        begun_at = max(begun_at, record["queued_at"])
    return {
        "kind": "turn",
        "id": f"turn:{turn.reply_to or first['part']}",
        "reply_to": turn.reply_to,
        "order": begun_at,
        "at": first["created_at"],
        "last_at": last["received_at"],
        "answers": record["message"] if record else None,
        "push": not turn.reply_to,
        "status": _turn_status(turn, record, now),
        "parts": len(turn.parts),
        "bubbles": [
            {"part": part["part"], "segments": shown_segments(part["message"]), "final": part["is_final"]}
            for part in effective_parts(turn.parts)
        ],
    }


def _turn_status(turn: Turn, record: MessageRecord | None, now: float) -> str:
    """Say how far a turn has come: finished, unfinished, broken, growing or stalled."""
    if turn.finished:
        return "finished"
    if record and record.get("unfinished"):
        return "unfinished"
    if record and record["state"] == State.UNANSWERED:
        return "broken"
    silence = now - unix_seconds(turn.parts[-1]["received_at"])
    return "stalled" if silence > STALLED_AFTER else "growing"


def part_item(part: ReplyPart) -> Item:
    """Return a part as the list of a turn's parts shows it."""
    return {
        "kind": "part",
        "id": f"part:{part['part']}",
        "key": part["part"],
        "turn": f"turn:{part['reply_to'] or part['part']}",
        # A number past 2^53 would not arrive as it is.
        "sequence": str(part["sequence"]),
        "final": part["is_final"],
        "stream": part["stream"],
        "at": part["received_at"],
        "length": len(part["text"]),
    }


# ---------------------------------------------------------------- the protocol


def message_detail(record: MessageRecord, body: str) -> Item:
    """Return the protocol of a message; `body` is the message as it was queued."""
    return {
        "attempts": record.get("last_attempts", []),
        "response": _response(record["last_answer"]) if "last_answer" in record else None,
        "raw": _pretty(record),
        "body": body[:MAX_TEXT],
        "curl": curl(body),
    }


def _response(excerpt: ResponseExcerpt) -> str:
    try:
        body, _ = lenient_json.loads(excerpt["body"].encode())
        return f"HTTP {excerpt['status']}\n{json.dumps(body, ensure_ascii=False, indent=2)}"
    except Malformed:
        return f"HTTP {excerpt['status']}\n{excerpt['body']}"


def part_detail(part: ReplyPart) -> Item:
    """Return the protocol of a part."""
    return {
        "stamp": stamp_of(part["part"]),
        "sequence": str(part["sequence"]),
        "final": part["is_final"],
        "stream": part["stream"],
        "reply_to": part["reply_to"],
        "created_at": part["created_at"],
        "signed_at": part["sent_at"],
        "received_at": part["received_at"],
        "skew": clock_skew(part),
        "offset": host_clock_offset(stamp_of(part["part"]), part["created_at"]),
        "digest": part["digest"],
        "secret": part.get("verified_with"),
        "normalized": part.get("normalized", False),
        "overflow": part.get("overflow"),
        "raw": _pretty(part),
    }


def clock_skew(part: ReplyPart) -> float:
    """Return the seconds from the signed time of a part to its reception."""
    return round(unix_seconds(part["received_at"]) - unix_seconds(part["sent_at"]), 1)


def _pretty(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


def curl(body: str) -> str | None:
    """Return a line for bash that signs a message and posts it to the bot, or None if it is not valid.

    The bot's URL and secret come from the environment. Settings in the bot's secret, such as `session_type`,
    are not applied.
    """
    try:
        message = parse_message(body)
        request = request_for(message, Bot(message.bot))
    except InvalidMessage:
        return None
    return " && ".join(
        [
            f"body={quoted(request.body.decode())}",
            "at=$(date +%s)",
            f'signature=$(printf "%s.%s" "$at" "$body" | python3 -c {shlex.quote(_HMAC)})',
            f'curl -sS "$BOT_URL{PATHS[message.action]}" -H "Content-Type: application/json" '
            '-H "X-LB-Timestamp: $at" -H "X-LB-Signature: sha256=$signature" '
            '-H "X-LB-Idempotency-Key: curl-$at-$RANDOM" --data-raw "$body"',
        ]
    )


# ---------------------------------------------------------------- bots and queues


def bot_item(name: str, state: BotState, in_flight: int | None, now: float) -> Item:
    """Return the state of a bot at `now` (Unix seconds)."""
    circuit = "closed" if not state.probe_at else "probing" if state.probing else "open"
    counted = state.slots_expire_at > now - STALLED_AFTER
    return {
        "kind": "bot",
        "id": f"bot:{name}",
        "bot": name,
        "circuit": circuit,
        "failures": state.failures,
        "failing_since": state.item.get("failing_since"),
        "unreachable_since": state.item.get("unreachable_since"),
        "probe_at": utc_text(state.probe_at) if state.probe_at else None,
        "in_flight": in_flight,
        "free_slots": max(0, state.slots - state.slots_taken) if counted else None,
    }
