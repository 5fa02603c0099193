"""Handles the messages that nothing has answered in time."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from relay.adapters.bot_registry import UnknownBot
from relay.adapters.langbot import max_attempt_seconds
from relay.adapters.messages_table import MessagesTable
from relay.adapters.replies_table import RepliesTable
from relay.domain.admission import Deferred
from relay.domain.attempt import AttemptHistory, Verdict, idempotency_key, with_attempt
from relay.domain.keys import RecordKey
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
        """Handle each overdue message; return how many are unanswered. Raise botocore's errors."""
        now = self.clock()
        unanswered = 0
        blocked: set[str] = set()  # sessions of which a message could not be resent yet, so none after it may
        for bot in self.messages_table.bots():
            for key in self.messages_table.overdue(bot, utc_text(now)):
                try:
                    unanswered += self._handle(key, now, blocked, seconds_left)
                except Exception as error:  # any error: the others go on
                    fields = error_fields(error) | {"session": key["session"]}
                    log.error("an overdue message could not be handled", extra=fields)
        return unanswered

    def _handle(
        self, key: RecordKey, now: float, blocked: set[str], seconds_left: Callable[[], float]
    ) -> bool:
        """Handle one overdue message; return whether it is unanswered."""
        record = self.messages_table.read(key)
        if record is None or "awaiting" not in record:
            return False
        around = self.replies_table.parts_around(record["session"], record["delivered_at"])
        reply_to = record.get("accepted_message_id")
        parts = [part for part in around if reply_to and part["reply_to"] == reply_to]
        finals = [part for part in parts if part["is_final"]]
        if finals:
            self.messages_table.mark_answered(key, FinalPart.of(finals[0]))
            return False
        if record["state"] != State.DELIVERED:
            self.messages_table.stop_awaiting(key)
            return False
        if parts and looks_complete(self.replies_table.turn_up_to(parts[-1], parts[-2:][0]["part"])):
            self.messages_table.mark_answered(key, FinalPart.of(parts[-1]), unfinished=True)
            return False
        pushes = pushes_since(record["delivered_at"], around)
        reason = f"the reply broke off after {len(parts)} parts" if parts else "no reply"
        if pushes:
            reason += f"; {pushes} pushes came in its session, and none names it"
        # A push is a sign of life: the bot may have replied.
        if not parts and not pushes and may_be_resent(record, self.max_resends, self.answer_deadline, now):
            if record["session"] in blocked:
                return False
            try:
                if seconds_left() < max_attempt_seconds("push") or not self._resend(record, now):
                    blocked.add(record["session"])
                return False
            except (InvalidMessage, UnknownBot) as fault:
                reason = f"no reply, and it cannot be sent again: {fault}"
        if not self.messages_table.mark_unanswered(key, now, reason):
            return False
        self.metrics.count(Metric.UNANSWERED, bot=record["bot"])
        log.error("unanswered", extra=_ids(record) | {"error": reason})
        return True

    def _resend(self, record: MessageRecord, now: float) -> bool:
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
        if isinstance(attempt, Deferred):
            return False
        outcome = attempt.outcome
        if outcome.permanent:
            raise InvalidMessage(outcome.reason)
        if outcome.verdict is not Verdict.ACCEPTED:
            self.messages_table.record_failed_resend(record, history.after(outcome, key, self.clock()))
            return False
        due_at = now + self.answer_deadline
        entries = with_attempt(history.entries, outcome, key, self.clock())
        self.messages_table.mark_redelivered(record, outcome.accepted_message_id, entries, now, due_at)
        self.metrics.count(Metric.DELIVERED, bot=record["bot"])
        log.warning("sent again", extra=_ids(record))
        return True


def _ids(record: MessageRecord) -> dict[str, str]:
    return {"bot": record["bot"], "session": record["session"], "message_id": record["message_id"]}
