"""Keys: of sessions, messages and parts in the tables, and the message group of a session on the queue."""

import hashlib
import re
from typing import TypedDict

from relay.domain.timestamps import Stamp

BOTS = "bots"
"""The session key under which MessagesTable keeps the state of each bot; that of a session has a `#`."""

RECHECKS = "rechecks"
"""The session key under which MessagesTable keeps the final parts that settle checks again."""

OPERATOR = "#operator"
"""What a parked message waits for, in place of a bot; no bot can have this name."""

UNANSWERED = "#unanswered"
"""What an unanswered message waits for, in place of a bot: a late reply, or an operator."""

SETTLE = "#settle"
"""What a recheck waits for, in place of a bot."""

_MESSAGE_KEY_DIGITS = 39  # an SQS FIFO SequenceNumber has 128 bits

# SQS gives UUIDs.
_MESSAGE_ID = re.compile(r"[0-9A-Za-z-]{1,36}")

# What SQS accepts as a message group id.
_GROUP_ID = re.compile(r"[!-~]{1,128}")


class RecordKey(TypedDict):
    """The key of an item of MessagesTable."""

    session: str
    message: str


def session_key(bot: str, session_id: str) -> str:
    """Return the partition key of a session, the same in both tables; a bot's name has no `#`."""
    return f"{bot}#{session_id}"


def bot_of(session: str) -> str:
    """Return the bot of a session, by its partition key."""
    return session.partition("#")[0]


def session_id_of(session: str) -> str:
    """Return the id of a session, by its partition key."""
    return session.partition("#")[2]


def unreadable_session(group_id: str) -> str:
    """Return the partition key of a message whose session cannot be read: its message group, with no bot."""
    return f"#{group_id}"


def group_id(session: str) -> str:
    """Return the message group of the session with this key, valid for SQS whatever characters it has."""
    return session if _GROUP_ID.fullmatch(session) else hashlib.sha256(session.encode()).hexdigest()


def message_key(sequence_number: str) -> str:
    """Return the sort key of a message, from its SQS SequenceNumber: queue order is sort order."""
    return sequence_number.zfill(_MESSAGE_KEY_DIGITS)


def is_message_key(text: str) -> bool:
    """Tell whether `text` has the form that `message_key` gives."""
    return len(text) == _MESSAGE_KEY_DIGITS and text.isascii() and text.isdecimal()


def is_message_id(text: str) -> bool:
    """Tell whether `text` can be the id that SQS gives a message."""
    return bool(_MESSAGE_ID.fullmatch(text))


def record_key(session: str, message: str) -> RecordKey:
    """Return the key of an item of MessagesTable."""
    return {"session": session, "message": message}


def part_key(stamp: Stamp, sequence: int, digest: str) -> str:
    """Return the sort key of a part: its stamp, its sequence for people, and its body's SHA-256 in hex.

    A retry is byte-identical and so has the same key. Two different parts never share a key. Stamp order was
    emission order in every recording.
    """
    return f"{stamp}#{min(max(sequence, 0), 999_999):06}#{digest[:12]}"


def stamp_of(part: str) -> Stamp:
    """Return the stamp in the sort key of a part."""
    return Stamp(part.partition("#")[0])
