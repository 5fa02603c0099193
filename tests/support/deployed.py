"""The deployed template in the emulator, and for each test a bot of its own on it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from local.local_stack import NAME, LocalStack
from local.sample_bot import SampleBot
from relay import Conversation, PushQueue, SentMessage, Stack
from relay.domain.keys import message_key, record_key, session_key
from relay.domain.part import ReplyPart
from relay.domain.record import MessageRecord
from support.waiting import eventually

IN, OUT = "inbound-secret-of-the-tests", "outbound-secret-of-the-tests"


@dataclass(frozen=True)
class Deployed:
    """The stack as its users see it, and with every right."""

    local: LocalStack
    stack: Stack
    clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """Return a boto3 client; each is made once, since that takes long."""
        if service not in self.clients:
            self.clients[service] = self.local.client(service)
        return self.clients[service]

    def callback_url(self, bot: str) -> str:
        return self.local.outputs["CallbackUrl"].removesuffix("default") + bot

    def physical_id(self, logical_id: str) -> str:
        """Return the name of a resource of the template."""
        found = self.client("cloudformation").describe_stack_resource(
            StackName=NAME, LogicalResourceId=logical_id
        )
        name: str = found["StackResourceDetail"]["PhysicalResourceId"]
        return name

    def record(self, sent: SentMessage) -> MessageRecord | None:
        """Return the record of a message, None if there is none yet."""
        session = session_key(sent.bot, sent.session_id)
        return self.stack.open_messages_table().read(record_key(session, message_key(sent.sequence_number)))

    def state(self, sent: SentMessage, *states: str, within: float = 60) -> MessageRecord:
        """Return the record of a message, once it is in one of `states`."""
        return eventually(
            lambda: record if (record := self.record(sent)) and record["state"] in states else None,
            within,
            f"state {' or '.join(states)} of {sent}",
        )

    def accepted(self, sent: SentMessage) -> MessageRecord:
        """Return the record of a message, once LangBot has accepted it; it may be answered by then."""
        return self.state(sent, "delivered", "answered")


@dataclass(frozen=True)
class Talk:
    """One bot of the stack and a session with it."""

    deployed: Deployed
    bot: SampleBot
    name: str
    session: str

    def push(self, text: str | None = None, **more: Any) -> SentMessage:
        session = more.pop("session", self.session)
        return PushQueue(self.deployed.stack).push(session, text, **{"bot": self.name} | more)

    def conversation(self, session: str | None = None) -> Conversation:
        return Conversation(self.deployed.stack, self.session if session is None else session, bot=self.name)

    def parts(self, session: str | None = None) -> list[ReplyPart]:
        """Return all parts of a session."""
        return list(self.conversation(session).parts())

    def keys(self) -> list[str]:
        """Return the idempotency keys that the bot was sent, in order."""
        return [request.headers["x-lb-idempotency-key"] for request in self.bot.received]

    def texts(self) -> list[str]:
        """Return the texts that the bot was sent, in order."""
        return [json.loads(request.body)["message"][0]["text"] for request in self.bot.received]


@contextmanager
def new_bot(deployed: Deployed, kind: Callable[..., SampleBot] = SampleBot) -> Iterator[Talk]:
    """Start a bot that the stack knows, and a session with it."""
    name = f"bot-{uuid4().hex[:12]}"
    with kind(deployed.callback_url(name), IN, OUT) as bot:
        deployed.local.connect(bot.url, IN, OUT, bot=name)
        yield Talk(deployed, bot, name, f"s-{uuid4().hex[:8]}")
