"""One attempt at a bot: what goes into it, and what LangBot's response means for the message.

Source: the responses of LangBot 4.11.2 as measured, and the order of its checks: size, signature, JSON,
required fields, idempotency key, segments, capacity. A response from behind the check of the key proves that
the key was not known before.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, NotRequired, TypedDict

from relay.domain import lenient_json
from relay.domain.bot import Bot
from relay.domain.message import Action, Message, QueuedMessage
from relay.domain.part import is_id
from relay.domain.segments import Segment
from relay.domain.strict_json import MAX_VALUES, Malformed
from relay.domain.timestamps import UtcText, unix_seconds, utc_text

KEY_LIFETIME = 600
"""Seconds for which LangBot knows an idempotency key, and so by which a 409 can be later than the 202."""

MAX_RELOAD_WAIT = 10
"""Seconds, at the most, until the next attempt at a bot that LangBot does not find. LangBot reloads a bot
whenever it is saved, and for that moment answers 404."""

MAX_RESPONSE_VALUES = MAX_VALUES - 100
"""Values of a response that is read: the reply in it becomes a part, which has fields of its own."""

MAX_RESPONSE_EXCERPT = 2048
"""Bytes of a bot's last response that are kept."""

MAX_ATTEMPT_ENTRIES = 10
"""Attempts that a record shows: the last ones."""

_MAX_ENTRY_ERROR = 200
"""Characters of an attempt's error. A record has the last error at full length."""


