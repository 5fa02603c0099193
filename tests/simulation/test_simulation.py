"""What the relay promises is kept in a world that can be broken, and a broken promise is noticed."""

import os
import subprocess
import sys

import pytest

from simulation.faults import Scenario
from simulation.run import broken_promises, run_seeds, shrink
from simulation.template_facts import ROOT
from simulation.variants import VARIANTS

SEEDS, AT_ONCE = 200, 25
SEEDS_A_VARIANT = 60


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_every_promise_is_kept(first: int) -> None:
    failed = run_seeds(range(first, first + AT_ONCE)).failed
    assert failed == {}, "for a trace: python -m simulation.run --shrink --seed N"


@pytest.mark.parametrize("name", VARIANTS)
def test_known_bad_variant_is_caught(name: str) -> None:
    variant = VARIANTS[name]
    with variant.applied():
        assert any(broken_promises(variant.scenario(seed)) for seed in range(SEEDS_A_VARIANT))


def test_the_same_seed_gives_the_same_trace() -> None:
    # The order of a set of texts differs from process to process.
    first, second = (traced(hash_seed) for hash_seed in ("1", "2"))
    assert first == second
    assert len(first.splitlines()) > 50


def traced(hash_seed: str) -> str:
    command = [sys.executable, "-m", "simulation.run", "--seed", "7"]
    path = os.pathsep.join(str(ROOT / folder) for folder in ("functions", "infra", "tests"))
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
    return subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout


def test_a_failing_scenario_shrinks_to_what_makes_it_fail() -> None:
    with VARIANTS["log_what_is_sent"].applied():
        smallest = shrink(Scenario.of(1))
    assert (smallest.messages, smallest.troubles) == (1, frozenset())
