"""What is told on the event bus.

What happened is a change of an item in one of the two tables; here it becomes an event, if it is one.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from relay.rules.ledger import State, from_utc
from relay.rules.part import utc
from relay.rules.segments import Segment, text_of
from relay.rules.settling import Final
from relay.rules.signing import WINDOW

MOST = 128 * 1024
"""Bytes of a reply that an event holds, its segments counted as JSON in UTF-8."""

_MOST_WITH_TEXT = 200 * 1024
# Together with the ids, of which a session's stands in an event four times and may be 2 KB, escaped 12 KB,
# that is below the 256 KB of a call of PutEvents.

_LOOK_BACK = 3600
# Seconds before its final part in which a turn is read that is no known message's.

_ABOUT_MESSAGE = (
    *("bot", "session_id", "message_id", "action", "accepted_message_id", "attempts", "reason", "last_error"),
    *("queued_at", "first_failed_at", "delivered_at", "unanswered_at", "parked_at"),
)
_ABOUT_PART = ("bot", "session_id", "reply_to", "created_at", "sent_at", "received_at")


@dataclass(frozen=True)
class Event:
    """Something to tell. `time`, UTC, is when it happened.

    `id` is the same whenever the same thing is told again, and no other event's of the stack.
    """

    type: str
    id: str
    time: str
    subject: str
    data: dict[str, Any]

    def detail(self, source: str) -> str:
        """The event in the manner of CloudEvents, as JSON; `source` is who tells it."""
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
    """JSON as LangBot writes it, with which sizes are counted too."""
    return json.dumps(value, ensure_ascii=False)


def size(value: Any) -> int:
    """Bytes of a value as JSON in UTF-8. Of lists it adds up: together they have the sum of their sizes."""
    return len(as_json(value).encode())


def _event(kind: str, of: Sequence[str], time: str, subject: str, data: dict[str, Any]) -> Event:
    digest = hashlib.sha256(as_json([kind, *of]).encode()).hexdigest()
    return Event(kind, digest[:32], time, subject, data)


def change(old: dict[str, Any], new: dict[str, Any], at: float) -> Event | None:
    """What is told of a change in MessagesTable at `at` (Unix seconds); {} is an item that is not there.

    Only a change of state is: an item that is written again as it was, or that goes, says nothing.
    """
    was, now = old.get("unreachable_since"), new.get("unreachable_since")
    if new and (was is None) != (now is None):
        down = new if now else old
        return _event(
            "Bot Unreachable" if now else "Bot Recovered",
            of=[down["message"], down["unreachable_since"]],
            time=utc(at),
            subject=down["message"],
            data={"bot": down["message"]}
            | {name: down[name] for name in ("unreachable_since", "failures") if name in down},
        )
    state = new.get("state")
    if state == old.get("state"):
        return None
    match state:
        case State.UNANSWERED:
            return _of_message("Message Unanswered", new, new["unanswered_at"])
        case State.PARKED:
            return _of_message("Message Parked", new, new["parked_at"])
    return None


def _of_message(kind: str, item: dict[str, Any], time: str) -> Event:
    about = {name: item[name] for name in _ABOUT_MESSAGE if name in item}
    key = _key(item)
    return _event(kind, [*key.values(), time], time, item["session"], about | {"key": key})


def _key(item: dict[str, Any]) -> dict[str, str]:
    return {"session": item["session"], "message": item["message"]}


def begins_after(final: Final, item: dict[str, Any] | None) -> str:
    """A stamp that every part of the turn of `final` comes after; `item` is the message it answers.

    The clock of LangBot's host, which stamps them, may be off by the window of its signatures.
    """
    if item is None:
        return utc(from_utc(final.stamp + "Z") - _LOOK_BACK)
    return min(final.on_the_hosts_clock(from_utc(item["queued_at"]) - WINDOW), final.stamp)


def reply_completed(
    parts: Sequence[dict[str, Any]],
    item: dict[str, Any] | None,
    reply: Iterable[Segment] | None,
    table: str,
) -> Event:
    """What is told of a turn whose last part is final.

    `parts` are the turn's so far; `item` is the message that it answers, where it is known; `reply` is
    what the parts say, or None where an event cannot hold it; `table` is where they stand.
    """
    first, last = parts[0], parts[-1]
    data = {name: last[name] for name in _ABOUT_PART}
    data["revision"] = sum(part["is_final"] for part in parts)
    data["read"] = {
        "table": table,
        "session": last["session"],
        "first": first["part"],
        "last": last["part"],
    }
    if item is not None:
        data |= {"message_id": item["message_id"], "queued_at": item["queued_at"], "key": _key(item)}
    if reply is not None:
        data["message"] = list(reply)
        text = text_of(data["message"])
        if size(data["message"]) + size(text) <= _MOST_WITH_TEXT:
            data["text"] = text
    return _event(
        "Reply Completed", [last["session"], last["part"]], last["received_at"], last["session"], data
    )
