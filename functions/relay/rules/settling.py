"""Which messages a final part answers, and what is left to do for those that none answers.

The message whose id the part carries is answered. So are the messages of its session that LangBot
accepted after that one and before the part was sent, and that have no part of their own: LangBot merged
or steered them into this turn. An earlier message without an answer is not: its reply is late or lost,
and must not be hidden. On recorded traffic this tells the merged from the lost without a fault.
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Any

from relay.rules.ledger import State, from_utc
from relay.rules.part import utc

MOST_MERGED = 100
"""Messages that one turn can answer: LangBot keeps no more of them in hand."""

SECOND_LOOKS = (5, 60, 600)
"""Seconds until a final part is looked at again whose message is not in the ledger. A reply can be faster
than the ledger's write by moments; if push died between the two, by the 560 s until the next delivery."""


@dataclass(frozen=True)
class Final:
    """A final part, as far as it answers something; times in UTC as the tables write them.

    `stamp` is the part's emission on the clock that orders the parts, `created_at` the same in UTC.
    """

    session: str
    reply_to: str
    stamp: str
    created_at: str
    sent_at: str

    @property
    def sent_before(self) -> str:
        """The signed time has whole seconds; the end of that second."""
        return utc(from_utc(self.sent_at) + 1)

    def on_the_hosts_clock(self, moment: float) -> str:
        """A time (Unix seconds) as the stamps of the session's parts would show it."""
        return utc(moment + from_utc(self.stamp + "Z") - from_utc(self.created_at))

    @classmethod
    def of(cls, part: dict[str, Any]) -> "Final":
        """From an item of RepliesTable."""
        return cls(
            session=part["session"],
            reply_to=part["reply_to"],
            stamp=part["part"].partition("#")[0],
            created_at=part["created_at"],
            sent_at=part["sent_at"],
        )


def may_be_merged(final: Final, later: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the session's messages after the answered one, in order, those that the turn may have taken in."""
    return [
        item
        for item in later
        if item.get("delivered_at", final.sent_at + "~") <= final.sent_at
        and (item["state"] in (State.DELIVERED, State.UNANSWERED) or item.get("indirect"))
    ]


def merged(candidates: Iterable[dict[str, Any]], begun: Set[str]) -> list[dict[str, Any]]:
    """Of those, the ones without a part of their own; `begun` are the turns that have parts."""
    return [item for item in candidates if item.get("accepted_message_id") not in begun]


def may_be_sent_again(item: dict[str, Any], times: int, answer_deadline: int, now: float) -> bool:
    """Whether a message that nothing came for may go to its bot once more, so many `times` in all.

    Where its bot takes nothing for as long as the deadline once more (seconds), it is given up.
    """
    return item.get("resends", 0) < times and now < from_utc(item["due_at"]) + answer_deadline
