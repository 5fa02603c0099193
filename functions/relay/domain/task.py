"""The task of a workflow that waits for what becomes of a message: its `reply_to_task`.

A message that comes back, for example because an operator resends it, has the task of the first one. The
first outcome ends the task, and a later one changes nothing.
"""

from collections.abc import Mapping
from typing import Any

from relay.domain.event import about, as_json
from relay.domain.record import MessageRecord
from relay.domain.states import State

MAX_CAUSE = 32_768
"""Characters of the cause of a failure that Step Functions takes."""

ERRORS = {
    State.UNANSWERED: "MessageUnanswered",
    State.PARKED: "MessageParked",
    State.DROPPED: "MessageDropped",
}
"""The error by which a task fails, for the states of its message."""


def ended(old: Mapping[str, Any], new: Mapping[str, Any]) -> State | None:
    """Return the state with which a change of a record ends its task, or None; {} is a missing record."""
    ending = _ending(new)
    return ending if ending != _ending(old) else None


def _ending(record: Mapping[str, Any]) -> State | None:
    if "reply_to_task" not in record:
        return None
    state = State(record["state"])
    # A message that looks merged awaits its own reply for a while, which replaces the answer.
    is_answered = state == State.ANSWERED and "awaiting" not in record
    return state if is_answered or state in ERRORS else None


def cause_of(record: MessageRecord) -> str:
    """Return the cause of a failure: as JSON what events say of the message, or less if that is too long."""
    cause = as_json(about(record))
    reasons = ("message_id", "reason", "last_error", "drop_reason")
    return cause if len(cause) <= MAX_CAUSE else as_json({n: v for n, v in record.items() if n in reasons})
