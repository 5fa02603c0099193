"""What is due, each minute: rechecks, messages whose deadline has passed, gauges."""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from botocore.exceptions import BotoCoreError, ClientError

from relay import environment
from relay.adapters.awaiting_index import AwaitingIndex
from relay.adapters.message_queue import MessageQueue
from relay.adapters.messages_table import MessagesTable
from relay.adapters.replies_table import RepliesTable
from relay.domain.attempt import accepted_after
from relay.domain.keys import RECHECKS, SETTLE, RecordKey, record_key
from relay.domain.part import ReplyPart
from relay.domain.record import MessageRecord
from relay.domain.settlement import LOOK_BACK, RECHECK_DELAYS, FinalPart, pushes_since, unidentified
from relay.domain.states import AnswerKind, State
from relay.domain.timestamps import Clock, utc_text
from relay.domain.turn import looks_complete
from relay.errors import InvalidState
from relay.log_fields import error_fields
from relay.metrics import Metric, Metrics
from settle.settler import Settler

log = logging.getLogger(__name__)

_TIME_TO_HANDLE = 12
"""Seconds that must be left to begin with an item: a call to AWS that hangs ends within 11 s."""


@dataclass(frozen=True)
class DueItems:
    """Handles what is due. A message without any part is resent, up to `max_resends` times in a row."""

    messages_table: MessagesTable
    awaiting_index: AwaitingIndex
    replies_table: RepliesTable
    message_queue: MessageQueue
    settler: Settler
    max_resends: int
    metrics: Metrics
    clock: Clock = environment.now

    def handle(self, seconds_left: Callable[[], float]) -> int:
        """Handle what is due, one item of each bot in turn; return how many messages are unanswered now.

        What there is no time for is left to the next minute. Raise botocore's errors.
        """
        self.metrics.gauge(Metric.PARKED_MESSAGES, self.awaiting_index.count_parked())
        now, unanswered = self.clock(), 0
        due = self._due(now)
        while seconds_left() >= _TIME_TO_HANDLE and (key := next(due, None)):
            try:
                if key["session"] == RECHECKS:
                    self._recheck(key)
                else:
                    unanswered += self._handle_overdue(key, now)
            except Exception as error:  # any error: the others go on
                fields = error_fields(error) | {"session": key["session"]}
                log.error("what is due could not be handled", extra=fields)
        return unanswered

    def _due(self, now: float) -> Iterator[RecordKey]:
        """Return the keys of what is due, one of each bot in turn; each minute another bot is the first."""
        names = [SETTLE, *(item["message"] for item in self.messages_table.bot_items())]
        waiting = deque((name, self.awaiting_index.overdue(name, now)) for name in names)
        waiting.rotate(int(now // 60))
        while waiting:
            name, keys = waiting.popleft()
            try:
                key = next(keys, None)
            except (ClientError, BotoCoreError) as error:
                fields = error_fields(error) | {"bot": name}
                log.error("what is due of a bot could not be read", extra=fields)
                continue
            if key:
                waiting.append((name, keys))
                yield key

    def _recheck(self, key: RecordKey) -> None:
        """Check a final part again. If that is not the last time, the same item has the next one."""
        recheck = self.awaiting_index.recheck(key)
        if recheck and not self.settler.settle(recheck.final, recheck.checks):
            self.awaiting_index.remove_recheck(key)

    def _handle_overdue(self, key: RecordKey, now: float) -> bool:
        """Handle a message whose deadline has passed; return whether it is unanswered now."""
        record = self.messages_table.read(key)
        # The index is a moment behind: a later turn can have merged the message again, with a later deadline.
        if record is None or "awaiting" not in record or record["due_at"] > utc_text(now):
            return False
        accepted_at = accepted_after(record["delivered_at"])
        around, complete = self.replies_table.parts_around(record["session"], accepted_at)
        if record["state"] == State.DELIVERED and "accepted_message_id" not in record:
            record = self._identified(record, around)
        reply_to = record.get("accepted_message_id")
        parts = [part for part in around if reply_to and part["reply_to"] == reply_to]
        finals = [part for part in parts if part["is_final"]]
        if finals:
            self.messages_table.answer(record, FinalPart.of(finals[0]))
            return False
        if record["state"] != State.DELIVERED:
            self.messages_table.stop_awaiting(record)
            return False
        if not complete:
            return self._give_up(record, now, "its session has too many parts to find its reply")
        last = [self.replies_table.read(part["session"], part["part"]) for part in parts[-2:]]
        if looks_complete([part for part in last if part]):
            self.messages_table.answer(record, FinalPart.of(parts[-1]), AnswerKind.UNFINISHED)
            return False
        pushes = pushes_since(record["delivered_at"], around)
        # A push is a sign of life: the bot may have replied.
        silent = not parts and not pushes
        if silent and record.get("resends", 0) < self.max_resends:
            self._resend(record, now)
            return False
        reason = f"the reply broke off after {len(parts)} parts" if parts else "no reply"
        if pushes:
            reason += f"; {pushes} pushes came in its session, and none names it"
        return self._give_up(record, now, reason)

    def _identified(self, record: MessageRecord, around: list[ReplyPart]) -> MessageRecord:
        """Return a message whose id is not known as it is after a check of the turns that nothing began."""
        newest = list(islice(self.messages_table.newest_first(record["session"]), LOOK_BACK))
        known = {one.get("accepted_message_id", "") for one in newest} | {""}
        for part in around:
            # A bot can end any number of turns. Only those count that may be a message's.
            if part["is_final"] and part["reply_to"] not in known:
                known.add(part["reply_to"])
                if begun := unidentified(FinalPart.of(part), newest):
                    newest.remove(begun)
                    self.settler.settle(FinalPart.of(part), checks=len(RECHECK_DELAYS))
        return self.messages_table.read(_key(record)) or record

    def _give_up(self, record: MessageRecord, now: float, reason: str) -> bool:
        """Mark a message as unanswered; return False if it was settled meanwhile."""
        if not self.messages_table.give_up(record, now, reason):
            return False
        self.metrics.count(Metric.UNANSWERED, bot=record["bot"])
        log.error("unanswered", extra=_log_fields(record) | {"error": reason})
        return True

    def _resend(self, record: MessageRecord, now: float) -> None:
        """Put a silent message on the queue again, as `relay resend` does."""
        resend = self.message_queue.resend(record)
        try:
            self.messages_table.mark_resent(_key(record), resend.key, now)
        except InvalidState:
            return  # it was settled meanwhile, and push drops the resend
        log.warning("resent", extra=_log_fields(record))


def _key(record: MessageRecord) -> RecordKey:
    return record_key(record["session"], record["message"])


def _log_fields(record: MessageRecord) -> dict[str, str]:
    return {"bot": record["bot"], "session": record["session"], "message_id": record["message_id"]}
