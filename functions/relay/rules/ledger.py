"""The state of a message, as MessagesTable keeps it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from relay.rules.delivery import History, Outcome, Park, Retry
from relay.rules.message import Message, expects_reply
from relay.rules.part import utc

SEQUENCE_WIDTH = 39
"""Digits of a padded SQS FIFO SequenceNumber, which has 128 bits."""


SOMEBODY = "#somebody"
"""Whom a parked message waits for, in place of a bot, none of which can be called so."""


class State(StrEnum):
    """`retrying` is not an end: the message is still on the push queue and is tried again."""

    RETRYING = "retrying"
    DELIVERED = "delivered"
    ANSWERED = "answered"
    UNANSWERED = "unanswered"
    PARKED = "parked"
    RESENT = "resent"
    DROPPED = "dropped"


@dataclass(frozen=True)
class Queued:
    """A message as SQS handed it over; `sent_at` in Unix seconds.

    `resend_of` is the key of the message of its session that it repeats, at somebody's wish.
    """

    message_id: str
    body: str
    group: str
    sequence_number: str
    receive_count: int
    sent_at: float
    receipt_handle: str
    resend_of: str | None = None


def message_key(sequence_number: str) -> str:
    """The sort key of a message: queue order is sort order."""
    return sequence_number.zfill(SEQUENCE_WIDTH)


def is_key(text: str) -> bool:
    """Whether `text` is what `message_key` makes."""
    return len(text) == SEQUENCE_WIDTH and text.isascii() and text.isdecimal()


def unreadable_session(group: str) -> str:
    """Where a message stands whose session cannot be told: under its message group, with no bot."""
    return f"#{group}"


def unknown_reply(session: str) -> str:
    """What a message awaits whose id is not known: any turn of its session that is nobody else's."""
    return f"?{session}"


def key(queued: Queued, message: Message | None) -> dict[str, str]:
    """The key of a message's item; `message` is None where the body is invalid."""
    return {
        "session": message.session if message else unreadable_session(queued.group),
        "message": message_key(queued.sequence_number),
    }


def _common(queued: Queued, message: Message | None, now: float, keep_days: int) -> dict[str, Any]:
    item: dict[str, Any] = {
        **key(queued, message),
        "message_id": queued.message_id,
        "body": queued.body,
        "queued_at": utc(queued.sent_at),
        "updated_at": utc(now),
        "expires_at": int(now) + keep_days * 86_400,
    }
    if message:
        item |= {"bot": message.bot, "session_id": message.session_id, "action": message.action}
    if queued.resend_of:
        item["resend_of"] = queued.resend_of
    return item


def accepted(
    queued: Queued,
    message: Message,
    outcome: Outcome,
    history: History,
    bots_session_type: str | None,
    now: float,
    keep_days: int,
    answer_deadline: int,
) -> dict[str, Any]:
    """The item of an accepted message: answered where the answer came with a reply, else delivered."""
    expect_reply = expects_reply(message, bots_session_type)
    item = _common(queued, message, now, keep_days) | {
        "state": State.ANSWERED if outcome.reply else State.DELIVERED,
        "attempts": history.attempts + 1,
        "delivered_at": utc(now),
        "expect_reply": expect_reply,
    }
    if message.action != "reset":
        item["awaited_reply"] = outcome.accepted_message_id or unknown_reply(message.session)
    if outcome.accepted_message_id is not None:
        item["accepted_message_id"] = outcome.accepted_message_id
    if outcome.reply:
        item |= {"answered_by": outcome.accepted_message_id, "answered_at": utc(now)}
    elif expect_reply:
        item |= {"awaiting": message.bot, "due_at": utc(now + answer_deadline)}
    return item


def failed(
    queued: Queued,
    message: Message | None,
    step: Retry | Park,
    outcome: Outcome,
    now: float,
    keep_days: int,
) -> dict[str, Any]:
    """The item of a message that was not accepted: what the next attempt needs, or why there is none."""
    history = step.history
    item = _common(queued, message, now, keep_days) | {
        "state": State.RETRYING,
        "attempts": history.attempts,
        "refusals": history.refusals,
        "unknown": history.unknown,
        "last_error": outcome.reason,
    }
    if history.last_answer:
        item["last_answer"] = history.last_answer
    if history.first_failed_at is not None:
        item["first_failed_at"] = utc(history.first_failed_at)
    if isinstance(step, Park):
        item |= {"state": State.PARKED, "reason": step.reason, "parked_at": utc(now)}
        item |= {"awaiting": SOMEBODY, "due_at": utc(now)}
    return item


def dropped(queued: Queued, message: Message, reason: str, now: float, keep_days: int) -> dict[str, Any]:
    """The item of a message that is not sent at all, for `reason`."""
    return _common(queued, message, now, keep_days) | {
        "state": State.DROPPED,
        "attempts": 0,
        "dropped_at": utc(now),
        "drop_reason": reason,
    }


def history(queued: Queued, item: dict[str, Any] | None) -> History:
    """What is known of earlier attempts; `item` is what the ledger holds of the message."""
    if item is None:
        return History(unknown=queued.receive_count > 1)
    return History(
        attempts=int(item["attempts"]),
        refusals=int(item["refusals"]),
        unknown=bool(item["unknown"]),
        first_failed_at=from_utc(item["first_failed_at"]) if "first_failed_at" in item else None,
        last_answer=item.get("last_answer"),
    )


def is_done(item: dict[str, Any] | None) -> bool:
    """Whether the ledger says that nothing is left to send: its function died after the write."""
    return item is not None and item["state"] != State.RETRYING


def from_utc(text: str) -> float:
    """Unix seconds of a time that `utc` wrote."""
    return datetime.fromisoformat(text).timestamp()
