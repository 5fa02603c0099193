"""LangBot Relay: what its functions share, and the client that other programs use."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.client.bot_admin import BotAdmin
    from relay.client.conversation import Conversation
    from relay.client.messages import Messages
    from relay.client.push_queue import PushQueue, SentMessage
    from relay.client.session_eraser import Erased, SessionEraser
    from relay.client.stack import Stack
    from relay.errors import (
        BotRemoved,
        InvalidMessage,
        InvalidState,
        MessageNotFound,
        MessageParked,
        RelayError,
        ReplyTimeout,
        StackNotFound,
    )

__all__ = [
    "BotAdmin",
    "BotRemoved",
    "Conversation",
    "Erased",
    "InvalidMessage",
    "InvalidState",
    "MessageNotFound",
    "MessageParked",
    "Messages",
    "PushQueue",
    "RelayError",
    "ReplyTimeout",
    "SentMessage",
    "SessionEraser",
    "Stack",
    "StackNotFound",
]

_MODULES = {
    "BotAdmin": "relay.client.bot_admin",
    "Conversation": "relay.client.conversation",
    "Erased": "relay.client.session_eraser",
    "Messages": "relay.client.messages",
    "PushQueue": "relay.client.push_queue",
    "SentMessage": "relay.client.push_queue",
    "SessionEraser": "relay.client.session_eraser",
    "Stack": "relay.client.stack",
}


def __getattr__(name: str) -> object:
    # The functions import from this package too, and must not pay for the client.
    if name in __all__:
        return getattr(import_module(_MODULES.get(name, "relay.errors")), name)
    raise AttributeError(f"module 'relay' has no attribute {name!r}")
