"""What became of a message, for people: what summary, why, what happens next, and what to do."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from relay.domain.admission import PAUSED_TOO_LONG, BotState, cancelled_messages
from relay.domain.bot import NO_BOT
from relay.domain.keys import bot_of, session_id_of
from relay.domain.part import ReplyPart
from relay.domain.record import MessageRecord
from relay.domain.signing import Refusal
from relay.domain.states import AnswerKind, State
from relay.domain.timestamps import date_and_time, unix_seconds, utc_text


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
class RefusedCallback:
    """A request that callback refused: the bot in its URL, which need not exist, and the reason."""

    bot: str
    reason: str


@dataclass(frozen=True)
class DiagnosisContext:
    """What is known beside a message's record.

    `callback_url` is that of its bot. `parts` are the parts of its own turn, in order, with or without text;
    without `all_parts`, the session has more since than were searched.
    `refused` are the requests that callback refused while it waited, in order: those for its bot, or if there
    are none, for names that no bot has. `bots` are the names of the bots, as far as they were looked up.
    """

    bot: BotState
    callback_url: str
    parts: Sequence[ReplyPart] = ()
    all_parts: bool = True
    refused: Sequence[RefusedCallback] = ()
    bots: Sequence[str] = ()


def command(*words: str) -> str:
    """Return a command to paste."""
    return f"`{shlex.join(['relay', *words])}`"


def command_about(session: str, message_id: str, name: str, *more: str) -> str:
    """Return a command about a message; `session` is its session's key in the tables."""
    of_bot = [] if bot_of(session) == "default" else ["--bot", bot_of(session)]
    return command(name, *of_bot, session_id_of(session), message_id, *more)


def with_stack(text: str, stack: str | None) -> str:
    """Return a text whose commands name a deployed stack; None is the local one."""
    return re.sub(r"`(relay (?:(?!--stack)[^`])*)`", rf"`\1 --stack {stack}`", text) if stack else text


def diagnose(record: MessageRecord | None, context: DiagnosisContext, now: float) -> Diagnosis:
    """Return what became of a message that was sent, at `now` (Unix seconds).

    Without a record nothing was written yet.
    """
    if record is None:
        return _waiting(context, now)
    match record["state"]:
        case State.RETRYING:
            return _retrying(record, context, now)
        case State.DELIVERED:
            return _delivered(record, context, now)
        case State.ANSWERED:
            return _answered(record)
        case State.UNANSWERED:
            return _unanswered(record, context)
        case State.PARKED:
            return _parked(record, context)
        case State.RESENT:
            return Diagnosis("it was sent again")
        case State.DROPPED:
            return Diagnosis("it was closed for good", record["drop_reason"])


def diagnose_refusals(refused: Sequence[RefusedCallback], callback_url: str) -> Diagnosis:
    """Return what callback refused, of which the last request counts, and what to do about it.

    `callback_url` is that of the bot for which they may have been.
    """
    last = refused[-1]
    same = pluralize(refused.count(last), "request")
    set_secret = command("bots", "set", last.bot, "--outbound-secret")
    advice: dict[str, str] = {
        Refusal.MISMATCH: f"{set_secret} asks for LangBot's Outbound Signing Secret and sets it",
        Refusal.NO_SIGNATURE: "set an Outbound Signing Secret in LangBot",
        Refusal.NO_TIMESTAMP: "set an Outbound Signing Secret in LangBot",
        Refusal.EXPIRED: "set the clock of LangBot's host",
        Refusal.UNKNOWN_BOT: f"look at the end of LangBot's callback URL: it must be exactly {callback_url}",
    }
    summary = f"callback refused {same} for the bot: {last.reason}"
    if last.reason == Refusal.UNKNOWN_BOT:
        summary = f"callback refused {same} for a bot {last.bot!r}, which does not exist"
    see_logs = f"see {command('logs', 'callback')}"
    return Diagnosis(summary, advice=advice.get(last.reason, see_logs))


def _waiting(context: DiagnosisContext, now: float) -> Diagnosis:
    summary, bot = "it is on the push queue and was not tried yet", context.bot
    if bot.paused_since:
        return _paused(summary, "", context)
    if bot.failures:
        why = f"{_times(bot.failures)} at the bot failed in a row"
        if bot.last_error:
            why += f", the last error was: {bot.last_error}"
        return Diagnosis(summary, why, f"push tries the bot {_when(bot.probe_at, now)}", _UNREACHABLE)
    return Diagnosis(summary, next="push sends it when the bot and its session are free")


def _retrying(record: MessageRecord, context: DiagnosisContext, now: float) -> Diagnosis:
    summary = f"LangBot has not accepted it, in {_times(record['attempts'])}"
    if record["message_id"] in cancelled_messages(context.bot, now):
        return Diagnosis(summary, record["last_error"], "it is cancelled: push drops it when its turn comes")
    if "next_attempt_at" not in record:
        return Diagnosis("it was not tried yet", record["last_error"])
    if context.bot.paused_since:
        return _paused(summary, f"{record['last_error']}; and ", context)
    due = max(unix_seconds(record["next_attempt_at"]), context.bot.probe_at)
    then = f"push tries it again {_when(due, now)}, and parks it at {date_and_time(record['retry_until'])}"
    return Diagnosis(summary, record["last_error"], then, _retry_advice(record, context))


