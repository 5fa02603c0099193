"""Turns "delivered" into "answered"."""

import logging
from dataclasses import dataclass

from relay.adapters.messages_table import MessagesTable
from relay.adapters.recheck_queue import RecheckQueue
from relay.adapters.replies_table import RepliesTable
from relay.domain.admission import MERGED_SLOT_TIMEOUT, due_at
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
        own = self.messages_table.find_by_reply_to(final.reply_to, final.session)
        if own is None and checks:
            own = self.messages_table.claim_unidentified(final)
        if own is None:
            if checks < len(RECHECK_DELAYS):
                self.recheck_queue.schedule(final, checks + 1, RECHECK_DELAYS[checks])
            else:
                # LangBot's own test console, for one, has sessions that no message of the relay began.
                log.info("a turn answers no message of the relay", extra={"session": final.session})
            return
        self._measure(self.messages_table.mark_answered(own, final), final)
        candidates = merge_candidates(final, self.messages_table.messages_after(own, MAX_MERGED))
        if candidates:
            accepted_at = unix_seconds(candidates[0]["delivered_at"])
            answered = self.replies_table.turns_with_parts(final.session, final.on_host_clock(accepted_at))
            slot_ends_at = final.sent_at + MERGED_SLOT_TIMEOUT
            for record in merged(candidates, answered):
                self.messages_table.mark_merged(record, final, due_at(slot_ends_at, self.answer_deadline))

    def _measure(self, before: MessageRecord | None, final: FinalPart) -> None:
        if before and before["state"] in (State.DELIVERED, State.UNANSWERED):
            seconds = final.received_at - unix_seconds(before["queued_at"])
            self.metrics.duration(Metric.TIME_TO_ANSWER, seconds, bot=before["bot"])
