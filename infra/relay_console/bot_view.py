"""What the state of the stack shows of a bot."""

from relay.domain.admission import BotState
from relay.domain.timestamps import utc_text
from relay_console.view_item import ViewItem


def bot_item(name: str, state: BotState, in_flight: int | None, most: int) -> ViewItem:
    """Return the state of a bot; `most` is the stack's MaxInFlight."""
    circuit = "closed" if not state.probe_at else "probing" if state.probing else "open"
    if state.paused_since:
        circuit = "paused"
    return {
        "kind": "bot",
        "id": f"bot:{name}",
        "bot": name,
        "circuit": circuit,
        "paused_since": utc_text(state.paused_since) if state.paused_since else None,
        "failures": state.failures,
        "failing_since": state.item.get("failing_since"),
        "unreachable_since": state.item.get("unreachable_since"),
        "probe_at": utc_text(state.probe_at) if state.probe_at else None,
        "in_flight": in_flight,
        "max_in_flight": most,
    }
