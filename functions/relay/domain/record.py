"""The record of a message: its item in MessagesTable, which says what became of it."""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict, cast

from relay.domain.attempt import (
    Attempt,
    AttemptEntry,
    AttemptHistory,
    Delivery,
    ResponseExcerpt,
    idempotency_key,
    with_attempt,
)
from relay.domain.keys import (
    OPERATOR,
    RecordKey,
    message_key,
    record_key,
    session_key,
    unreadable_session,
)
from relay.domain.message import Message, QueuedMessage, named_session
from relay.domain.states import AnswerKind, State
from relay.domain.timestamps import UtcText, days_after, unix_seconds, utc_text

MAX_REASON = 1024
"""Characters of a reason or an error in a record."""


class MessageRecord(TypedDict):
    """An item of MessagesTable. docs/querying.md gives the meaning of each attribute."""

    session: str
    message: str
    message_id: str
    state: State
    attempts: int
    queued_at: UtcText
    queued_on: str
    updated_at: UtcText
    expires_at: int
    body: NotRequired[str]
    """Missing if DynamoDB cannot hold it; `overflow` is its path in the overflow bucket then."""
    overflow: NotRequired[str]
    bot: NotRequired[str]
    session_id: NotRequired[str]
    action: NotRequired[str]
    # What the next attempt needs, and what people want to know of the last.
    keys_used: NotRequired[int]
    outcome_unknown: NotRequired[bool]
    first_failed_at: NotRequired[UtcText]
    last_error: NotRequired[str]
    last_response: NotRequired[ResponseExcerpt]
    last_attempts: NotRequired[list[AttemptEntry]]
    next_attempt_at: NotRequired[UtcText]
    retry_until: NotRequired[UtcText]
    # What the index `awaiting` finds it by, as long as there is something to wait for.
    awaiting: NotRequired[str]
    due_at: NotRequired[UtcText]
    # What became of it.
    expect_reply: NotRequired[bool]
    replies: NotRequired[str]
    accepted_message_id: NotRequired[str]
    delivered_at: NotRequired[UtcText]
    answer_kind: NotRequired[AnswerKind]
    answered_by: NotRequired[str]
    answered_at: NotRequired[UtcText]
    answer_part: NotRequired[str]
    unanswered_at: NotRequired[UtcText]
    reason: NotRequired[str]
    parked_at: NotRequired[UtcText]
    resends: NotRequired[int]
    resend_of: NotRequired[str]
    original_message_id: NotRequired[str]
    resent_as: NotRequired[str]
    resent_at: NotRequired[UtcText]
    drop_reason: NotRequired[str]
    dropped_at: NotRequired[UtcText]


_FORMER_NAMES = {"refusals": "keys_used", "unknown": "outcome_unknown", "last_answer": "last_response"}
FORMER_MARKS = {
    "indirect": AnswerKind.MERGED,
    "probable": AnswerKind.PROBABLE,
    "unfinished": AnswerKind.UNFINISHED,
}
"""The attributes that an older version gave a record in place of an `answer_kind`."""


def current(item: Mapping[str, Any]) -> MessageRecord:
    """Return a record with the names that attributes have now: an older version gave some another name."""
    fields = {_FORMER_NAMES.get(name, name): value for name, value in item.items()}
    if "answered_at" in fields and "answer_kind" not in fields:
        kinds = [kind for mark, kind in FORMER_MARKS.items() if mark in fields]
        fields["answer_kind"] = (kinds or [AnswerKind.OWN])[0]
    return cast(MessageRecord, fields)


def key_of(queued: QueuedMessage, message: Message | None) -> RecordKey:
    """Return the key of a message's record; `message` is None if the body is not valid."""
    return _key(queued, _named(queued, message))


def _named(queued: QueuedMessage, message: Message | None) -> tuple[str, str] | None:
    """Return the bot and the session id of a message, as far as its body names them."""
    return (message.bot, message.session_id) if message else named_session(queued.body)


def _key(queued: QueuedMessage, named: tuple[str, str] | None) -> RecordKey:
    session = session_key(*named) if named else unreadable_session(queued.group_id)
    return record_key(session, message_key(queued.sequence_number))


def history_of(queued: QueuedMessage, record: MessageRecord | None) -> AttemptHistory:
    """Return what is known of earlier attempts; `record` is None if nothing was written yet."""
    if record is None:
        return AttemptHistory(outcome_unknown=queued.receive_count > 1)
    return AttemptHistory(
        attempts=record["attempts"],
        keys_used=record["keys_used"],
        outcome_unknown=record["outcome_unknown"],
        first_failed_at=unix_seconds(record["first_failed_at"]) if "first_failed_at" in record else None,
        last_response=record.get("last_response"),
        entries=tuple(record.get("last_attempts", ())),
    )


