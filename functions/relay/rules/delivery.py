"""What an answer of LangBot means for a message, and what happens to it next.

Source: the answers of LangBot 4.11.2 as measured, and the order of its checks: size, signature,
JSON, required fields, idempotency key, segments, capacity. An answer from behind the check of the
key proves that the key was not known before.
"""

from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from relay.rules import strict_json
from relay.rules.message import Action
from relay.rules.segments import Segment

PATHS: dict[Action, str] = {"push": "", "sync": "/sync", "reset": "/reset"}

BACKOFF_CAP = 60
"""Seconds between two attempts at the most: a bot that is back is not left to wait for long, and well inside
KEY_LIFE."""

QUEUE_KEEPS = 14 * 86_400
"""Seconds after which SQS drops a message without a word, PushQueue's MessageRetentionPeriod."""

KEY_LIFE = 600
"""Seconds for which LangBot knows an idempotency key, and so by which a 409 can be later than the 202."""

MOST_OF_ANSWER = 2048
"""Bytes of a bot's last answer that are kept."""

MAX_REPLY_TO = 1024
"""Characters of an id of LangBot's, which has 35; it is a key of ours, and DynamoDB takes 2,048 bytes."""

VISIBILITY_CAP = 43_000
"""Seconds; SQS lets a received message be invisible for 12 hours in all."""


