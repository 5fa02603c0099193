"""What the list of sessions shows of a session."""

from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from relay.domain.keys import bot_of
from relay.domain.message import parse_message
from relay.domain.record import MessageRecord
from relay.domain.segments import readable
from relay.domain.states import State
from relay.domain.timestamps import UtcText
from relay.errors import InvalidMessage
from relay_console.view_item import ViewItem

MAX_SEARCHED = 1000
"""Characters of a message's text that a search finds: the console keeps them for 10,000 messages."""


@dataclass(frozen=True)
class MessageSummary:
    """What the list of sessions needs of a record."""

    session: str
    message: str
    state: State
    queued_at: UtcText
    parked_at: UtcText | None
    delivered_at: UtcText | None
    is_pending: bool
    """Whether its state may change without an operator."""
    words: str
    """What a search finds: its ids and how its text begins, in lower case."""

    @classmethod
    def of(cls, record: MessageRecord) -> "MessageSummary":
        """Return what the console keeps of a record."""
        return cls(
            session=record["session"],
            message=record["message"],
            state=record["state"],
            queued_at=record["queued_at"],
            parked_at=record.get("parked_at"),
            delivered_at=record.get("delivered_at"),
            is_pending=record["state"] == State.RETRYING or "awaiting" in record,
            words=_words(record),
        )


def _words(record: MessageRecord) -> str:
    text = record.get("body", "")  # none if it is in the bucket
    with suppress(InvalidMessage):
        text = readable(parse_message(text).segments)
    ids = f"{record['message_id']} {record.get('accepted_message_id', '')}"
    return f"{ids} {text[:MAX_SEARCHED]}".lower()


def session_item(session: str, messages: Collection[MessageSummary]) -> ViewItem:
    """Return a line of the list of sessions; `session` is its key in the tables."""
    return {
        "kind": "session",
        "id": f"session:{session}",
        "session": session,
        "bot": bot_of(session),
        "session_id": session.partition("#")[2],
        "at": max(message.queued_at for message in messages),
        "states": Counter(message.state for message in messages),
    }
