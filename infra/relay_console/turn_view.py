"""What the conversation shows of a turn: the parts of a reply, and the message that it answers."""

from collections.abc import Iterable

from relay.domain.part import ReplyPart
from relay.domain.record import MessageRecord
from relay.domain.states import AnswerKind, State
from relay.domain.timestamps import unix_seconds
from relay.domain.turn import Turn, effective_parts, turns
from relay_console.part_view import is_unread, turn_id
from relay_console.segments_view import shown_segments
from relay_console.view_item import ViewItem

STALLED_AFTER = 60
"""Seconds of silence after which a turn without a final part counts as stalled. LangBot counts the parts of a
session from 1 again after so long a pause (LangBot 4.11.2)."""


def turn_items(parts: Iterable[ReplyPart], records: Iterable[MessageRecord], now: float) -> list[ViewItem]:
    """Return the turns of a session's parts at `now` (Unix seconds); both come in order."""
    by_reply_to: dict[str, MessageRecord] = {}
    by_push: dict[str, MessageRecord] = {}
    merged: dict[str, list[str]] = {}
    for record in records:
        if accepted := record.get("accepted_message_id"):
            by_reply_to[accepted] = record
        if record.get("answer_kind") == AnswerKind.MERGED:
            merged.setdefault(record["answered_by"], []).append(record["message"])
        elif "answer_part" in record and not record["answered_by"]:
            by_push[record["answer_part"]] = record
    items = []
    for turn in turns(parts):
        first = turn.parts[0]["part"]
        answered = by_reply_to.get(turn.reply_to) if turn.reply_to else by_push.get(first)
        items.append(_turn_item(turn, answered, now) | {"merged": merged.get(turn.reply_to, [])})
    return items


def _turn_item(turn: Turn, record: MessageRecord | None, now: float) -> ViewItem:
    begun_at = min(part["received_at"] for part in turn.parts)
    if record:
        begun_at = max(begun_at, record["queued_at"])
    return {
        "kind": "turn",
        "id": turn_id(turn.parts[0]),
        "order": begun_at,
        "last_at": turn.parts[-1]["received_at"],
        "answers": record["message"] if record else None,
        "push": not turn.reply_to,
        "status": _turn_status(turn, record, now),
        "parts": len(turn.parts),
        "bubbles": [{"part": part["part"], **_shown_part(part)} for part in effective_parts(turn.parts)],
    }


def _shown_part(part: ReplyPart) -> ViewItem:
    return {"segments": None} if is_unread(part) else shown_segments(part["message"])


def _turn_status(turn: Turn, record: MessageRecord | None, now: float) -> str:
    """Say how far a turn has come: finished, unfinished, broken, growing or stalled."""
    if turn.finished:
        return "finished"
    if record and record.get("answer_kind") == AnswerKind.UNFINISHED:
        return "unfinished"
    if record and record["state"] == State.UNANSWERED:
        return "broken"
    silence = now - unix_seconds(turn.parts[-1]["received_at"])
    return "stalled" if silence > STALLED_AFTER else "growing"
