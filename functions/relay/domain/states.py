"""The states of a message, and each change of a record: what it is allowed from, what it sets and removes.

docs/reference.md shows the table, also as a diagram.
"""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What became of a message."""

    RETRYING = "retrying"
    """The last attempt failed because of the bot or the network. The message is on the queue, push retries it
    with backoff, and its session waits."""
    DELIVERED = "delivered"
    """LangBot has accepted it and, if a reply is expected, the message waits for it."""
    ANSWERED = "answered"
    """Its reply is complete. `answered_by` names the turn, and `answer_kind` says what answered."""
    UNANSWERED = "unanswered"
    """No complete reply came within `AnswerDeadlineSeconds`. `last_error` says whether nothing came or the
    reply broke off. A late reply still makes it `answered`."""
    PARKED = "parked"
    """Push does not retry it, and it waits for an operator. `reason` says why."""
    RESENT = "resent"
    """An operator, or the relay by `MaxResends`, sent it again, as the message `resent_as`."""
    DROPPED = "dropped"
    """An operator closed it, and `drop_reason` says why. Or it was a second copy of a resent message."""


class AnswerKind(StrEnum):
    """What answered a message."""

    OWN = "own"
    """The final part of its own turn."""
    UNFINISHED = "unfinished"
    """Its own turn, which looks complete and has no final part."""
    PUSH = "push"
    """A push without an id, from a bot that gets one message of a session at a time."""
    PROBABLE = "probable"
    """A push without an id; no other message waited in the session, but the push may mean something else."""
    MERGED = "merged"
    """Another message's turn, into which LangBot merged it."""


UNCERTAIN = (AnswerKind.MERGED, AnswerKind.PROBABLE)
"""Answers that need not be the message's own: its own turn replaces them."""


class Sent(StrEnum):
    """When the answer that a message has was sent, by comparison with the new one."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True)
class From:
    """A state in which a change is allowed; if it is `answered`, only with an answer of one of `kinds`.

    `sent` limits it further: to an answer that was sent before, or after, the new one.
    """

    state: State
    kinds: tuple[AnswerKind, ...] = ()
    sent: Sent | None = None


@dataclass(frozen=True)
class Transition:
    """A change of a record: the state that it leads to, or None if the state stays.

    It is allowed only if the record lacks each attribute of `absent`.
    """

    to: State | None
    allowed_from: tuple[From, ...]
    sets: tuple[str, ...]
    removes: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


_INDEXED = ("awaiting", "due_at")
_ANSWER = ("answer_kind", "answered_by", "answered_at", "answer_part")

AWAITING_OPERATOR = (State.PARKED, State.UNANSWERED)
"""The states in which a message waits for an operator."""

WRITTEN_BY_PUSH = (State.RETRYING, State.DELIVERED, State.ANSWERED, State.PARKED, State.DROPPED)
"""The states of the records that push writes as a whole: of a message that has none, or is `retrying`."""

ANSWER_BY_OWN_TURN = Transition(
    to=State.ANSWERED,
    allowed_from=(
        From(State.DELIVERED),
        From(State.UNANSWERED),
        From(State.RESENT),
        From(State.ANSWERED, (AnswerKind.UNFINISHED, AnswerKind.PROBABLE, AnswerKind.MERGED)),
        # A bot can speak again after its final part: the first one counts, in whatever order they are read.
        From(State.ANSWERED, (AnswerKind.OWN, AnswerKind.PUSH), Sent.AFTER),
    ),
    sets=_ANSWER,
    removes=_INDEXED,
)
ANSWER_BY_PUSH = Transition(
    to=State.ANSWERED,
    allowed_from=(From(State.DELIVERED), From(State.ANSWERED, (AnswerKind.MERGED,))),
    sets=_ANSWER,
    removes=_INDEXED,
)
# LangBot may not have merged the message: so it keeps its slot for a moment, and its own turn still counts.
MERGE = Transition(
    to=State.ANSWERED,
    allowed_from=(
        From(State.DELIVERED),
        From(State.UNANSWERED),
        From(State.ANSWERED, (AnswerKind.MERGED,), Sent.BEFORE),
    ),
    sets=(*_ANSWER, *_INDEXED),
)
STOP_AWAITING = Transition(to=None, allowed_from=(From(State.ANSWERED),), sets=(), removes=_INDEXED)
IDENTIFY = Transition(
    to=None,
    allowed_from=(From(State.DELIVERED), From(State.UNANSWERED)),
    sets=("accepted_message_id",),
    absent=("accepted_message_id",),
)
GIVE_UP = Transition(
    to=State.UNANSWERED,
    allowed_from=(From(State.DELIVERED),),
    sets=("unanswered_at", "last_error", *_INDEXED),
)
RESEND = Transition(
    to=State.RESENT,
    allowed_from=tuple(map(From, (*AWAITING_OPERATOR, State.DELIVERED))),
    sets=("resent_as", "resent_at", "expires_at"),
    removes=_INDEXED,
)
DROP = Transition(
    to=State.DROPPED,
    allowed_from=tuple(map(From, AWAITING_OPERATOR)),
    sets=("drop_reason", "dropped_at"),
    removes=_INDEXED,
)

TRANSITIONS = {
    "its own turn": ANSWER_BY_OWN_TURN,
    "a push": ANSWER_BY_PUSH,
    "another message's turn": MERGE,
    "no reply by the deadline": GIVE_UP,
    "resend": RESEND,
    "drop": DROP,
}
"""The changes of state by their cause, for people."""
