"""Whether a message may go to its bot now.

LangBot holds 100 turns, 20 of them running, and drops the oldest that waits when one more comes; so a bot is
given no more than it can hold. And a bot that fails is not tried by every message: one tries, at growing
intervals, and the others wait for how that goes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Self

from relay.rules.delivery import backoff
from relay.rules.ledger import from_utc

WINDOW = 1
"""Seconds for which a count of the messages in hand is good; and the longest that the index in which they
are counted may lag behind without more places being given than there are."""

PLACE_TIME = 180
"""Seconds after which a message that nothing answers gives its place back: LangBot has most likely ignored
it. If not, that is safe for as long again: LangBot holds 100 turns, so with 50 newer ones it still holds the
50 that gave their places back, until the newer ones do so too, after 360 s. By then the first 50 have had
their turns, 20 at a time: a model that says nothing is given up after 120 s (LangBot 4.11.2, config.yaml:
`pending_queries_per_workspace`, `pipeline`, `first_event_timeout`)."""

MERGED_PLACE_TIME = 30
"""Seconds for which a message keeps its place that looks merged into another's turn, from the end of that:
LangBot may be about to begin with it."""

LONGEST_PAUSE = 60
"""Seconds between two attempts at a bot that fails, at the most; so also until it is seen to work again."""

SKEW = 1
"""Seconds by which the clocks of two functions may differ."""

UNREACHABLE_AFTER = 5
"""Attempts that failed in a row, half a minute after the first of them, before anybody is told."""


@dataclass(frozen=True)
class Standing:
    """How a bot stands; times in Unix seconds, 0 where there is none.

    Until `window_ends`, `places` may be taken, of which `taken` are. After `failures` attempts in a row that
    failed the next may be made at `probe_at`; `probing` says that it is under way. `item` is all this as it
    is kept.
    """

    item: Mapping[str, Any]
    window_ends: float
    places: int
    taken: int
    failures: int
    probe_at: float
    probing: bool

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        """From the bot's item in MessagesTable. What makes no sense there counts as missing, and heals."""
        return cls(
            item=item,
            window_ends=_time(item.get("window_ends")),
            places=_number(item.get("places")),
            taken=_number(item.get("taken")),
            failures=_number(item.get("failures")),
            probe_at=_time(item.get("probe_at")),
            probing=item.get("probing") is True,
        )


class Move(Enum):
    """What a message does at the gate: it just goes, takes one of the places, has them counted anew, or goes
    alone to see whether the bot works again."""

    GO = auto()
    TAKE = auto()
    COUNT = auto()
    PROBE = auto()


@dataclass(frozen=True)
class Wait:
    """Come again after so many seconds; `full` is said of a bot that works, but has enough in hand."""

    seconds: float
    full: bool = False


def next_move(standing: Standing, now: float, takes_place: bool) -> Move | Wait:
    """What a message may do at `now`, as far as is known."""
    if standing.probe_at:
        until = standing.probe_at - now
        if not 0 < until <= LONGEST_PAUSE + SKEW:
            return Move.PROBE
        return Wait(min(until, 2) if standing.probing else until)
    if not takes_place:
        return Move.GO if standing.item else Move.COUNT
    if not 0 < standing.window_ends - now <= WINDOW + SKEW:
        return Move.COUNT
    return Move.TAKE if standing.taken < standing.places else Wait(standing.window_ends - now, full=True)


def places(most: int, awaiting: int, standing: Standing, now: float) -> int:
    """How many of `most` places are free in a new window, where `awaiting` are counted.

    What was let through just before may not be among them yet, and is taken off as well.
    """
    lately = standing.taken if now - standing.window_ends < WINDOW else 0
    return max(0, most - awaiting - lately)


def due_at(place_ends: float, answer_deadline: int) -> float:
    """The deadline of a message whose place ends then, which is what places are counted by. Unix seconds."""
    return place_ends + answer_deadline - min(PLACE_TIME, answer_deadline)


def pause(failures: int, retry_after: float) -> float:
    """Seconds until the next attempt at a bot that failed so many times in a row: 2, 4, 8 … LONGEST_PAUSE."""
    return min(max(backoff(failures), retry_after), LONGEST_PAUSE)


def until_there_is_room(receive_count: int) -> int:
    """Seconds until a message looks again whether its bot has room: longer the longer it has waited, so that
    many that wait leave the queue's time to other bots."""
    return min(max(receive_count, 1), 10)


def _time(value: object) -> float:
    try:
        return from_utc(value) if isinstance(value, str) else 0
    except ValueError:
        return 0


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
