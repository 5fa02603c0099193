"""The table of `make bench`: what was measured, beside its floor, its goal and its peers."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local.local_stack import ROOT

LATEST = ROOT / ".bench/latest.json"


@dataclass(frozen=True)
class Line:
    """A line: `value` beside `floor`, their median `ratio` with its spread, and the `goal` of `judged`.

    `judged` is the ratio, or the value of a line that is counted. `peers` are the ratios of peers to ours.
    """

    id: str
    what: str
    value: float
    floor: float | None
    ratio: float | None
    goal: float
    spread: tuple[float, float] | None = None
    peers: Mapping[str, float] = field(default_factory=dict)
    at_least: bool = False

    @property
    def reached(self) -> bool:
        """Tell whether the goal is reached: by the ratio, or without one by the value."""
        judged = self.value if self.ratio is None else self.ratio
        # What is printed and what is judged are the same digits.
        judged = round(judged, 2)
        return judged >= self.goal if self.at_least else judged <= self.goal

    def __str__(self) -> str:
        floor = "" if self.floor is None else f"{self.floor:.4g}"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        if self.spread:
            ratio += f" ({self.spread[0]:.2f}-{self.spread[1]:.2f})"
        sign = ">=" if self.at_least else "<="
        verdict = "reached" if self.reached else "missed"
        peers = ", ".join(f"{name} {times:.2f}" for name, times in self.peers.items())
        goal = f"{sign} {self.goal:g} {verdict}"
        return f"{self.id:4}{self.what:50}{self.value:10.4g}{floor:>10}  {ratio:18}{goal:18}{peers}"


HEAD = f"{'':4}{'':50}{'value':>10}{'floor':>10}  {'ratio':18}{'goal':18}peers, of ours"


def write(lines: Iterable[Line], path: Path = LATEST) -> None:
    """Write the lines for programs."""
    path.parent.mkdir(exist_ok=True)
    names = ("id", "value", "floor", "ratio", "goal")
    path.write_text(
        json.dumps([{name: getattr(one, name) for name in names} for one in lines], indent=1) + "\n"
    )
