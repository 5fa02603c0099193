"""Which messages a final part answers, and which unanswered ones are sent again.

A final part answers the message whose id it carries. It also answers messages of its session that LangBot
accepted after that one and before the part was sent, if they have no part of their own: LangBot merged them
into this turn, or its runner absorbed them. It answers no earlier message: that one's reply is late or lost,
which must not be hidden. On recorded traffic this rule tells the merged from the lost without a fault.

A push has no id. It answers the message that it quotes. Without a quote it answers the only message that
waits in its session. That is certain if the bot gets one message of a session at a time, and else probable.
If several messages wait, nothing is guessed. (LangBot 4.11: an agent replies with such pushes.)
"""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Self

from relay.domain.keys import bot_of, stamp_of
from relay.domain.part import ReplyPart, is_id
from relay.domain.record import MessageRecord
from relay.domain.segments import Segment
from relay.domain.states import AnswerKind, State
from relay.domain.timestamps import Stamp, UtcText, host_clock_offset, unix_seconds, utc_text

LOOK_BACK = 100
"""Messages at the end of a session among which a turn's own is looked for: LangBot holds no more of them. The
reply to an older one is found at that message's deadline."""

RECHECK_DELAYS = (5, 180)
"""Seconds, at the least, until a final part is checked again whose message has no record. A reply can be
faster than push's write by moments; if push died before that write, by the time until its next delivery."""


_OPEN = (State.DELIVERED, State.UNANSWERED)


@dataclass(frozen=True)
class FinalPart:
    """A final part, as far as it answers something.

    `stamp` is its emission on the clock that orders the parts, which is `clock_offset` seconds ahead of UTC.
    LangBot signed it at `sent_at`, and callback received it at `received_at`, both in Unix seconds. `part` is
    its sort key in RepliesTable, and `quoted` the id of the message that it quotes, or "".
    """

    session: str
    reply_to: str
    stamp: Stamp
    clock_offset: float
    sent_at: float
    received_at: float
    part: str = ""
    quoted: str = ""

    @classmethod
    def of(cls, part: ReplyPart) -> Self:
        """Read an item of RepliesTable."""
        stamp = stamp_of(part["part"])
        return cls(
            session=part["session"],
            reply_to=part["reply_to"],
            stamp=stamp,
            clock_offset=host_clock_offset(stamp, part["created_at"]),
            sent_at=unix_seconds(part["sent_at"]),
            received_at=unix_seconds(part["received_at"]),
            part=part["part"],
            quoted=_quoted(part.get("message", [])),
        )

    @property
    def bot(self) -> str:
        """The name of its bot."""
        return bot_of(self.session)

    @property
    def sent_before(self) -> float:
        """The end of the second in which it was sent: the signed time has whole seconds."""
        return self.sent_at + 1

    def on_host_clock(self, moment: float) -> UtcText:
        """Return a time (Unix seconds) as the stamps of the session's parts would show it."""
        return utc_text(moment + self.clock_offset)


def _quoted(message: Iterable[Segment]) -> str:
    ids = (segment.get("id") for segment in message if segment.get("type") == "Quote")
    return next((one for one in ids if is_id(one)), "")


def merge_candidates(final: FinalPart, later: Iterable[MessageRecord]) -> list[MessageRecord]:
    """Return those of the session's messages after the answered one that the turn may have absorbed."""
    return [
        record
        for record in later
        if "delivered_at" in record
        and unix_seconds(record["delivered_at"]) <= final.sent_at
        and (record["state"] in _OPEN or record.get("answer_kind") == AnswerKind.MERGED)
    ]


def merged(candidates: Iterable[MessageRecord], turns_with_parts: Set[str]) -> list[MessageRecord]:
    """Return those of the candidates without a part of their own."""
    return [record for record in candidates if record.get("accepted_message_id") not in turns_with_parts]


def pushes_since(delivered_at: UtcText, parts: Iterable[ReplyPart]) -> int:
    """Return how many of the parts are pushes that LangBot signed after `delivered_at`."""
    pushes = (part for part in parts if not part["reply_to"])
    return sum(unix_seconds(part["sent_at"]) + 1 > unix_seconds(delivered_at) for part in pushes)


def unidentified(final: FinalPart, newest_first: Sequence[MessageRecord]) -> MessageRecord | None:
    """Return the first message of a session that a turn may answer which no known message began.

    Its id in LangBot is not known, since LangBot's response was lost.
    """
    return next(
        (
            record
            for record in reversed(newest_first)
            if record["state"] in _OPEN
            and record["action"] != "reset"
            and "accepted_message_id" not in record
            # The message counts as delivered from the 409 on, which can be later than its reply.
            and unix_seconds(record["queued_at"]) < final.sent_before
        ),
        None,
    )
