"""What became of a message, for people: what summary, why, what happens next, and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass

from relay.domain.admission import BotState
from relay.domain.part import ReplyPart
from relay.domain.record import MessageRecord
from relay.domain.signing import Refusal
from relay.domain.states import AnswerKind, State
from relay.domain.timestamps import UtcText, unix_seconds, utc_text

_ADVICE = {
    401: "set inbound_secret of the bot's secret to what LangBot has as Inbound Signing Secret",
    403: "switch the bot on in LangBot",
    404: "check the bot's url, and that the bot exists in LangBot and is on",
    405: "check the bot's url: LangBot has another path",
    429: "wait: LangBot has too many requests at once",
    503: "wait: LangBot has too many messages in flight",
}
"""What to do after a response with this status."""


@dataclass(frozen=True)
class Diagnosis:
    """What to tell a person. Each is a sentence without its full stop, or ""."""

    summary: str
    why: str = ""
    next: str = ""
    advice: str = ""

    def line(self) -> str:
        """Return all of it in one line, for an error."""
        sentences = [self.summary + (f": {self.why}" if self.why else ""), self.next, self.advice]
        return "; ".join(text for text in sentences if text)


@dataclass(frozen=True)
class DiagnosisContext:
    """What is known beside a message's record.

    `parts` are the parts of its own turn, in order, with or without text. `refused` says why callback refused
    requests for its bot since the message was accepted; each reason stands for one request.
    """

    bot: BotState
    parts: Sequence[ReplyPart] = ()
    refused: Sequence[str] = ()


def diagnose(record: MessageRecord | None, context: DiagnosisContext, now: float) -> Diagnosis:
    """Return what became of a message at `now` (Unix seconds); without a record nothing was written yet."""
    if record is None:
        return _waiting(context.bot, now)
    match record["state"]:
        case State.RETRYING:
            return _retrying(record, context.bot, now)
        case State.DELIVERED:
            return _delivered(record, context, now)
        case State.ANSWERED:
            return _answered(record)
        case State.UNANSWERED:
            advice = _silence_advice(context) + ", then resend or drop the message"
            summary = "it is unanswered: no complete reply came in time"
            return Diagnosis(summary, record["last_error"], "a late reply still counts", advice)
        case State.PARKED:
            return Diagnosis(
                "push does not try it again", record["reason"], advice="fix the cause, then resend or drop it"
            )
        case State.RESENT:
            return Diagnosis(f"it was sent again as {record['resent_as']}")
        case State.DROPPED:
            return Diagnosis("it was closed for good", record["drop_reason"])


def refusal_advice(reasons: Sequence[str]) -> str:
    """Return what to do after callback refused requests for these reasons, of which the last one counts."""
    return _REFUSAL_ADVICE.get(reasons[-1], "see `relay logs callback`")


def _waiting(bot: BotState, now: float) -> Diagnosis:
    summary = "it is on the push queue and was not tried yet"
    if bot.failures:
        why = f"{_times(bot.failures)} at the bot failed in a row"
        return Diagnosis(summary, why, f"push tries the bot {_when(bot.probe_at, now)}", _UNREACHABLE)
    return Diagnosis(summary, next="push sends it when the bot and its session are free")


def _retrying(record: MessageRecord, bot: BotState, now: float) -> Diagnosis:
    summary = f"LangBot has not accepted it, in {_times(record['attempts'])}"
    if "next_attempt_at" not in record:
        return Diagnosis("it was not tried yet", record["last_error"])
    due = max(unix_seconds(record["next_attempt_at"]), bot.probe_at)
    then = f"push tries it again {_when(due, now)}, and parks it at {_clock(record['retry_until'])}"
    return Diagnosis(summary, record["last_error"], then, _advice(record))


def _delivered(record: MessageRecord, context: DiagnosisContext, now: float) -> Diagnosis:
    summary = f"LangBot accepted it at {_clock(record['delivered_at'])}"
    if not record["expect_reply"]:
        return Diagnosis(summary, next="no reply is expected")
    deadline = f"without a complete reply it is unanswered at {_clock(record['due_at'])}"
    if context.parts:
        last = unix_seconds(context.parts[-1]["received_at"])
        since = f"{pluralize(len(context.parts), 'part')} of the reply came, the last {now - last:.0f} s ago"
        return Diagnosis(f"{summary}, and {since}", next=deadline, advice="wait for the rest")
    if context.refused:
        return Diagnosis(summary, _refusals(context.refused), deadline, refusal_advice(context.refused))
    return Diagnosis(
        f"{summary}, and no part of a reply came yet",
        next=deadline,
        advice=f"wait; if nothing comes, {_silence_advice(context)}",
    )


def _answered(record: MessageRecord) -> Diagnosis:
    match record["answer_kind"]:
        case AnswerKind.UNFINISHED:
            return Diagnosis("it is answered, by a reply without a final part", "the reply looks complete")
        case AnswerKind.PROBABLE:
            why = "the bot pushed a message that names none, and no other message waited in the session"
            return Diagnosis("it is probably answered", why)
        case AnswerKind.MERGED:
            why = "LangBot merged it into that turn, or its runner took it up there"
            return Diagnosis(f"it is answered by the turn {record['answered_by']} of another message", why)
    return Diagnosis("it is answered")


_REFUSAL_ADVICE: dict[str, str] = {
    Refusal.MISMATCH: "set outbound_secret of the bot's secret to LangBot's Outbound Signing Secret",
    Refusal.NO_SIGNATURE: "set an Outbound Signing Secret in LangBot",
    Refusal.NO_TIMESTAMP: "set an Outbound Signing Secret in LangBot",
    Refusal.EXPIRED: "set the clock of LangBot's host",
}
_UNREACHABLE = "check that LangBot runs, and that AWS Lambda reaches the bot's url"


def _advice(record: MessageRecord) -> str:
    statuses = [entry.get("status", 0) for entry in record.get("last_attempts", ())]
    return _ADVICE.get(statuses[-1], _UNREACHABLE) if statuses else _UNREACHABLE


def _silence_advice(context: DiagnosisContext) -> str:
    if context.refused:
        return f"{_refusals(context.refused)}: {refusal_advice(context.refused)}"
    if context.parts:
        return "look into LangBot's log"
    return "check the callback URL, the outbound secret and the route in LangBot"


def _refusals(reasons: Sequence[str]) -> str:
    return f"callback refused {pluralize(len(reasons), 'request')} for the bot: {reasons[-1]}"


def pluralize(number: int, thing: str) -> str:
    """Return a number of things for people."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def _times(number: int) -> str:
    return pluralize(number, "attempt")


def _clock(moment: UtcText) -> str:
    return f"{moment[:10]} {moment[11:19]} UTC"


def _when(moment: float, now: float) -> str:
    return f"at {_clock(utc_text(moment))}" if moment > now else "at any moment"
