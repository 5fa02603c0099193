"""Fuzzing: a few inputs in `make test`, FUZZ_INPUTS in all in `make fuzz`."""

import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, example, given, seed, settings
from hypothesis.strategies import SearchStrategy

Lane = TypeVar("Lane")
Value = TypeVar("Value")
Result = TypeVar("Result")

INPUTS = int(os.environ.get("FUZZ_INPUTS") or 0)
FIRST_SEED = time.time_ns() if INPUTS else 0
"""`make test` tries the same inputs each time."""

IN_FLIGHT = 4 if INPUTS else 1
"""Inputs that the stack gets at the same time. In `make test` to start more functions would take longer."""

ROUND = 500
"""Inputs that are made, and then checked, together. Hypothesis then forgets them: to remember more takes much
memory."""


@dataclass(frozen=True)
class Fuzzer:
    """Tries inputs; `make fuzz` shows how many of them came to what."""

    capture: pytest.CaptureFixture[str]

    def run(
        self,
        check: Callable[[list[Any]], Iterable[str]],
        inputs: SearchStrategy[Any],
        few: int,
        share: float,
        known: Iterable[Any],
    ) -> None:
        """Try those that failed before, and `few` inputs or, in `make fuzz`, this share of all.

        `check` returns what became of each of a round's inputs, in a word. If it fails, hypothesis makes the
        same inputs again, and looks for the smallest with which alone it fails.
        """
        total, ends = round(INPUTS * share) or few, Counter[str]()
        rounds = [
            partial(_make, inputs, min(ROUND, total - first), FIRST_SEED + first, () if first else known)
            for first in range(0, total, ROUND)
        ]
        # It makes the inputs of a round while those of the round before are checked.
        with ThreadPoolExecutor(1) as thread:
            made = thread.submit(_values, rounds[0])
            for make, following in zip_longest(rounds, rounds[1:]):
                values = made.result()
                if following:
                    made = thread.submit(_values, following)
                try:
                    ends.update(check(values))
                except Exception:
                    with self.capture.disabled():
                        traceback.print_exc()
                    made.result()
                    make(lambda value: check([value]))
                    raise
                self.capture.readouterr()  # the metrics
                if INPUTS:
                    counts = ", ".join(f"{end} {times:,}" for end, times in ends.most_common())
                    with self.capture.disabled():
                        print(f"\r{ends.total():,} of {total:,} inputs: {counts}", end="", flush=True)


def in_lanes(
    lanes: Sequence[Lane], use: Callable[[Lane, Value], Result], values: Iterable[Value]
) -> list[Result]:
    """Use values side by side, in each lane one after the other; return the results, in any order."""
    remaining = iter(values)

    def run(lane: Lane) -> list[Result]:
        results = []
        for value in remaining:
            try:
                results.append(use(lane, value))
            except Exception as error:
                error.add_note(f"The input was {value!r:.10000}")
                raise
        return results

    with ThreadPoolExecutor(len(lanes)) as threads:
        return list(chain.from_iterable(threads.map(run, lanes)))


def unforeseen(lines: Iterable[str]) -> list[str]:
    """Return the lines of a log that tell of an unforeseen error."""
    return [line for line in lines if "Traceback" in line or '"trace"' in line]


def _values(make: Callable[[Callable[[Any], object]], None]) -> list[Any]:
    values: list[Any] = []
    make(values.append)
    return values


def _make(
    inputs: SearchStrategy[Any], count: int, number: int, known: Iterable[Any], use: Callable[[Any], object]
) -> None:
    """Have hypothesis make inputs, which depend on `number` only, and use each."""

    def test(value: Any) -> None:
        use(value)

    tried = given(inputs)(test)
    for value in known:
        tried = example(value)(tried)
    rules = settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    seed(number)(rules(tried))()
