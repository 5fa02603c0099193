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
from relay.domain.message import (
    QUEUE_RETENTION,
    REDELIVERED_WITHIN,
    Message,
    QueuedMessage,
    carried,
    named_session,
    without_task,
)
from relay.domain.states import AnswerKind, State
from relay.domain.timestamps import UtcText, days_after, unix_seconds, utc_text

MAX_REASON = 1024
"""Characters of a reason or an error in a record."""


class MessageRecord(TypedDict):
    """An item of MessagesTable. docs/reference.md shows these attributes."""

    session: str
    """The partition key, `{bot}#{session_id}`. Of an invalid message, the bot and the session that its body
    names count: it is `#{session_id}` if no bot can have the name, and `#{message group}` if no session can
    be read."""
    message: str
    """The sort key: the queue's sequence number, padded with zeros."""
    message_id: str
    """The id that SQS gave the message."""
    state: State
    """What became of the message."""
    attempts: int
    """The number of attempts to deliver it."""
    queued_at: UtcText
    """When it was put on PushQueue, in UTC, as all times that end in `_at`."""
    queued_on: str
    """The day of `queued_at`. The index `by_day` finds the messages of a day by it, newest first."""
    updated_at: UtcText
    """When push last wrote the record."""
    expires_at: int
    """When DynamoDB deletes it, in Unix seconds."""
    body: NotRequired[str]
    """The message as it was sent. If DynamoDB cannot hold it, it is missing."""
    overflow: NotRequired[str]
    """The path of such a body in OverflowBucket."""
    bot: NotRequired[str]
    """The bot that the body names."""
    session_id: NotRequired[str]
    """The session that the body names."""
    action: NotRequired[str]
    """`push`, `sync` or `reset`."""
    context: NotRequired[str]
    """What its sender's programs need, as JSON text."""
    reply_to_task: NotRequired[str]
    """The token of the task that waits for its reply: a secret of its sender."""
    keys_used: NotRequired[int]
    """The number of idempotency keys that refusals have used up. The next attempt needs it."""
    outcome_unknown: NotRequired[bool]
    """Whether LangBot may have accepted the current key. The next attempt needs it."""
    first_failed_at: NotRequired[UtcText]
    """When an attempt failed for the first time."""
    last_error: NotRequired[str]
    """Why the last attempt failed; of an unanswered message, whether nothing came or the reply broke off."""
    last_response: NotRequired[ResponseExcerpt]
    """The `status` and the first 2 KB of the `body` of the bot's last response."""
    last_attempts: NotRequired[list[AttemptEntry]]
    """The last ten attempts, oldest first: `at`, when it began; `verdict`; `ms`; the idempotency `key`;
    `status`, if a response came; `error`, if there was one."""
    next_attempt_at: NotRequired[UtcText]
    """While it is `retrying`: when push tries it again at the earliest."""
    retry_until: NotRequired[UtcText]
    """While it is `retrying`: when it is parked."""
    awaiting: NotRequired[str]
    """What the index `awaiting` finds it by, as long as it waits: its bot, `#operator` if it is parked, or
    `#unanswered`."""
    due_at: NotRequired[UtcText]
    """The deadline of what it waits for: the sort key of the index `awaiting`."""
    expect_reply: NotRequired[bool]
    """Whether silence is a fault."""
    replies: NotRequired[str]
    """`push` if the bot's secret said so."""
    accepted_message_id: NotRequired[str]
    """LangBot's id for the message, which its parts carry as `reply_to`. Missing if LangBot's response was
    lost."""
    delivered_at: NotRequired[UtcText]
    """When LangBot accepted it."""
    answer_kind: NotRequired[AnswerKind]
    """What answered it."""
    answered_by: NotRequired[str]
    """The turn that answered it. Empty for a push."""
    answered_at: NotRequired[UtcText]
    """When the answer was sent."""
    answer_part: NotRequired[str]
    """The sort key of the part that answered it."""
    unanswered_at: NotRequired[UtcText]
    """When its deadline passed."""
    reason: NotRequired[str]
    """Why it is parked."""
    parked_at: NotRequired[UtcText]
    """When it was parked."""
    resends: NotRequired[int]
    """Of how many resends in a row it is the last."""
    resend_of: NotRequired[str]
    """The message that it repeats, as that one's `message`."""
    original_message_id: NotRequired[str]
    """The id of the message that was sent first."""
    resent_as: NotRequired[str]
    """The message that repeats it, as that one's `message`."""
    resent_at: NotRequired[UtcText]
    """When it was resent."""
    drop_reason: NotRequired[str]
    """Why it was closed."""
    dropped_at: NotRequired[UtcText]
    """When it was closed."""


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


def may_be_queued(record: MessageRecord, now: float) -> bool:
    """Tell whether a message can be on the push queue at `now` (Unix seconds) still, by its record.

    Then push needs the record: it has the keys that LangBot has refused, or says that the message has ended.
    """
    if record["state"] == State.RETRYING:
        return now < unix_seconds(record["queued_at"]) + QUEUE_RETENTION
    return now < unix_seconds(record["updated_at"]) + REDELIVERED_WITHIN


def without_secrets(record: MessageRecord) -> MessageRecord:
    """Return a record as people may see it: without the token of its task."""
    shown = record.copy()
    if "body" in shown:
        shown["body"] = without_task(shown["body"])
    if "reply_to_task" in shown:
        shown["reply_to_task"] = "hidden"
    return shown


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
    record |= cast(MessageRecord, carried(queued.body, message))
    if delivery.history.entries:
        record["last_attempts"] = list(delivery.history.entries)
    if queued.resend_of:
        record["resend_of"] = queued.resend_of
        record["resends"] = queued.resends
    if queued.original_message_id:
        record["original_message_id"] = queued.original_message_id
    return record
