"""The events that the relay publishes: a change of an item in one of the two tables becomes one, or none."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from relay.domain.attempt import accepted_after
from relay.domain.keys import RecordKey
from relay.domain.part import ReplyPart
from relay.domain.record import MessageRecord
from relay.domain.segments import Segment, text_of
from relay.domain.settlement import FinalPart
from relay.domain.signing import SIGNATURE_TOLERANCE
from relay.domain.states import State
from relay.domain.timestamps import UtcText, unix_seconds, utc_text

MAX_EVENT_REPLY_BYTES = 128 * 1024
"""Bytes of a reply that an event holds, its segments counted as JSON in UTF-8."""

MAX_MERGED_CONTEXT_BYTES = 32 * 1024
"""Bytes of the contexts of merged messages that an event holds, counted as JSON in UTF-8."""

_MAX_BYTES_WITH_TEXT = 200 * 1024
# Of the reply, its text and the contexts. Together with the ids this is below the 256 KB of a call of
# PutEvents: a session's id is in an event four times and may have 2 KB, which are 12 KB if escaped.

_LOOK_BACK = 3600
# Seconds before its final part in which a turn is read that no known message began.

_ABOUT_MESSAGE = (
    *("bot", "session_id", "message_id", "original_message_id", "action", "accepted_message_id"),
    *(
        "attempts",
        "reason",
        "last_error",
        "queued_at",
        "first_failed_at",
        "delivered_at",
        "unanswered_at",
        "parked_at",
        "drop_reason",
        "dropped_at",
    ),
)
_ABOUT_ANSWERED = ("message_id", "original_message_id", "queued_at")
_ABOUT_PART = ("bot", "session_id", "reply_to", "created_at", "sent_at", "received_at")


@dataclass(frozen=True)
class Event:
    """Something that happened, at `time`.

    `id` is the same whenever the same thing is published again, and no other event of the stack has it.
    """

    type: str
    id: str
    time: UtcText
    subject: str
    data: Mapping[str, Any]

    def detail(self, source: str) -> str:
        """Return the event as JSON in the manner of CloudEvents; `source` is the stack's name."""
        return as_json(
            {
                "specversion": "1.0",
                "id": self.id,
                "source": source,
                "type": self.type,
                "time": self.time,
                "subject": self.subject,
                "data": self.data,
            }
        )


def as_json(value: Any) -> str:
    """Write JSON as LangBot does; sizes are counted by it too."""
    return json.dumps(value, ensure_ascii=False)


def json_bytes(value: Any) -> int:
    """Return the bytes of a value as JSON in UTF-8."""
    return len(as_json(value).encode())


def event_of_change(old: Mapping[str, Any], new: Mapping[str, Any], at: float) -> Event | None:
    """Return the event of a change in MessagesTable at `at` (Unix seconds); {} is an item that is missing.

    Only a change of state is an event. An item that is written again as it was, or deleted, is none.
    """
    was, now = old.get("unreachable_since"), new.get("unreachable_since")
    if new and (was is None) != (now is None):
        down = new if now else old
        return _event(
            "Bot Unreachable" if now else "Bot Recovered",
            of=[down["message"], down["unreachable_since"]],
            time=utc_text(at),
            subject=down["message"],
            data={"bot": down["message"]}
            | {name: down[name] for name in ("unreachable_since", "failures") if name in down},
        )
    if new.get("state") == old.get("state"):
        return None
    record = cast(MessageRecord, new)
    match new.get("state"):
        case State.UNANSWERED:
            return _of_message("Message Unanswered", record, record["unanswered_at"])
        case State.PARKED:
            return _of_message("Message Parked", record, record["parked_at"])
    return None


def begins_after(final: FinalPart, record: MessageRecord | None) -> str:
    """Return a stamp that every part of the turn of `final` comes after; `record` is the message it answers.

    The clock of LangBot's host, which stamps them, may be off by the tolerance of its signatures.
    """
    if record is None:
        return utc_text(unix_seconds(UtcText(final.stamp + "Z")) - _LOOK_BACK)
    began = unix_seconds(record["queued_at"])
    # A message that waited long on the queue has a session full of earlier replies.
    if "delivered_at" in record:
        began = max(began, accepted_after(record["delivered_at"]))
    return min(final.on_host_clock(began - SIGNATURE_TOLERANCE), final.stamp)


def reply_completed(
    last: ReplyPart,
    first: str,
    revision: int,
    reply: Iterable[Segment] | None,
    answered: Sequence[MessageRecord],
    table: str,
) -> Event:
    """Return the event of a turn whose last part is final.

    `first` is the key of the turn's first part, and `revision` the number of final ones. `reply` is what the
    parts say, or None if an event cannot hold it. `answered` is the message that it answers, if it is known,
    and then those with a context that LangBot merged into it. `table` is the name of RepliesTable.
    """
    data: dict[str, Any] = {name: value for name, value in last.items() if name in _ABOUT_PART}
    data["revision"] = revision
    data["read"] = {
        "table": table,
        "session": last["session"],
        "first": first,
        "last": last["part"],
    }
    for record in answered[:1]:
        data |= {name: value for name, value in record.items() if name in _ABOUT_ANSWERED}
        data |= {"key": _key(record), **_context(record)}
    if merged := answered[1:]:
        data["merged"] = _merged(merged)
    if reply is not None:
        data["message"] = list(reply)
        text = text_of(data["message"])
        large = [text, *(data[name] for name in ("message", "context", "merged") if name in data)]
        if sum(map(json_bytes, large)) <= _MAX_BYTES_WITH_TEXT:
            data["text"] = text
    of = [last["session"], last["part"]]
    return _event("Reply Completed", of, last["received_at"], last["session"], data)


def _merged(records: Iterable[MessageRecord]) -> list[dict[str, Any]]:
    """Return each message with its context; without it once there is no room for more contexts."""
    entries, left = [], MAX_MERGED_CONTEXT_BYTES
    for record in records:
        left -= len(record["context"].encode())
        entries.append({"message_id": record["message_id"], **(_context(record) if left >= 0 else {})})
    return entries


def _context(record: MessageRecord) -> dict[str, Any]:
    return {"context": json.loads(record["context"])} if "context" in record else {}


def _event(kind: str, of: Sequence[str], time: UtcText, subject: str, data: dict[str, Any]) -> Event:
    digest = hashlib.sha256(as_json([kind, *of]).encode()).hexdigest()
    return Event(kind, digest[:32], time, subject, data)


def _of_message(kind: str, record: MessageRecord, time: UtcText) -> Event:
    return _event(kind, [record["session"], record["message"], time], time, record["session"], about(record))


def about(record: MessageRecord) -> dict[str, Any]:
    """Return what programs may know of a message and of what became of it."""
    data = {name: value for name, value in record.items() if name in _ABOUT_MESSAGE}
    return data | {"key": _key(record), **_context(record)}


def _key(record: MessageRecord) -> RecordKey:
    return {"session": record["session"], "message": record["message"]}