class Verdict(StrEnum):
    """How an attempt ended."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    NOT_SENT = "not sent"
    UNKNOWN = "unknown"


class AttemptEntry(TypedDict):
    """An attempt as a record shows it to people; `at` is when it began."""

    at: UtcText
    verdict: Verdict
    ms: int
    key: str
    status: NotRequired[int]
    error: NotRequired[str]


class ResponseExcerpt(TypedDict):
    """A response as a record keeps it."""

    status: int
    body: str


@dataclass(frozen=True)
class Response:
    """What LangBot, or a proxy in front of it, answered; `body` may be cut off."""

    status: int
    body: bytes
    retry_after: str | None = None

    def excerpt(self) -> ResponseExcerpt:
        """Return the status, and as much of the body as people need."""
        return {"status": self.status, "body": self.body[:MAX_RESPONSE_EXCERPT].decode(errors="replace")}


@dataclass(frozen=True)
class Outcome:
    """What an attempt came to.

    - `reply`: the segments that a sync call was answered with.
    - `permanent`: the message itself is at fault, so another attempt cannot help.
    - `proves_not_accepted`: LangBot has not accepted the message under this key, and never will.
    - `session_busy`: only this session has to wait.
    - `retry_after`: seconds that the response asks for, 0 if it does not.
    - `max_wait`: seconds after which the next attempt is due at the latest.
    - `response`: what LangBot, or a proxy in front of it, answered.
    - `began_at`, `seconds`: when the attempt began (Unix seconds), None if none was made; how long it took.
    """

    verdict: Verdict
    reason: str = ""
    accepted_message_id: str | None = None
    reply: list[Segment] | None = None
    permanent: bool = False
    proves_not_accepted: bool = False
    session_busy: bool = False
    retry_after: float = 0
    max_wait: float = math.inf
    response: Response | None = None
    began_at: float | None = None
    seconds: float = 0

    @property
    def bot_healthy(self) -> bool:
        """Tell whether other messages for the bot need not wait."""
        return self.verdict is Verdict.ACCEPTED or self.permanent or self.session_busy


@dataclass(frozen=True)
class AttemptHistory:
    """What the attempts so far came to: all that the next one needs.

    `keys_used` counts the idempotency keys that are used up. `outcome_unknown` says that LangBot may have
    accepted the message under the current key. If a message is delivered a second time and has no record,
    then push died with it or never tried it: `outcome_unknown` covers both. `last_response` is for people;
    an attempt without a response keeps it. `entries` are for people as well.
    """

    attempts: int = 0
    keys_used: int = 0
    outcome_unknown: bool = False
    first_failed_at: float | None = None
    last_response: ResponseExcerpt | None = None
    entries: tuple[AttemptEntry, ...] = ()

    def after(self, outcome: Outcome, key: str, now: float) -> "AttemptHistory":
        """Return the history with one more failed attempt, which had idempotency key `key`.

        It ended at `now` (Unix seconds).
        """
        # Only a refusal from behind LangBot's check of the key uses the key up. Otherwise the key stays, so
        # that all attempts have the same one: those of a second delivery, which knows nothing of the first
        # one's, and one with which push died.
        fresh = outcome.proves_not_accepted
        return replace(
            self,
            attempts=self.attempts + 1,
            keys_used=self.keys_used + fresh,
            outcome_unknown=not fresh and (self.outcome_unknown or outcome.verdict is Verdict.UNKNOWN),
            first_failed_at=now if self.first_failed_at is None else self.first_failed_at,
            last_response=outcome.response.excerpt() if outcome.response else self.last_response,
            entries=with_attempt(self.entries, outcome, key, now),
        )


def with_attempt(
    entries: Iterable[AttemptEntry], outcome: Outcome, key: str, now: float
) -> tuple[AttemptEntry, ...]:
    """Return the last attempts with one more; `now` (Unix seconds) is the time of one that was not made."""
    entry: AttemptEntry = {
        "at": utc_text(now if outcome.began_at is None else outcome.began_at),
        "verdict": outcome.verdict,
        "ms": round(outcome.seconds * 1000),
        "key": key,
    }
    if outcome.response:
        entry["status"] = outcome.response.status
    if outcome.reason:
        entry["error"] = outcome.reason[:_MAX_ENTRY_ERROR]
    return (*entries, entry)[-MAX_ATTEMPT_ENTRIES:]


@dataclass(frozen=True)
class Delivery:
    """One message on its way to its bot; `message` is None if the body is not valid.

    A pause of the bot excuses what was before `excused_until` (Unix seconds).
    """

    queued: QueuedMessage
    message: Message | None = None
    history: AttemptHistory = field(default_factory=AttemptHistory)
    excused_until: float = 0


@dataclass(frozen=True)
class Attempt:
    """An attempt that was made: which message was sent, to which bot, and what came of it."""

    message: Message
    bot: Bot
    expects_reply: bool
    outcome: Outcome


def idempotency_key(message_id: str, history: AttemptHistory) -> str:
    """Return the key of the next attempt.

    It follows from the queued message and its record. So a function that died needs to have written nothing
    for its successor to use the same key.
    """
    return f"{message_id}.{history.keys_used}"


def accepted_after(delivered_at: UtcText) -> float:
    """Return the time (Unix seconds) before which LangBot did not accept a message that was delivered then.

    If the response was lost, push learns of it from a later attempt under the same idempotency key.
    """
    return unix_seconds(delivered_at) - KEY_LIFETIME


def classify(action: Action, response: Response, history: AttemptHistory, now: float) -> Outcome:
    """Return what `response` means for a message with `history`, at `now` (Unix seconds).

    Only LangBot speaks for LangBot: a status that parks or settles a message counts only with LangBot's own
    envelope, except a 413. The same status from a proxy says nothing of the message: its outcome is unknown.
    """
    status, fields = response.status, _fields(response.body)
    code, text, data = fields.get("code"), fields.get("msg") or fields.get("error"), fields.get("data")
    own = _is_langbots(status, fields)
    reason = f"answered {status}" + (f": {text[:300]}" if isinstance(text, str) else "")
    if not own:
        reason += ", and not in the form of LangBot"
    if not isinstance(data, dict):
        data = {}
    unknown = Outcome(
        Verdict.UNKNOWN, reason, retry_after=_seconds(response.retry_after, now), response=response
    )
    refused = replace(unknown, verdict=Verdict.REFUSED)
    accepted = Outcome(Verdict.ACCEPTED, response=response)

    match action, status:
        case "push", 202 if _is_accepted_id(data.get("accepted_message_id")):
            return replace(accepted, accepted_message_id=data["accepted_message_id"])
        case "sync", 200 if _is_accepted_id(data.get("reply_to")) and isinstance(data.get("message"), list):
            reply = [segment for segment in data["message"] if isinstance(segment, dict)]
            return replace(accepted, accepted_message_id=data["reply_to"], reply=reply)
        case "reset", 200 if code == 0:
            return accepted
        case "reset", 500 if own:
            # LangBot 4.11.2 answers 500 to every reset; the session must not wait for hours for that.
            return replace(refused, permanent=True)
        case _, 400 if own:
            return replace(refused, permanent=True)
        case _, 413 if own or not history.outcome_unknown:
            # It can only be about this message, whoever says it.
            return replace(refused, permanent=True)
        case "sync", 409 if own and isinstance(text, str) and "in flight" in text:
            return replace(refused, proves_not_accepted=True, session_busy=True)
        case _, 409 if own and history.outcome_unknown:
            return replace(accepted, reason=reason)
        case _, 503 if own and isinstance(text, str) and "idempotency" in text:
            # There is no room for the key, so it is not used up.
            return refused
        case _, 503 if own:
            return replace(refused, proves_not_accepted=True)
        case _, 404 if fields.get("error") == "Bot not found":
            return replace(refused, max_wait=MAX_RELOAD_WAIT)
        case _ if status in _NOT_ACCEPTED or 300 <= status < 400:
            return refused
    # A 409 without a known attempt is one of them: another delivery of this message has used the key.
    return unknown


_LANGBOT_CODES = {400: 40001, 409: 40901, 413: 41301, 503: 50301}
"""The `code` in the body of LangBot's own responses, by their status."""

_NOT_ACCEPTED = {401, 403, 404, 405, 429}
"""What LangBot answers before it looks at the key, and what a proxy answers in place of LangBot."""


def _is_langbots(status: int, fields: dict[str, Any]) -> bool:
    if status == 500:
        return fields.get("code") == "internal_error" or isinstance(fields.get("error"), str)
    return status not in _LANGBOT_CODES or fields.get("code") == _LANGBOT_CODES[status]


def _fields(body: bytes) -> dict[str, Any]:
    try:
        value, _ = lenient_json.loads(body, max_values=MAX_RESPONSE_VALUES)
    except Malformed:
        return {}
    return value if isinstance(value, dict) else {}


def _is_accepted_id(value: object) -> bool:
    return is_id(value) and value != ""


def _seconds(retry_after: str | None, now: float) -> float:
    try:
        if retry_after is None:
            return 0
        if retry_after.strip().isdecimal():
            return float(retry_after)
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now)
    except (ValueError, OverflowError):
        return 0
