"""Handles the messages that nothing has answered in time."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from botocore.exceptions import BotoCoreError, ClientError

from relay.adapters.bot_registry import UnknownBot
from relay.adapters.langbot import max_attempt_seconds
from relay.adapters.messages_table import MessagesTable
from relay.adapters.replies_table import RepliesTable
from relay.domain.admission import Deferred
from relay.domain.attempt import AttemptHistory, Verdict, idempotency_key, with_attempt
from relay.domain.keys import RecordKey, bot_of, record_key
from relay.domain.message import parse_message
from relay.domain.record import MessageRecord, State
from relay.domain.settlement import FinalPart, may_be_resent, pushes_since
from relay.domain.timestamps import Clock, utc_text
from relay.domain.turn import looks_complete
from relay.errors import InvalidMessage
from relay.log_fields import error_fields
from relay.metrics import Metric, Metrics
from relay.sender import Sender

log = logging.getLogger(__name__)

_TIME_TO_MARK = 12
"""Seconds that must be left to begin with a message: a call to AWS that hangs ends within 11 s."""

_TIME_TO_RESEND = 30
"""Seconds, of sweep's time-out of 60, that are left to messages that are sent again."""


@dataclass(frozen=True)
class Sweeper:
    """Finds the messages whose deadline has passed without a reply.

    Those without any part are sent again, up to `max_resends` times. `answer_deadline` in seconds.
    """

    messages_table: MessagesTable
    replies_table: RepliesTable
    sender: Sender
    max_resends: int
    answer_deadline: int
    metrics: Metrics
    clock: Clock = time.time

    def sweep(self, seconds_left: Callable[[], float]) -> int:
        """Handle the overdue messages, one of each bot in turn; return how many are unanswered.

        What there is no time for is left to the next sweep. Raise botocore's errors.
        """
        run = _Run(self.clock())
        overdue = self._overdue(run.now)
        unanswered = 0
        # An attempt at a bot that hangs takes long: so the others come first, but not all of a flood.
        for handle, keys, seconds in (
            (self._mark, overdue, _TIME_TO_RESEND),
            (self._resend, iter(run.silent), max_attempt_seconds("push")),
            (self._mark, overdue, _TIME_TO_MARK),
        ):
            while seconds_left() >= seconds and (key := next(keys, None)):
                try:
                    unanswered += handle(key, run)
                except Exception as error:  # any error: the others go on
                    fields = error_fields(error) | {"session": key["session"]}
                    log.error("an overdue message could not be handled", extra=fields)
        return unanswered

    def _overdue(self, now: float) -> Iterator[RecordKey]:
        """Return the overdue messages, one of each bot in turn; each minute another bot is the first."""
        waiting = deque(
            (bot, self.messages_table.overdue(bot, utc_text(now))) for bot in self.messages_table.bots()
        )
        waiting.rotate(int(now // 60))
        while waiting:
            bot, keys = waiting.popleft()
            try:
                key = next(keys, None)
            except (ClientError, BotoCoreError) as error:
                fields = error_fields(error) | {"bot": bot}
                log.error("the overdue messages of a bot could not be read", extra=fields)
                continue
            if key:
                waiting.append((bot, keys))
                yield key

    def _mark(self, key: RecordKey, run: "_Run") -> bool:
        """Mark an overdue message, or note that it is to be sent again; return whether it is unanswered."""
        record = self.messages_table.read(key)
        if record is None or "awaiting" not in record:
            return False
        around, complete = self.replies_table.parts_around(record["session"], record["delivered_at"])
        reply_to = record.get("accepted_message_id")
        parts = [part for part in around if reply_to and part["reply_to"] == reply_to]
        finals = [part for part in parts if part["is_final"]]
        if finals:
            self.messages_table.mark_answered(key, FinalPart.of(finals[0]))
            return False
        if record["state"] != State.DELIVERED:
            self.messages_table.stop_awaiting(key)
            return False
        if not complete:
            return self._mark_unanswered(record, run.now, "its session has too many parts to find its reply")
        last = [self.replies_table.read(part["session"], part["part"]) for part in parts[-2:]]
        if looks_complete([part for part in last if part]):
            self.messages_table.mark_answered(key, FinalPart.of(parts[-1]), unfinished=True)
            return False
        pushes = pushes_since(record["delivered_at"], around)
        # A push is a sign of life: the bot may have replied.
        silent = not parts and not pushes
        if silent and may_be_resent(record, self.max_resends, self.answer_deadline, run.now):
            run.silent.append(key)
            return False
        reason = f"the reply broke off after {len(parts)} parts" if parts else "no reply"
        if pushes:
            reason += f"; {pushes} pushes came in its session, and none names it"
        return self._mark_unanswered(record, run.now, reason)

    def _mark_unanswered(self, record: MessageRecord, now: float, reason: str) -> bool:
        """Mark a message as unanswered; return False if it was settled meanwhile."""
        if not self.messages_table.mark_unanswered(
            record_key(record["session"], record["message"]), now, reason
        ):
            return False
        self.metrics.count(Metric.UNANSWERED, bot=record["bot"])
        log.error("unanswered", extra=_ids(record) | {"error": reason})
        return True

    def _resend(self, key: RecordKey, run: "_Run") -> bool:
        """Send a silent message again, if its turn has come; return whether it is unanswered instead."""
        session = key["session"]
        record = self.messages_table.read(key)
        if record is None or record["state"] != State.DELIVERED or {bot_of(session), session} & run.blocked:
            return False
        run.blocked.add(session)
        try:
            if not self._send(record, run):
                return False
        except (InvalidMessage, UnknownBot) as fault:
            reason = f"no reply, and it cannot be sent again: {fault}"
            return self._mark_unanswered(record, run.now, reason)
        run.blocked.remove(session)
        return False

    def _send(self, record: MessageRecord, run: "_Run") -> bool:
        """Send a message again; return False if that must wait for another sweep."""
        # A sync call would hold up the sweep, and its late reply comes as a callback as well.
        message = replace(parse_message(self.messages_table.body(record)), action="push")
        # A sweep that died may have sent it before.
        history = AttemptHistory(
            keys_used=record.get("refusals", 0),
            outcome_unknown=True,
            entries=tuple(record.get("last_attempts", ())),
        )
        key = idempotency_key(f"{record['message_id']}.{record.get('resends', 0) + 1}", history)
        attempt = self.sender.send(message, key, history)
        if isinstance(attempt, Deferred) or not attempt.outcome.bot_healthy:
            run.blocked.add(record["bot"])
        if isinstance(attempt, Deferred):
            return False
        outcome = attempt.outcome
        if outcome.permanent:
            raise InvalidMessage(outcome.reason)
        if outcome.verdict is not Verdict.ACCEPTED:
            self.messages_table.record_failed_resend(record, history.after(outcome, key, self.clock()))
            return False
        due_at = run.now + self.answer_deadline
        entries = with_attempt(history.entries, outcome, key, self.clock())
        self.messages_table.mark_redelivered(record, outcome.accepted_message_id, entries, run.now, due_at)
        self.metrics.count(Metric.DELIVERED, bot=record["bot"])
        log.warning("sent again", extra=_ids(record))
        return True


@dataclass
class _Run:
    """What one sweep, which began at `now`, has found: the `silent` messages, which are to be sent again, and
    the bots and sessions that are `blocked`, because they did not take one."""

    now: float
    silent: list[RecordKey] = field(default_factory=list)
    blocked: set[str] = field(default_factory=set)


def _ids(record: MessageRecord) -> dict[str, str]:
    return {"bot": record["bot"], "session": record["session"], "message_id": record["message_id"]}
