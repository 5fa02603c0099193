"""What the tests of a real LangBot hold in hand."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from langbot.faults import Proxy
from langbot.peer.langbot import Peer
from langbot.peer.model import Model
from local.stack import LocalStack
from relay import Conversation, Queue, Sent, Stack
from relay.edge.table import from_item
from relay.rules.ledger import message_key
from relay.rules.message import session_key

T = TypeVar("T")


@dataclass(frozen=True)
class Bridge:
    """All that stands between a producer and LangBot's model.

    `to_bot` sees what push posts, `to_relay` what LangBot calls back.
    """

    stack: LocalStack
    peer: Peer
    model: Model
    to_bot: Proxy
    to_relay: Proxy
    queue: Queue
    client: Stack

    def conversation(self, session_id: str, bot: str = "default") -> Conversation:
        return Conversation(self.client, session_id, bot)

    def ledger(self, sent: Sent) -> dict[str, Any]:
        """What MessagesTable says of a message, {} where it says nothing yet."""
        answer = self.stack.client("dynamodb").get_item(
            TableName=self.stack.outputs["MessagesTableName"],
            Key={
                "session": {"S": session_key(sent.bot, sent.session_id)},
                "message": {"S": message_key(sent.sequence_number)},
            },
            ConsistentRead=True,
        )
        return from_item(answer.get("Item", {}))

    def answered(self, sent: Sent) -> dict[str, Any]:
        """What MessagesTable says of a message, once it is answered."""
        until(f"{sent} is answered", lambda: self.ledger(sent).get("state") == "answered")
        return self.ledger(sent)


def until(what: str, condition: Callable[[], T], timeout: float = 45) -> T:
    """The first true value of `condition`; fails after `timeout` seconds, saying what was awaited."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"{timeout:g} s went by without this: {what}; last seen: {value!r}")
        time.sleep(0.1)
    return value
