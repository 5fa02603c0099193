"""LangBot Relay: what its functions share, and the client that other programs use."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.client import Conversation, Messages, NotAnswered, NotOpen, Parked, Queue, Sent, Stack

__all__ = ["Conversation", "Messages", "NotAnswered", "NotOpen", "Parked", "Queue", "Sent", "Stack"]


def __getattr__(name: str) -> object:
    # The functions import from this package too, and must not pay for the client.
    if name in __all__:
        return getattr(import_module("relay.client"), name)
    raise AttributeError(f"module 'relay' has no attribute {name!r}")
