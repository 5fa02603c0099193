"""The deployed local stack and a real LangBot, connected to each other."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from langbot.peer.model import Model
from langbot.peer.peer import Peer
from langbot.proxy import Proxy
from relay import BotAdmin, Conversation, PushQueue
from relay.adapters.dynamodb import to_item
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

    @property
    def bot_url(self) -> str:
        """The bot's url by the proxy. It ends with the bot's id in LangBot, by which `rotate` finds it."""
        return self.to_bot.url + urlsplit(self.peer.bot_url).path

    @contextmanager
    def known_as(self, name: str, **secret: Any) -> Iterator[str]:
        """Let the relay know LangBot's bot by another name and secret, and LangBot call back under it."""
        value = {
            "url": self.bot_url,
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

    def forget_open_messages(self) -> None:
        """Delete the records of the messages that wait for a reply: each would keep its slot for minutes."""
        dynamodb, table = self.deployed.client("dynamodb"), self.deployed.stack.messages_table
        for key in BotAdmin(self.deployed.stack).open_messages("default"):
            dynamodb.delete_item(TableName=table, Key=to_item(key))
