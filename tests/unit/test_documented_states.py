"""docs/delivery.md shows the states of a message, and what changes them."""

import re
from itertools import groupby
from pathlib import Path

from relay.domain.states import TRANSITIONS, WRITTEN_BY_PUSH, State

START = "[*]"
PAGE = Path(__file__).parents[2] / "docs/delivery.md"


def diagram():
    """Return the states and their changes as Mermaid draws them; those that push makes name no cause."""
    arrows = [(old, new, "") for old in (START, State.RETRYING) for new in WRITTEN_BY_PUSH]
    arrows += [
        (old, transition.to, cause)
        for cause, transition in TRANSITIONS.items()
        for old in dict.fromkeys(origin.state for origin in transition.allowed_from)
    ]
    order = [START, *State]
    arrows.sort(key=lambda arrow: (order.index(arrow[0]), order.index(arrow[1])))
    lines = ["stateDiagram-v2"]
    for (old, new), same in groupby(arrows, key=lambda arrow: arrow[:2]):
        causes = ", ".join(cause for *_, cause in same)
        lines.append(f"    {old} --> {new}" + (f": {causes}" if causes else ""))
    return "\n".join(lines) + "\n"


def test_the_page_on_delivery_shows_the_states_as_they_are():
    shown = re.search(r"^## States\n.*?^```mermaid\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    assert shown, f"docs/delivery.md lacks this diagram under its heading States:\n\n{diagram()}"
    assert shown[1] == diagram(), f"docs/delivery.md must show this diagram:\n\n{diagram()}"
