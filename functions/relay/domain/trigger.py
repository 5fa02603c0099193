"""When an event source mapping brings its function nothing."""

from collections.abc import Mapping
from typing import Any

_WORKING = ("Creating", "Enabling", "Enabled", "Updating")


def fault_of(mapping: Mapping[str, Any]) -> str:
    """Return why a mapping, as Lambda lists it, brings its function nothing, "" if it does.

    A mapping of a stream that Lambda cannot read, or whose function fails, stays enabled and says so.
    """
    state, result = str(mapping["State"]), str(mapping.get("LastProcessingResult", ""))
    if state not in _WORKING:
        return state
    return result if result.startswith("PROBLEM") else ""
