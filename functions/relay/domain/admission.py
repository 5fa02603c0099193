"""Admission control: whether a message may go to its bot now.

Three things decide. Slots: LangBot holds 100 turns, of which 20 run, and drops the one that has waited
longest when one more comes, so a bot is given no more than it can hold. Leases: a bot that is slow to respond
never has all of push. The circuit breaker: a bot that fails is not tried by every message, since one message
probes it, at growing intervals, and the others wait for the result. A pause comes before all three: a paused
bot gets nothing, and no message has failed for that.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Self

from relay.domain.message import REDELIVERED_WITHIN
from relay.domain.retry import backoff
from relay.domain.timestamps import UtcText, unix_seconds, utc_text
from relay.errors import InvalidState

CLOCK_SKEW = 1
"""Seconds by which the clocks of two functions may differ."""

MAX_PAUSE = 60
"""Seconds until a message checks again whether its bot is paused, or may be probed, at the most. A pause that
ends by itself is no longer."""

PAUSED_TOO_LONG = "its bot was paused until SQS was about to delete the message"
"""The reason of a message that is parked because of a pause."""


@dataclass(frozen=True)
class BotState:
    """The state of a bot; times in Unix seconds, 0 if there is none.

    Until `slots_expire_at`, `slots` may be taken, of which `slots_taken` are. After `failures` failed
    attempts in a row, the last with `last_error`, the next may be made at `probe_at`; `probing` says that it
    is under way. The bot is paused since `paused_since`, until an operator resumes it, as one did last at
    `resumed_at`; or until `paused_until`, by a command that changes both sides. `item` is all this as
    MessagesTable keeps it.
    """

    item: Mapping[str, object]
    slots_expire_at: float
    slots: int
    slots_taken: int
    failures: int
    probe_at: float
    probing: bool
    last_error: str
    paused_since: float
    paused_until: float
    resumed_at: float

    @classmethod
    def of(cls, item: Mapping[str, object]) -> Self:
        """Read the bot's item in MessagesTable. A value that makes no sense counts as missing, and heals."""
        return cls(
            item=item,
            slots_expire_at=_time(item.get("slots_expire_at")),
            slots=_number(item.get("slots")),
            slots_taken=_number(item.get("slots_taken")),
            failures=_number(item.get("failures")),
            probe_at=_time(item.get("probe_at")),
            probing=item.get("probing") is True,
            last_error=str(item.get("last_error", "")),
            paused_since=_time(item.get("paused_since")),
            paused_until=_time(item.get("paused_until")),
            resumed_at=_time(item.get("resumed_at")),
        )

    def pause_left(self, now: float, is_test: bool = False) -> float:
        """Return the seconds from `now` for which the bot gets nothing, 0 if it is not paused.

        The pause of an operator has no end, but lets a test of the connection pass.
        """
        if self.paused_since and not is_test:
            return math.inf
        left = self.paused_until - now
        return left if 0 < left <= MAX_PAUSE + CLOCK_SKEW else 0

    def excused_until(self, now: float) -> float:
        """Return the time before which a message has neither failed nor waited, because of a pause; or 0."""
        return now if self.pause_left(now) else self.resumed_at


def _time(value: object) -> float:
    try:
        return unix_seconds(UtcText(value)) if isinstance(value, str) else 0
    except ValueError:
        return 0


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


# ---------------------------------------------------------------- slots

SLOT_COUNT_TTL = 1
"""Seconds for which a count of the messages in flight is valid, and the longest that the index in which they
are counted may lag behind without more slots being given out than there are."""

RECORD_DELAY = 12
"""Seconds from the end of an attempt until its record is written, if it is. A call to AWS that hangs ends
within 11 s."""

SLOT_TIMEOUT = 180
"""Seconds after which a message without an answer gives its slot back: LangBot has most likely ignored it. If
not, that is safe for as long again. LangBot holds 100 turns, so with 50 newer ones it still holds the 50 that
gave their slots back, until the newer ones do so too, after 360 s. By then the first 50 have had their turns,
20 at a time: LangBot gives up a silent model after 120 s (LangBot 4.11.2, config.yaml:
`pending_queries_per_workspace`, `pipeline`, `first_event_timeout`).

That holds if they are of at least 17 sessions: of one session LangBot runs one turn at a time. To count by
session would take reading all messages that wait each second, and slow down a bot that ignores some."""

MERGED_SLOT_TIMEOUT = 30
"""Seconds after the end of another message's turn for which a message that looks merged into it keeps its
slot: LangBot may be about to begin with it."""

MAX_SLOT_POLL_DELAY = 20
"""Seconds between two looks of a message whether its full bot has a slot, on average. A look costs an
invocation."""


