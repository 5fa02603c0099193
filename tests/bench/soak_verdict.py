"""What a soak came to: what is lost, doubled or out of order, and how memory grew. No I/O."""

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

WARM_FROM, WARM_UNTIL, END_FROM = 0.1, 0.3, 0.8
"""Which memory is compared, in shares of the time: that after the warm-up, and that at the end."""

MAX_GROWTH = 1.1
"""What the memory of a process may be at the end, as a multiple of that after the warm-up. The first failure
of a bot, or the first recheck or resend, adds some 4% once, by a further client of AWS."""


@dataclass(frozen=True)
class Acceptance:
    """A bot accepted message `number` of a session, under the id `turn`."""

    session: str
    number: int
    turn: str


@dataclass(frozen=True)
class Outcome:
    """What was sent, what the bots did, and what the tables hold.

    `records` are the records of the messages by their numbers, None if there is none. `forgotten` are the
    messages that a bot accepted once without beginning a turn. Parts are digests, by session: `emitted` in
    the bots' order, `stored` in the order of their keys.
    """

    records: Mapping[int, Mapping[str, Any] | None]
    accepted: Sequence[Acceptance]
    forgotten: Container[int]
    emitted: Mapping[str, Sequence[str]]
    stored: Mapping[str, Sequence[str]]

    def lost(self) -> list[str]:
        """Return the messages without an end or without their reply, and the sessions that lack parts."""
        return [*self._lost_messages(), *self._lost_parts()]

    def doubled(self) -> list[str]:
        """Return the messages that a bot accepted too often, and the sessions with too many parts."""
        return [*self._doubled_messages(), *self._doubled_parts()]

    def out_of_order(self) -> list[str]:
        """Return the sessions whose messages reached their bot, or whose parts are stored, out of order."""
        return [*self._disordered_messages(), *self._disordered_parts()]

    def _lost_messages(self) -> Iterator[str]:
        owners = {one.turn: one.number for one in self.accepted}
        for number, record in self.records.items():
            if record is None:
                yield f"message {number} has no record"
            elif record["state"] not in ("answered", "unanswered"):
                yield f"message {number} is {record['state']}"
            elif number in self.forgotten:
                continue  # it has ended, and how depends on what else its session did
            elif record["state"] == "unanswered":
                yield f"message {number} is unanswered"
            elif (owner := owners.get(record["answered_by"])) != number:
                how = f"{record['answer_kind']}, last error: {record.get('last_error')}"
                yield f"message {number} is answered by the turn of {owner}: {how}"

    def _lost_parts(self) -> Iterator[str]:
        for session, emitted in self.emitted.items():
            if missing := len(set(emitted) - set(self.stored.get(session, ()))):
                yield f"session {session} lacks {missing} of {len(emitted)} parts"

    def _doubled_messages(self) -> Iterator[str]:
        for number, times in Counter(one.number for one in self.accepted).items():
            record = self.records.get(number)
            if times > 1 + (record or {}).get("resends", 0):
                yield f"message {number} was accepted {times} times"

    def _doubled_parts(self) -> Iterator[str]:
        for session, stored in self.stored.items():
            if more := Counter(stored) - Counter(self.emitted.get(session, ())):
                yield f"session {session} has {more.total()} parts more than its bot emitted"

    def _disordered_messages(self) -> Iterator[str]:
        first = {one.number: one for one in reversed(self.accepted)}  # a resend is its session's last
        reached: dict[str, list[int]] = {}
        for one in self.accepted:
            if one is first[one.number]:
                reached.setdefault(one.session, []).append(one.number)
        for session, numbers in reached.items():
            for earlier, later in pairwise(numbers):
                if later < earlier:
                    yield f"session {session}: message {later} reached its bot after {earlier}"

    def _disordered_parts(self) -> Iterator[str]:
        for session, emitted in self.emitted.items():
            stored = dict.fromkeys(self.stored.get(session, ()))
            both = set(emitted) & stored.keys()
            if [part for part in emitted if part in both] != [part for part in stored if part in both]:
                yield f"session {session}: its parts are not in the order of its bot"


@dataclass(frozen=True)
class Sample:
    """The functions' processes after `at` seconds: by their ids the function, and resident memory in MB."""

    at: float
    processes: Mapping[int, tuple[str, float]]


@dataclass(frozen=True)
class Growth:
    """The resident memory of a process in MB, after the warm-up and at the end, each a median."""

    warm: float
    end: float

    @property
    def ratio(self) -> float:
        """The memory at the end, as a multiple of that after the warm-up."""
        return self.end / self.warm


def growths(samples: Sequence[Sample], seconds: float) -> dict[str, Growth | None]:
    """Return by function the process that grew most, of those that lived from the first sample to the last.

    None if no process of the function did. `samples` are those of a soak of so many seconds.
    """
    warm = [one.processes for one in samples if WARM_FROM <= one.at / seconds < WARM_UNTIL]
    end = [one.processes for one in samples if one.at / seconds >= END_FROM]
    found: dict[str, Growth | None] = {function: None for function, _ in samples[0].processes.values()}
    for pid, (function, _) in samples[0].processes.items():
        if pid in end[-1]:
            growth = Growth(median(one[pid][1] for one in warm), median(one[pid][1] for one in end))
            if (most := found[function]) is None or growth.ratio > most.ratio:
                found[function] = growth
    return dict(sorted(found.items()))


def is_flat(growth: Growth | None) -> bool:
    """Tell whether a function's memory did not grow; False if none of its processes lived to the end."""
    return growth is not None and growth.ratio <= MAX_GROWTH
