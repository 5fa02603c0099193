"""The command of the simulation: `python -m simulation.run --help`."""

import argparse
import os
import secrets
import sys
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from simulation.checker import check
from simulation.faults import Scenario, Trouble
from simulation.simulation import simulate
from simulation.world import START

SECONDS_A_YEAR = 365.25 * 86_400
AT_ONCE = 20
"""Seeds that a process gets at once."""


@dataclass
class Tally:
    """What many seeds came to."""

    seeds: int = 0
    messages: int = 0
    parts: int = 0
    faults: int = 0
    seconds: float = 0
    failed: dict[int, list[str]] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        """Add what other seeds came to."""
        self.seeds += other.seeds
        self.messages += other.messages
        self.parts += other.parts
        self.faults += other.faults
        self.seconds += other.seconds
        self.failed |= other.failed
        self.counted += other.counted


def broken_promises(scenario: Scenario) -> list[str]:
    """Run a scenario; return which promises it broke."""
    return check(simulate(scenario))[0]


def run_seeds(seeds: Iterable[int], twice: bool = False) -> Tally:
    """Run the scenarios of some seeds; if `twice`, compare a second run of each with the first."""
    tally = Tally()
    for seed in seeds:
        tally.seeds += 1
        try:
            outcome = simulate(Scenario.of(seed))
            broken, counted = check(outcome)
            if twice and simulate(Scenario.of(seed)).world.trace != outcome.world.trace:
                broken.append("a second run took another course")
        except Exception as error:  # the other seeds go on
            tally.failed[seed] = [f"the world broke off: {error!r}"]
            continue
        tally.messages += len(outcome.diary.said)
        tally.parts += sum(len(bot.parts) for bot in outcome.langbots.values())
        tally.faults += sum(outcome.faults.counted.values())
        tally.seconds += outcome.simulated_seconds
        tally.counted.update(counted)
        if broken:
            tally.failed[seed] = broken
    return tally


def shrink(scenario: Scenario) -> Scenario:
    """Return a smaller scenario that still breaks a promise."""
    smaller = True
    while smaller:
        smaller = False
        for candidate in _smaller(scenario):
            if broken_promises(candidate):
                scenario, smaller = candidate, True
                break
    return scenario


def _smaller(scenario: Scenario) -> Iterable[Scenario]:
    for trouble in sorted(scenario.troubles):
        yield replace(scenario, troubles=scenario.troubles - {trouble})
    for messages in (scenario.messages // 2, scenario.messages - 1):
        if 0 < messages < scenario.messages:
            yield replace(scenario, messages=messages)


def trace(scenario: Scenario) -> list[str]:
    """Return what happens in a scenario, line by line."""
    return [f"{at - START:10.3f}  {who:14} {what}" for at, who, what in simulate(scenario).world.trace]


def prove(seeds: range, twice: bool) -> Tally:
    """Run many seeds on all cores, with a bar of progress."""
    total = Tally()
    batches = [seeds[at : at + AT_ONCE] for at in range(0, len(seeds), AT_ONCE)]
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as processes:
        for tally in processes.map(partial(run_seeds, twice=twice), batches):
            total.add(tally)
            done = total.seeds * 40 // len(seeds)
            bar = f"\r[{'#' * done:40}] {total.seeds} of {len(seeds)} seeds, {len(total.failed)} failed"
            if sys.stderr.isatty():
                print(bar, end="\n" if total.seeds == len(seeds) else "", file=sys.stderr, flush=True)
    return total


def main() -> int:
    """Run one seed with its trace, or many."""
    parser = argparse.ArgumentParser(prog="simulation.run", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one, and print its trace")
    parser.add_argument(
        "--shrink", action="store_true", help="look for a smaller scenario that fails as well"
    )
    parser.add_argument("--without", action="append", default=[], choices=[t.name for t in Trouble])
    parser.add_argument("--messages", type=int)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--new", action="store_true", help="seeds from a random one on, each run twice")
    given = parser.parse_args()
    if given.seed is None:
        first = secrets.randbelow(10**9) if given.new else given.first
        if given.new:
            print(f"from seed {first} on", flush=True)
        return _prove(range(first, first + given.seeds), given.new)
    scenario = Scenario.of(given.seed)
    scenario = replace(scenario, troubles=scenario.troubles - {Trouble[name] for name in given.without})
    if given.messages:
        scenario = replace(scenario, messages=given.messages)
    return _replay(shrink(scenario) if given.shrink else scenario)


def _prove(seeds: range, twice: bool) -> int:
    total = prove(seeds, twice)
    for seed, broken in sorted(total.failed.items()):
        print(f"seed {seed}: {broken[0]}")
    print(
        f"{total.seeds:,} seeds, {total.seconds / SECONDS_A_YEAR:.2f} simulated years, "
        f"{total.messages:,} messages, {total.parts:,} parts, {total.faults:,} faults: "
        f"{len(total.failed)} seeds broke a promise."
    )
    for what, times in sorted(total.counted.items()):
        print(f"  {times:,} {what}")
    return _replay(shrink(Scenario.of(min(total.failed)))) if total.failed else 0


def _replay(scenario: Scenario) -> int:
    print(*trace(scenario), sep="\n")
    print(f"\nseed {scenario.seed}, {scenario.messages} messages: {', '.join(sorted(scenario.troubles))}")
    left_out = " ".join(
        f"--without {t.name}" for t in sorted(Scenario.of(scenario.seed).troubles - scenario.troubles)
    )
    print(f"python -m simulation.run --seed {scenario.seed} --messages {scenario.messages} {left_out}")
    broken = broken_promises(scenario)
    print(*(broken or ["every promise was kept"]), sep="\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