def free_slots(max_in_flight: int, in_flight: int, state: BotState, now: float) -> int:
    """Return how many of `max_in_flight` slots are free, if `in_flight` messages are counted at `now`.

    Messages that were admitted just before may not be counted yet, and are subtracted as well.
    """
    just_admitted = state.slots_taken if now - state.slots_expire_at < SLOT_COUNT_TTL else 0
    return max(0, max_in_flight - in_flight - just_admitted)


def due_at(slot_ends_at: float, answer_deadline: int) -> float:
    """Return the deadline of a message whose slot ends then (Unix seconds): deadlines count the slots."""
    return slot_ends_at + answer_deadline - min(SLOT_TIMEOUT, answer_deadline)


def slot_poll_delay(receive_count: int, chance: float) -> int:
    """Return the seconds until a message checks again whether its full bot has a slot, or its session a turn.

    They grow with the times that it has waited, so that many waiting messages leave the queue to other bots.
    By `chance`, from 0 to 1, they are up to half as long or half as long again: messages that came together
    would else all check at the same moment, and none while a bot's leases are free.
    """
    return max(1, int(min(1 + receive_count // 2, MAX_SLOT_POLL_DELAY) * (0.5 + chance)))


# ---------------------------------------------------------------- leases

LEASES = 4
"""Attempts that may be made at a bot at the same time. LangBot answers 429 to the fifth (LangBot 4.11.2)."""

LEASE_TTL = 70
"""Seconds until a lease is free at the latest, if a function died with it: more than the longest attempt."""

QUICK_ATTEMPT = 1
"""Seconds of the longest attempt whose lease is kept. With two leases a bot that is so quick still gets two
messages a second at the least."""


def leases_of(concurrency: int) -> int:
    """Return how many of the attempts that push makes at the same time may be at one bot: never all."""
    return max(1, min(LEASES, concurrency - 1))


def lease_entry(holder: str, until: float) -> str:
    """Return the value of a lease that `holder` has until then (Unix seconds), if it does not release it."""
    return f"{utc_text(until)} {holder}"


def free_lease(state: BotState, leases: int, now: float, is_sync: bool) -> str | None:
    """Return the attribute of a bot's item for a lease that an attempt may have; None if all are taken.

    A sync call may have the first one only: LangBot can hold it for a minute, so a bot gets one at a time.
    """
    names = [f"lease_{number}" for number in ((1,) if is_sync else range(leases, 0, -1))]
    return next((name for name in names if _is_free(state.item.get(name), now)), None)


def may_keep(state: BotState, lease: str, leases: int, now: float, seconds: float) -> bool:
    """Tell whether an attempt that took so long may leave its lease taken; `state` has that lease.

    Then the same function takes it again without a write between, or it ends by itself. Others must not wait
    for that: a slow bot needs all of its leases, and of any bot half are never kept, nor is the first, which
    alone a sync call may have.
    """
    if seconds > QUICK_ATTEMPT or lease == "lease_1" or lease not in state.item:
        return False
    return _leases_taken(state, now) <= leases // 2


@dataclass(frozen=True)
class KeptLease:
    """A lease that a function left taken for its next message to the bot.

    The function has taken `spare_slots` in advance, of the count that is valid until `slots_expire_at`.
    """

    name: str
    entry: object
    spare_slots: int
    slots_expire_at: float

    @classmethod
    def of(cls, state: BotState, name: str, spare_slots: int) -> Self:
        """Return the lease `name`, which `state` has."""
        return cls(name, state.item[name], spare_slots, state.slots_expire_at)

    def is_in(self, state: BotState) -> bool:
        """Tell whether no other function has taken the lease since."""
        return state.item.get(self.name) == self.entry

    def slots_for(self, state: BotState, attempt_ends: float) -> int | None:
        """Return how many slots are left for attempts without a write, None if the lease ends before one."""
        if _ends_at(self.entry) < attempt_ends:
            return None
        return self.spare_slots if state.slots_expire_at == self.slots_expire_at else 0


def slots_in_advance(free: int) -> int:
    """Return how many of the free slots a function takes for its next messages, beside the one it needs.

    They are lost to others for two seconds if no message comes. So most of them stay free.
    """
    return free // 4


def is_sending(state: BotState, now: float) -> bool:
    """Tell whether an attempt may be under way at `now`: it has a lease, or probes the bot.

    A kept lease counts until it ends.
    """
    # A probe may last longer than its time in the item, which has a bound.
    is_probed = state.probing and now < state.probe_at + LEASE_TTL - MAX_PAUSE
    return is_probed or _leases_taken(state, now) > 0


def _leases_taken(state: BotState, now: float) -> int:
    return sum(name.startswith("lease_") and not _is_free(entry, now) for name, entry in state.item.items())


def _is_free(entry: object, now: float) -> bool:
    return not 0 < _ends_at(entry) - now <= LEASE_TTL


def _ends_at(entry: object) -> float:
    return _time(str(entry).partition(" ")[0])


# ---------------------------------------------------------------- the circuit breaker

UNREACHABLE_AFTER = 5
"""Failed attempts in a row, half a minute after the first of them, before the bot counts as unreachable."""


def probe_delay(failures: int, retry_after: float, max_wait: float = math.inf) -> float:
    """Return the seconds until the next probe after that many failures in a row: 2, 4, 8, … MAX_PAUSE.

    `retry_after` and `max_wait` are those of the last Outcome.
    """
    return min(max(backoff(failures), retry_after), MAX_PAUSE, max_wait)


# ---------------------------------------------------------------- cancelled messages

CANCELLED = "cancelled"
"""Why push drops a message that an operator has cancelled."""

MAX_CANCELLED = 50
"""Messages of a bot that can be cancelled at once. The bot's item, which each attempt writes, has them."""

CANCELLED_KEPT = REDELIVERED_WITHIN
"""Seconds for which a message stays cancelled after push has dropped it: SQS can deliver it twice."""


def cancelled_messages(state: BotState, now: float) -> set[str]:
    """Return the ids of the bot's messages that are cancelled at `now` (Unix seconds)."""
    return {entry.partition(" ")[2] for entry in _cancelled(state, now)}


def with_cancelled(state: BotState, message_id: str, until: float, now: float) -> list[str]:
    """Return the attribute `cancelled` of a bot's item with one message, which is cancelled `until` then.

    Raise InvalidState if there are too many.
    """
    others = [entry for entry in _cancelled(state, now) if entry.partition(" ")[2] != message_id]
    if len(others) >= MAX_CANCELLED:
        raise InvalidState(
            f"{MAX_CANCELLED} messages of the bot are cancelled already: wait until push has dropped some"
        )
    return [*others, f"{utc_text(until)} {message_id}"]


def is_under_way(before: BotState, state: BotState, now: float) -> bool:
    """Tell whether an attempt may be under way at `now` that was when the bot's state was `before`."""
    unchanged = {name: value for name, value in state.item.items() if value == before.item.get(name)}
    return is_sending(BotState.of(unchanged), now)


def _cancelled(state: BotState, now: float) -> list[str]:
    entries = state.item.get("cancelled")
    known = map(str, entries) if isinstance(entries, list) else ()
    return [entry for entry in known if _time(entry.partition(" ")[0]) > now]


# ---------------------------------------------------------------- all of them


class Decision(Enum):
    """How a message is admitted.

    It goes as it is, with one of the slots, after the slots are counted, or as the only one, to probe whether
    the bot works again. Or it goes without a write, with what its function has taken before.
    """

    GO = auto()
    GO_RESERVED = auto()
    TAKE_SLOT = auto()
    COUNT_SLOTS = auto()
    PROBE = auto()


@dataclass(frozen=True)
class Deferred:
    """Try again after so many seconds.

    `full` says that the bot works, but has enough messages in flight; `paused`, that it gets nothing.
    """

    seconds: float
    full: bool = False
    paused: bool = False


def decide(
    state: BotState, now: float, needs_slot: bool, is_test: bool = False, reserved: int | None = None
) -> Decision | Deferred:
    """Decide what a message may do at `now` (Unix seconds), as far as is known.

    `is_test` says that it tests the connection. `reserved` are the slots that the function has taken in
    advance; None if it has kept no lease for the attempt.
    """
    if pause := state.pause_left(now, is_test):
        return Deferred(min(pause, MAX_PAUSE), paused=True)
    if state.probe_at:
        wait = state.probe_at - now
        if not 0 < wait <= MAX_PAUSE + CLOCK_SKEW:
            return Decision.PROBE
        return Deferred(min(wait, 2) if state.probing else wait)
    if not needs_slot:
        if not state.item:
            return Decision.COUNT_SLOTS
        return Decision.GO if reserved is None else Decision.GO_RESERVED
    if not 0 < state.slots_expire_at - now <= SLOT_COUNT_TTL + CLOCK_SKEW:
        return Decision.COUNT_SLOTS
    if reserved:
        return Decision.GO_RESERVED
    if state.slots_taken < state.slots:
        return Decision.TAKE_SLOT
    return Deferred(state.slots_expire_at - now, full=True)
