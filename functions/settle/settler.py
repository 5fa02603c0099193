"""Turns "delivered" into "answered"."""

import logging
from dataclasses import dataclass
from itertools import islice

from relay import environment
from relay.adapters.awaiting_index import AwaitingIndex, Recheck
from relay.adapters.messages_table import MessagesTable
from relay.adapters.replies_table import RepliesTable
from relay.domain.admission import MERGED_SLOT_TIMEOUT, due_at
from relay.domain.record import MessageRecord
from relay.domain.settlement import RECHECK_DELAYS, FinalPart, merge_candidates, unidentified
from relay.domain.states import AnswerKind, State
from relay.domain.timestamps import Clock, unix_seconds
from relay.metrics import Metric, Metrics

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settler:
    """Marks the messages that a final part answers. To do so twice, or in any order, gives the same.

    `answer_deadline` in seconds.
    """

    messages_table: MessagesTable
    awaiting_index: AwaitingIndex
    replies_table: RepliesTable
    answer_deadline: int
    metrics: Metrics
    clock: Clock = environment.now

    def settle(self, final: FinalPart, checks: int = 0) -> bool:
        """Settle what `final` answers; return whether it is checked again.

        `checks` is how often it was checked before. A message whose id is not known takes a turn that no
        other message began, but only from the second check on: the record of the turn's own message may not
        be written yet. Raise botocore's errors.
        """
        if not final.reply_to and not final.quoted:
            return self._settle_push(final, checks)
        own, later = self.messages_table.back_to_reply(final.session, final.reply_to or final.quoted)
        if own is None and checks and final.reply_to:
            own = unidentified(final, later)
            if own and not self.messages_table.identify(own, final.reply_to):
                own = None
        if own is None:
            return self._check_again(final, checks)
        self._count_metrics(self.messages_table.answer(own, final), final)
        if final.reply_to:
            self._settle_merged([one for one in reversed(later) if one["message"] > own["message"]], final)
        return False

    def _check_again(self, final: FinalPart, checks: int) -> bool:
        if checks < len(RECHECK_DELAYS):
            self.awaiting_index.add_recheck(Recheck(final, checks + 1), self.clock() + RECHECK_DELAYS[checks])
            return True
        # LangBot's own test console, for one, has sessions that no message of the relay began.
        log.info("a turn answers no message of the relay", extra={"session": final.session})
        return False

    def _settle_merged(self, later: list[MessageRecord], final: FinalPart) -> None:
        """Settle those of the session's later messages that LangBot merged into the turn."""
        slot_ends_at = final.sent_at + MERGED_SLOT_TIMEOUT
        for record in self.replies_table.merged(final, merge_candidates(final, later)):
            self.messages_table.merge(record, final, due_at(slot_ends_at, self.answer_deadline))

    def _settle_push(self, final: FinalPart, checks: int) -> bool:
        """Settle the only message that waits in the session of a push without a quote, if there is one.

        Return as `settle` does.
        """
        waiting = map(self.messages_table.read, self.awaiting_index.open_messages(final.session))
        queued_before = (
            record for record in waiting if record and unix_seconds(record["queued_at"]) < final.sent_before
        )
        first_two = list(islice(queued_before, 2))
        if not first_two and not checks:
            # A push can be faster than the record, or the index, of the message that it answers.
            return self._check_again(final, checks)
        if len(first_two) == 1:
            (record,) = first_two
            kind = AnswerKind.PUSH if record.get("replies") == "push" else AnswerKind.PROBABLE
            self._count_metrics(self.messages_table.answer(record, final, kind), final)
        return False

    def _count_metrics(self, before: MessageRecord | None, final: FinalPart) -> None:
        if before and before["state"] in (State.DELIVERED, State.UNANSWERED):
            seconds = final.received_at - unix_seconds(before["queued_at"])
            self.metrics.duration(Metric.TIME_TO_ANSWER, seconds, bot=before["bot"])
