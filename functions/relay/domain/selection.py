"""Which of the messages that wait for an operator a command is about, and what came of each."""

from dataclasses import dataclass
from enum import StrEnum

from relay.domain.keys import RecordKey, bot_of, record_key, session_id_of
from relay.domain.record import MessageRecord
from relay.domain.states import AWAITING_OPERATOR, State
from relay.domain.timestamps import UtcText


@dataclass(frozen=True)
class Selection:
    """The messages of a bot, a session and a state that have a text in their reason. None is any.

    They were parked, or unanswered, from `since` to `until`, both included. Both are UtcText, or sort before
    or behind each.
    """

    bot: str | None = None
    session_id: str | None = None
    state: State | None = None
    reason: str = ""
    since: str = "0"
    until: str = "~"

    @property
    def states(self) -> tuple[State, ...]:
        """Return the states that the messages can have."""
        return AWAITING_OPERATOR if self.state is None else (self.state,)

    def may_have(self, key: RecordKey) -> bool:
        """Tell whether the message with this key is selected, as far as its key says."""
        session = key["session"]
        return self.bot in (None, bot_of(session)) and self.session_id in (None, session_id_of(session))

    def has(self, record: MessageRecord) -> bool:
        """Tell whether a message is selected."""
        return (
            record["state"] in self.states
            and self.may_have(record_key(record["session"], record["message"]))
            and self.reason in reason_of(record)
            and self.since <= waits_since(record) <= self.until
        )


class Result(StrEnum):
    """What came of one message of many: done, left because it waits no longer, or refused as not valid."""

    DONE = "done"
    LEFT = "left"
    REFUSED = "refused"


@dataclass(frozen=True)
class Handled:
    """A message of many, by its key, and what came of it; `fault` says why it was refused."""

    key: RecordKey
    result: Result
    fault: str = ""


def waits_since(record: MessageRecord) -> UtcText:
    """Return since when a parked or unanswered message waits for an operator."""
    return record["parked_at"] if record["state"] == State.PARKED else record["unanswered_at"]


def reason_of(record: MessageRecord) -> str:
    """Return why a parked or unanswered message waits for an operator."""
    return record["reason"] if record["state"] == State.PARKED else record["last_error"]
