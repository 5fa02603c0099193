"""Turns "accepted" into "answered"."""

import logging
from dataclasses import dataclass

from relay.edge.ledger import Ledger
from relay.edge.queues import Unsettled
from relay.edge.replies import Replies
from relay.rules.gate import MERGED_PLACE_TIME, due_at
from relay.rules.ledger import from_utc
from relay.rules.settling import MOST_MERGED, SECOND_LOOKS, Final, may_be_merged, merged

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settler:
    """Marks the messages that a final part answers. Doing so twice, or in any order, gives the same.

    `answer_deadline` in seconds.
    """

    ledger: Ledger
    replies: Replies
    unsettled: Unsettled
    answer_deadline: int

    def settle(self, final: Final, looks: int = 0) -> None:
        """Settles what `final` answers; `looks` is how often it has been looked at before.

        A message whose id is not known takes a turn that is nobody else's, but not at first sight: the
        turn's own message may be on its way into the ledger. Raises botocore's errors.
        """
        own = self.ledger.answered_by(final.reply_to, final.session)
        if own is None and looks:
            own = self.ledger.claim(final)
        if own is None:
            if looks < len(SECOND_LOOKS):
                self.unsettled.look_again(final, looks + 1, SECOND_LOOKS[looks])
            else:
                log.warning("a turn answers no message of the relay", extra={"session": final.session})
            return
        self.ledger.answer(own, final)
        candidates = may_be_merged(final, self.ledger.later(own, MOST_MERGED))
        if candidates:
            accepted = from_utc(candidates[0]["delivered_at"])
            begun = self.replies.begun(final.session, final.on_the_hosts_clock(accepted))
            place_ends = from_utc(final.sent_at) + MERGED_PLACE_TIME
            for item in merged(candidates, begun):
                self.ledger.answer_indirectly(item, final, due_at(place_ends, self.answer_deadline))
