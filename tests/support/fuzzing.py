"""Fuzzing: a few inputs in `make test`, FUZZ_INPUTS in all in `make fuzz`."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, seed, settings
from hypothesis.strategies import SearchStrategy

INPUTS = int(os.environ.get("FUZZ_INPUTS") or 0)
FIRST_SEED = int(time.time()) if INPUTS else 0
"""`make test` tries the same inputs each time."""

ROUND = 500
"""Inputs after which hypothesis forgets those that it has tried: to remember more takes much memory."""


@dataclass(frozen=True)
class Fuzzer:
    """Tries inputs; `make fuzz` shows how many of them came to what."""

    capture: pytest.CaptureFixture[str]

    def run(
        self,
        check: Callable[[Any], str],
        inputs: SearchStrategy[Any],
        few: int,
        share: float,
        known: Iterable[Any],
    ) -> None:
        """Try those that failed before, and `few` inputs or, in `make fuzz`, this share of all.

        `check` returns what became of an input, in a word.
        """
        total, ends = round(INPUTS * share) or few, Counter[str]()

        def count(value: Any) -> None:
            ends[check(value)] += 1

        for first in range(0, total, ROUND):
            test = given(inputs)(count)
            for value in known if first == 0 else ():
                test = example(value)(test)
            rules = settings(
                max_examples=min(ROUND, total - first),
                database=None,
                deadline=None,
                phases=[Phase.explicit, Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            )
            seed(FIRST_SEED + first)(rules(test))()
            self.capture.readouterr()  # the metrics
            if INPUTS:
                counts = ", ".join(f"{end} {times:,}" for end, times in ends.most_common())
                with self.capture.disabled():
                    print(f"\r{ends.total():,} of {total:,} inputs: {counts}", end="", flush=True)
