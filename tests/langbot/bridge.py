"""The deployed local stack and a real LangBot, connected to each other."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from langbot.peer.model import Model
from langbot.peer.peer import Peer
from langbot.proxy import Proxy
from relay import Conversation, PushQueue, SentMessage
from relay.domain.keys import message_key, session_key
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

    @contextmanager
    def known_as(self, name: str, **secret: Any) -> Iterator[str]:
        """Let the relay know LangBot's bot by another name and secret, and LangBot call back under it."""
        value = {
            "url": self.to_bot.url,
            "inbound_secret": self.peer.settings.inbound_secret,
            "outbound_secret": self.peer.settings.outbound_secret,
        }
        self.deployed.client("secretsmanager").create_secret(
            Name=self.deployed.local.outputs["BotSecretPrefix"] + name,
            SecretString=json.dumps(value | secret),
        )
        before, self.to_relay.target = self.to_relay.target, self.deployed.callback_url(name)
        try:
            yield name
        finally:
            self.to_relay.target = before

    def conversation(self, session_id: str, bot: str = "default") -> Conversation:
        return Conversation(self.deployed.stack, session_id, bot)

    def forget(self, sent: SentMessage) -> None:
        """Delete a message's record: one that LangBot dropped would keep its slot for minutes."""
        session, message = session_key(sent.bot, sent.session_id), message_key(sent.sequence_number)
        self.deployed.client("dynamodb").delete_item(
            TableName=self.deployed.stack.messages_table,
            Key={"session": {"S": session}, "message": {"S": message}},
        )