def _paused(summary: str, why: str, context: DiagnosisContext) -> Diagnosis:
    bot = context.bot
    resume = command("bots", "resume", str(bot.item["message"]))
    why += f"its bot was paused at {date_and_time(utc_text(bot.paused_since))}"
    return Diagnosis(summary, why, "push sends it when the bot is resumed", f"{resume} resumes it")


def _delivered(record: MessageRecord, context: DiagnosisContext, now: float) -> Diagnosis:
    summary = f"LangBot accepted it at {date_and_time(record['delivered_at'])}"
    if not record["expect_reply"]:
        return Diagnosis(summary, next="no reply is expected")
    deadline = f"without a complete reply it is unanswered at {date_and_time(record['due_at'])}"
    if context.parts:
        last = context.parts[-1]
        if last["is_final"]:
            then = "settle marks it as answered in a moment"
            return Diagnosis(f"{summary}, and its reply is complete", next=then)
        age = now - unix_seconds(last["received_at"])
        since = f"{pluralize(len(context.parts), 'part')} of the reply came, the last {age:.0f} s ago"
        return Diagnosis(f"{summary}, and {since}", next=deadline, advice="wait for the rest")
    if context.refused:
        refused = diagnose_refusals(context.refused, context.callback_url)
        return Diagnosis(summary, refused.summary, deadline, refused.advice)
    seen = "came yet" if context.all_parts else "is among the parts that the session got first since then"
    return Diagnosis(
        f"{summary}, and no part of a reply {seen}",
        next=deadline,
        advice=f"wait; if nothing comes, {_silence_advice(record, context)}",
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


def _unanswered(record: MessageRecord, context: DiagnosisContext) -> Diagnosis:
    why = record["last_error"]
    if context.refused:
        why += f", and {diagnose_refusals(context.refused, context.callback_url).summary}"
    resend = _about(record, "resend")
    drop = _about(record, "drop", "no reply came")
    return Diagnosis(
        "it is unanswered: no complete reply came in time",
        why,
        "a late reply still counts",
        f"{_silence_advice(record, context)}; then {resend} sends it again, or {drop} closes it",
    )


def _parked(record: MessageRecord, context: DiagnosisContext) -> Diagnosis:
    summary, reason = "push does not try it again", record["reason"]
    resend, drop = _about(record, "resend"), _about(record, "drop", "not needed")
    advice = f"fix the cause, then {resend} sends it again, or {drop} closes it"
    if "action" not in record:  # the message is not valid
        advice = f"send a corrected message, then {drop} closes this one"
    elif reason == PAUSED_TOO_LONG:
        resume = command("bots", "resume", bot_of(record["session"]))
        advice = f"{resume} resumes the bot, then {resend} sends it again, or {drop} closes it"
    elif reason.startswith(NO_BOT):
        session = record["session"]
        (nearest,) = get_close_matches(bot_of(session), context.bots, n=1, cutoff=0) or ["NAME"]
        resend = command("resend", "--bot", nearest, session_id_of(session), record["message_id"])
        advice = f"{resend} sends it to the bot {nearest}, or {drop} closes it"
    return Diagnosis(summary, reason, advice=advice)


_UNREACHABLE = "check that LangBot runs, and that AWS Lambda reaches the bot's url"


def _retry_advice(record: MessageRecord, context: DiagnosisContext) -> str:
    """Return what to do after the last attempt failed, by the status of its response."""
    bot = bot_of(record["session"])
    entries = record.get("last_attempts", ())
    match entries[-1].get("status") if entries else None:
        case 401:
            set_secret = command("bots", "set", bot, "--inbound-secret")
            return f"{set_secret} asks for LangBot's Inbound Signing Secret and sets it"
        case 403:
            return "switch the bot on in LangBot"
        case 404:
            return "check the bot's url, and that the bot exists in LangBot and is on"
        case 405:
            return "check the bot's url: LangBot has another path"
        case 429:
            return "wait: LangBot has too many requests at once"
        case 503:
            return "wait: LangBot has too many messages in flight"
    return _UNREACHABLE


def _silence_advice(record: MessageRecord, context: DiagnosisContext) -> str:
    if context.refused:
        return diagnose_refusals(context.refused, context.callback_url).advice
    if context.parts:
        return "look into LangBot's log"
    doctor = command("doctor", "--bot", bot_of(record["session"]))
    return (
        f"check in LangBot that the callback URL is exactly {context.callback_url} and that the bot has a "
        f"route; {doctor} checks the rest"
    )


def _about(record: MessageRecord, name: str, *more: str) -> str:
    return command_about(record["session"], record["message_id"], name, *more)


def pluralize(number: int, thing: str) -> str:
    """Return a number of things for people."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def _times(number: int) -> str:
    return pluralize(number, "attempt")


def _when(moment: float, now: float) -> str:
    return f"at {date_and_time(utc_text(moment))}" if moment > now else "at any moment"
