"""What `make mutants` runs: change the rules one by one, and list the changes that no unit test notices."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".local/mutmut"
FAILED = "failed-mutants.txt"
MIN_SCORE = 95
"""Percent."""

# mutmut takes the names of modules from paths, and leaves out only a leading `src`.
LINKS = {"src": "functions", "infra": "infra", "tests": "tests", "pyproject.toml": "pyproject.toml"}


def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    """Write down the mutant on which a test fails: mutmut also counts those that it could not test."""
    if isinstance(node, pytest.Item):
        with (node.config.rootpath / FAILED).open("a", encoding="utf-8") as file:
            file.write(os.environ["MUTANT_UNDER_TEST"] + "\n")


def mutmut(*arguments: str, stdout: int | None = subprocess.PIPE) -> str:
    """Run a command of mutmut, and return what it prints to `stdout`."""
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(command, cwd=FOLDER, env=environment, check=True, stdout=stdout, text=True)
    return done.stdout or ""


def run_mutants() -> dict[str, str]:
    """Test each mutant with the unit tests, and return what became of it by its name."""
    # A result of an earlier run would outlive a change of a test.
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for name, target in LINKS.items():
        (FOLDER / name).symlink_to(ROOT / target)
    mutmut("run", stdout=None)
    failed = set((FOLDER / "mutants" / FAILED).read_text("utf-8").splitlines())
    results = (line.strip().partition(": ") for line in mutmut("results", "--all", "true").splitlines())
    return {
        name: "not tested" if status == "killed" and name not in failed else status
        for name, _, status in results
    }


def main() -> bool:
    """Print the mutants that were not killed and the score, and tell whether it is high enough."""
    status_of = run_mutants()
    for name, status in status_of.items():
        if status != "killed":
            print(f"# {name}: {status}", mutmut("show", name).partition("\n")[2], sep="\n")
    counted = Counter(status_of.values())
    killed, timed_out = counted["killed"], counted["timeout"]
    survived = len(status_of) - killed - timed_out
    score = 100 * killed / len(status_of)
    print(
        f"{len(status_of):,} mutants: {killed:,} killed, {survived} survived, {timed_out} timed out: "
        f"{score:.1f}% killed (at least {MIN_SCORE}%)"
    )
    return score >= MIN_SCORE


if __name__ == "__main__":
    sys.exit(not main())
