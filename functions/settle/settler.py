"""Turns "delivered" into "answered"."""

import logging
from dataclasses import dataclass
from itertools import islice

from relay.adapters.messages_table import MessagesTable
from relay.adapters.recheck_queue import RecheckQueue
from relay.adapters.replies_table import RepliesTable
from relay.domain.admission import MERGED_SLOT_TIMEOUT, due_at
from relay.domain.keys import RecordKey, record_key
from relay.domain.record import MessageRecord, State
from relay.domain.settlement import MAX_MERGED, RECHECK_DELAYS, FinalPart, merge_candidates, merged
from relay.domain.timestamps import unix_seconds
from relay.metrics import Metric, Metrics

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settler:
    """Marks the messages that a final part answers. To do so twice, or in any order, gives the same.

    `answer_deadline` in seconds.
    """

    messages_table: MessagesTable
    replies_table: RepliesTable
    recheck_queue: RecheckQueue
    answer_deadline: int
    metrics: Metrics

    def settle(self, final: FinalPart, checks: int = 0) -> None:
        """Settle what `final` answers; `checks` is how often it was checked before.

        A message whose id is not known takes a turn that no other message began, but only from the second
        check on: the record of the turn's own message may not be written yet. Raise botocore's errors.
        """
        if not final.reply_to and not final.quoted:
            self._settle_push(final, checks)
            return
        own = self.messages_table.find_by_reply_to(final.reply_to or final.quoted, final.session)
        if own is None and checks and final.reply_to:
            own = self.messages_table.claim_unidentified(final)
        if own is None:
            if checks < len(RECHECK_DELAYS):
                self.recheck_queue.schedule(final, checks + 1, RECHECK_DELAYS[checks])
            else:
                # LangBot's own test console, for one, has sessions that no message of the relay began.
                log.info("a turn answers no message of the relay", extra={"session": final.session})
            return
        self._measure(self.messages_table.mark_answered(own, final), final)
        if final.reply_to:
            self._settle_merged(own, final)

    def _settle_merged(self, own: RecordKey, final: FinalPart) -> None:
        candidates = merge_candidates(final, self.messages_table.states_after(own, MAX_MERGED))
        if candidates:
            accepted_at = unix_seconds(candidates[0]["delivered_at"])
            parts = self.replies_table.parts_since(final.session, final.on_host_clock(accepted_at))
            if parts and parts[-1]["part"] < final.part:
                fields = {"session": final.session}
                log.warning("a session has too many parts to find what was merged", extra=fields)
                return
            slot_ends_at = final.sent_at + MERGED_SLOT_TIMEOUT
            for record in merged(candidates, {part["reply_to"] for part in parts}):
                self.messages_table.mark_merged(record, final, due_at(slot_ends_at, self.answer_deadline))

    def _settle_push(self, final: FinalPart, checks: int) -> None:
        """Settle the only message that waits in the session of a push without a quote, if there is one."""
        waiting = map(self.messages_table.read, self.messages_table.open_messages(final.session))
        queued_before = (
            record for record in waiting if record and unix_seconds(record["queued_at"]) < final.sent_before
        )
        first_two = list(islice(queued_before, 2))
        if not first_two and not checks:
            # A push can be faster than the record, or the index, of the message that it answers.
            self.recheck_queue.schedule(final, checks + 1, RECHECK_DELAYS[checks])
        if len(first_two) == 1:
            (record,) = first_two
            key = record_key(record["session"], record["message"])
            probable = record.get("replies") != "push"
            self._measure(self.messages_table.mark_answered_by_push(key, final, probable), final)

    def _measure(self, before: MessageRecord | None, final: FinalPart) -> None:
        if before and before["state"] in (State.DELIVERED, State.UNANSWERED):
            seconds = final.received_at - unix_seconds(before["queued_at"])
            self.metrics.duration(Metric.TIME_TO_ANSWER, seconds, bot=before["bot"])
