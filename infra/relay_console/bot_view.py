"""What the state of the stack shows of a bot."""

from relay.domain.admission import BotState
from relay.domain.timestamps import utc_text
from relay_console.view_item import ViewItem

_COUNT_SHOWN_FOR = 60
"""Seconds for which a count of a bot's free slots is shown after it has expired."""


def bot_item(name: str, state: BotState, in_flight: int | None, now: float) -> ViewItem:
    """Return the state of a bot at `now` (Unix seconds)."""
    circuit = "closed" if not state.probe_at else "probing" if state.probing else "open"
    counted = state.slots_expire_at > now - _COUNT_SHOWN_FOR
    return {
        "kind": "bot",
        "id": f"bot:{name}",
        "bot": name,
        "circuit": circuit,
        "failures": state.failures,
        "failing_since": state.item.get("failing_since"),
        "unreachable_since": state.item.get("unreachable_since"),
        "probe_at": utc_text(state.probe_at) if state.probe_at else None,
        "in_flight": in_flight,
        "free_slots": max(0, state.slots - state.slots_taken) if counted else None,
    }
