"""The deployed local stack and a real LangBot, connected to each other."""

from dataclasses import dataclass

from langbot.peer.model import Model
from langbot.peer.peer import Peer
from langbot.proxy import Proxy
from relay import Conversation, PushQueue
from support.deployed import Deployed


@dataclass(frozen=True)
class Bridge:
    """All that is between a producer and LangBot's model.

    `to_bot` records what push posts, `to_relay` what LangBot calls back.
    """

    deployed: Deployed
    peer: Peer
    model: Model
    to_bot: Proxy
    to_relay: Proxy
    push_queue: PushQueue

    def conversation(self, session_id: str, bot: str = "default") -> Conversation:
        return Conversation(self.deployed.stack, session_id, bot)