def accepted_record(
    delivery: Delivery, attempt: Attempt, now: float, keep_days: int, answer_deadline: int
) -> MessageRecord:
    """Return the record of an accepted message: answered if its reply came with the response, else delivered.

    `answer_deadline` in seconds.
    """
    message, outcome = attempt.message, attempt.outcome
    record = _common(delivery, State.ANSWERED if outcome.reply else State.DELIVERED, now, keep_days)
    record["attempts"] = delivery.history.attempts + 1
    key = idempotency_key(delivery.queued.message_id, delivery.history)
    record["last_attempts"] = list(with_attempt(delivery.history.entries, outcome, key, now))
    record["delivered_at"] = utc_text(now)
    record["expect_reply"] = attempt.expects_reply
    if attempt.bot.replies_by_push:
        record["replies"] = "push"
    if outcome.accepted_message_id is not None:
        record["accepted_message_id"] = outcome.accepted_message_id
    else:
        # Only its key says so, which another delivery can have used up by a refusal.
        record["keys_used"] = delivery.history.keys_used
    if outcome.reply:
        record["answer_kind"] = AnswerKind.OWN
        record["answered_by"] = outcome.accepted_message_id or ""
        record["answered_at"] = utc_text(now)
    elif attempt.expects_reply:
        record["awaiting"] = message.bot
        record["due_at"] = utc_text(now + answer_deadline)
        # What waits must not be deleted: a message that looks merged can wait for a second deadline.
        record["expires_at"] = days_after(now + 2 * answer_deadline, keep_days)
    return record


def retrying_record(delivery: Delivery, last_error: str, now: float, keep_days: int) -> MessageRecord:
    """Return the record of a message that is tried again: what the next attempt needs."""
    record = _common(delivery, State.RETRYING, now, keep_days)
    # The next attempt needs it, which can be as late as that.
    record["expires_at"] = days_after(delivery.queued.must_leave_at(), keep_days)
    history = delivery.history
    record["keys_used"] = history.keys_used
    record["outcome_unknown"] = history.outcome_unknown
    record["last_error"] = _cut(last_error)
    if history.last_response:
        record["last_response"] = history.last_response
    if history.first_failed_at is not None:
        record["first_failed_at"] = utc_text(history.first_failed_at)
    return record


def parked_record(
    delivery: Delivery, last_error: str, reason: str, now: float, keep_days: int
) -> MessageRecord:
    """Return the record of a message that is not tried again unless an operator resends it."""
    record = retrying_record(delivery, last_error, now, keep_days)
    record["state"] = State.PARKED
    record["expires_at"] = days_after(now, keep_days)
    record["reason"] = _cut(reason)
    record["parked_at"] = utc_text(now)
    record["awaiting"] = OPERATOR
    record["due_at"] = utc_text(now)
    return record


def dropped_record(delivery: Delivery, reason: str, now: float, keep_days: int) -> MessageRecord:
    """Return the record of a message that is not sent at all."""
    record = _common(delivery, State.DROPPED, now, keep_days)
    record["dropped_at"] = utc_text(now)
    record["drop_reason"] = _cut(reason)
    return record


def _cut(text: str) -> str:
    """Return a text as a record may hold it: it can quote a peer, and goes into an event as well."""
    return text[:MAX_REASON]


def _common(delivery: Delivery, state: State, now: float, keep_days: int) -> MessageRecord:
    queued, message = delivery.queued, delivery.message
    named = _named(queued, message)
    key = _key(queued, named)
    record: MessageRecord = {
        "session": key["session"],
        "message": key["message"],
        "message_id": queued.message_id,
        "state": state,
        "attempts": delivery.history.attempts,
        "body": queued.body,
        "queued_at": utc_text(queued.queued_at),
        "queued_on": utc_text(queued.queued_at)[:10],
        "updated_at": utc_text(now),
        "expires_at": days_after(now, keep_days),
    }
    if named:
        bot, record["session_id"] = named
        if bot:
            record["bot"] = bot
    if message:
        record["action"] = message.action
    if delivery.history.entries:
        record["last_attempts"] = list(delivery.history.entries)
    if queued.resend_of:
        record["resend_of"] = queued.resend_of
        record["resends"] = queued.resends
    if queued.original_message_id:
        record["original_message_id"] = queued.original_message_id
    return record
