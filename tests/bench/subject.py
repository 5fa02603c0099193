"""One thing that is measured, in a process of its own: `python -m bench.subject MODULE`.

The module has a class `Subject`. Each line on standard input is how often it does its work. What that took is
the answer: the CPU of the process and the time that passed, in milliseconds each time.
"""

import importlib
import json
import os
import sys
import time
from typing import Any, Protocol


class Measured(Protocol):
    """What is measured. Only `run` counts."""

    def prepare(self, count: int) -> list[Any]:
        """Return what `run` is called with, so often."""

    def run(self, given: Any) -> None:
        """Do the work once."""

    def clean(self) -> None:
        """Undo what the work left behind."""


def main() -> None:
    """Do the work as often as the lines say."""
    answers = os.fdopen(os.dup(1), "w")
    # What the subject logs goes nowhere, but costs what it costs on Lambda.
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    subject: Measured = importlib.import_module(sys.argv[1]).Subject()
    for line in sys.stdin:
        prepared = subject.prepare(int(line))
        cpu, began = time.process_time(), time.perf_counter()
        for given in prepared:
            subject.run(given)
        cpu, passed = time.process_time() - cpu, time.perf_counter() - began
        subject.clean()
        took = {"cpu": cpu * 1000 / int(line), "wall": passed * 1000 / int(line)}
        answers.write(json.dumps(took) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