class Verdict(StrEnum):
    """How an attempt ended. The idempotency key is used again only after `unknown`."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Answer:
    """What LangBot, or something before it, answered; `body` may be cut off."""

    status: int
    body: bytes
    retry_after: str | None = None

    def beginning(self) -> dict[str, Any]:
        """As the ledger keeps it: the status, and as much of the body as people need."""
        return {"status": self.status, "body": self.body[:MOST_OF_ANSWER].decode(errors="replace")}


@dataclass(frozen=True)
class Outcome:
    """What an attempt came to.

    `messages_fault`: trying again cannot help. `key_was_new`: LangBot cannot have accepted the
    message before under this key. `reply`: the segments that a sync call was answered with.
    `sessions_fault`: other sessions are not concerned. `answer`: what it was answered, if not accepted.
    """

    verdict: Verdict
    reason: str = ""
    accepted_message_id: str | None = None
    reply: list[Segment] | None = None
    messages_fault: bool = False
    key_was_new: bool = False
    sessions_fault: bool = False
    retry_after: float = 0
    answer: Answer | None = None

    @property
    def bot_works(self) -> bool:
        """Whether other messages for the bot need not wait."""
        return self.verdict is Verdict.ACCEPTED or self.messages_fault or self.sessions_fault


@dataclass(frozen=True)
class History:
    """What the attempts so far came to; all that the next one needs.

    `refusals` counts the idempotency keys that were used up; `unknown` says that the current one
    may have been accepted. A message that comes a second time with nothing on record has had its
    function die, or was never tried: `unknown` covers both. `last_answer` is what the bot answered at
    last, for people: an attempt that is not answered leaves it.
    """

    attempts: int = 0
    refusals: int = 0
    unknown: bool = False
    first_failed_at: float | None = None
    last_answer: dict[str, Any] | None = None

    def after(self, outcome: Outcome, now: float) -> "History":
        """The history with one more failed attempt, ended at `now` (Unix seconds)."""
        # LangBot burns the key of a message that it refuses with 503, so a refused message needs a
        # fresh one. But a refusal from before the check of the key, after an attempt that may have
        # been accepted, leaves that open: a fresh key would send the message twice.
        key_is_open = outcome.verdict is Verdict.UNKNOWN or (self.unknown and not outcome.key_was_new)
        return replace(
            self,
            attempts=self.attempts + 1,
            refusals=self.refusals if key_is_open else self.refusals + 1,
            unknown=key_is_open,
            first_failed_at=now if self.first_failed_at is None else self.first_failed_at,
            last_answer=outcome.answer.beginning() if outcome.answer else self.last_answer,
        )


def idempotency_key(message_id: str, history: History) -> str:
    """The key of the next attempt. It follows from the queue's message and what is on record, so a
    function that died needs to have written nothing for its successor to use the same."""
    return f"{message_id}.{history.refusals}"


def _fields(body: bytes) -> dict[str, Any]:
    try:
        value = strict_json.loads(body)
    except strict_json.Malformed:
        return {}
    return value if isinstance(value, dict) else {}


def _is_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_REPLY_TO


def _seconds(retry_after: str | None, now: float) -> float:
    try:
        if retry_after is None:
            return 0
        if retry_after.strip().isdecimal():
            return float(retry_after)
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now)
    except (ValueError, OverflowError):
        return 0


def classify(action: Action, answer: Answer, history: History, now: float) -> Outcome:
    """What `answer` means for a message with `history`, at `now` (Unix seconds)."""
    status, fields = answer.status, _fields(answer.body)
    code, text, data = fields.get("code"), fields.get("msg"), fields.get("data")
    reason = f"answered {status}" + (f": {text[:300]}" if isinstance(text, str) else "")
    if not isinstance(data, dict):
        data = {}

    def refused(
        messages_fault: bool = False, key_was_new: bool = False, sessions_fault: bool = False
    ) -> Outcome:
        return Outcome(
            Verdict.REFUSED,
            reason,
            messages_fault=messages_fault,
            key_was_new=key_was_new,
            sessions_fault=sessions_fault,
            retry_after=_seconds(answer.retry_after, now),
            answer=answer,
        )

    match action, status:
        case "push", 202 if _is_id(data.get("accepted_message_id")):
            return Outcome(Verdict.ACCEPTED, accepted_message_id=data["accepted_message_id"])
        case "sync", 200 if _is_id(data.get("reply_to")) and isinstance(data.get("message"), list):
            reply = [segment for segment in data["message"] if isinstance(segment, dict)]
            return Outcome(Verdict.ACCEPTED, accepted_message_id=data["reply_to"], reply=reply)
        case "reset", 200 if code == 0:
            return Outcome(Verdict.ACCEPTED)
        case "reset", 500:
            # LangBot 4.11.2 answers 500 to every reset; the session must not wait for hours for that.
            return refused(messages_fault=True)
        case _, 400 | 413:
            return refused(messages_fault=True)
        case "sync", 409 if code == 40901 and isinstance(text, str) and "in flight" in text:
            return refused(key_was_new=True, sessions_fault=True)
        case _, 409 if code == 40901 and history.unknown:
            return Outcome(Verdict.ACCEPTED, reason)
        case _, 503:
            return refused(key_was_new=code == 50301)
        case _ if 300 <= status < 500:
            return refused()
    return Outcome(Verdict.UNKNOWN, reason, retry_after=_seconds(answer.retry_after, now), answer=answer)


@dataclass(frozen=True)
class Retry:
    """Try the message again after `delay` seconds; until then its session waits."""

    delay: int
    history: History


@dataclass(frozen=True)
class Park:
    """Never try the message again unless somebody asks."""

    reason: str
    history: History


def next_step(
    outcome: Outcome, history: History, now: float, retry_for: int, give_up_at: float
) -> Retry | Park:
    """What happens to a message whose attempt was not accepted.

    It is given up `retry_for` seconds after its first failure, and before the queue drops it, at
    `give_up_at` (Unix seconds). Only attempts count: a message that merely waited is never parked.
    """
    history = history.after(outcome, now)
    left = min((history.first_failed_at or now) + retry_for, give_up_at) - now
    if outcome.messages_fault:
        return Park(outcome.reason, history)
    if left <= 0:
        tried = now - (history.first_failed_at or now)
        return Park(f"tried for {tried:.0f} s, {history.attempts} times; at last {outcome.reason}", history)
    # The last attempt is made when the time is up, not long after it.
    wait = min(max(backoff(history.attempts), outcome.retry_after), max(left, 1), VISIBILITY_CAP)
    return Retry(int(-(-wait // 1)), history)


def lost_at(queued_at: float) -> float:
    """When a message must be off the queue, half a day before SQS drops it; both in Unix seconds."""
    return queued_at + QUEUE_KEEPS - 43_200


def backoff(attempts: int) -> int:
    """Seconds to wait after the given number of failed attempts: 2, 4, 8, … BACKOFF_CAP."""
    return min(1 << min(attempts, 10), BACKOFF_CAP)
