"""The deployed template in the emulator, and for each test a bot of its own on it."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from local.sample_bot import SampleBot
from local.stack import LocalStack, local_stack
from relay import Conversation, Queue, Sent, Stack
from relay.deliver import Courier
from relay.edge.bots import Bots
from relay.edge.gate import Gate
from relay.edge.langbot import LangBot
from relay.edge.ledger import Ledger
from relay.edge.queues import Queues
from relay.edge.replies import Replies
from relay.edge.table import from_item, to_item
from relay.rules.ledger import message_key
from relay.send import Sender

T = TypeVar("T")
IN, OUT = "in-secret", "out-secret"


def eventually(look: Callable[[], T | None], within: float = 20, what: str = "what was waited for") -> T:
    """The first true value that `look` gives."""
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what} did not come within {within} s"
        time.sleep(0.05)
    return found


@dataclass(frozen=True)
class Deployed:
    """The stack as its users see it, and with every right."""

    local: LocalStack
    stack: Stack

    def client(self, service: str) -> Any:
        return self.local.client(service)

    def callback_url(self, bot: str) -> str:
        return self.local.outputs["CallbackUrl"].removesuffix("default") + bot

    def ledger(self, sent: Sent) -> dict[str, Any]:
        """What MessagesTable says of a message; {} where it says nothing yet."""
        key = {"session": f"{sent.bot}#{sent.session_id}", "message": message_key(sent.sequence_number)}
        answer = self.client("dynamodb").get_item(
            TableName=self.stack.messages_table, Key=to_item(key), ConsistentRead=True
        )
        return from_item(answer.get("Item", {}))

    def state(self, sent: Sent, *states: str, within: float = 20) -> dict[str, Any]:
        """The ledger's item of a message, once it is in one of `states`."""
        return eventually(
            lambda: item if (item := self.ledger(sent)).get("state") in states else None,
            within,
            f"state {' or '.join(states)} of {sent}",
        )

    def accepted(self, sent: Sent) -> dict[str, Any]:
        """The ledger's item of a message, once LangBot has it; it may be answered by then."""
        return self.state(sent, "delivered", "answered")


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    folder: Path = tmp_path_factory.mktemp("stack")
    with local_stack(folder=folder) as local:
        yield Deployed(local, Stack.from_file(folder / "outputs.json"))


@dataclass(frozen=True)
class Talk:
    """One bot of the stack and a session with it."""

    deployed: Deployed
    bot: SampleBot
    name: str
    session: str

    def push(self, text: str | None = None, **more: Any) -> Sent:
        return Queue(self.deployed.stack).push(
            more.pop("session", self.session), text, bot=more.pop("bot", self.name), **more
        )

    def conversation(self, session: str | None = None) -> Conversation:
        return Conversation(self.deployed.stack, self.session if session is None else session, bot=self.name)

    def keys(self) -> list[str]:
        """The idempotency keys that the bot was sent, in order."""
        return [request.headers["x-lb-idempotency-key"] for request in self.bot.received]


@contextmanager
def new_bot(deployed: Deployed, kind: type[SampleBot] = SampleBot) -> Iterator[Talk]:
    """A bot that is known to the stack, and a session with it."""
    name = f"bot-{uuid4().hex[:12]}"
    with kind(deployed.callback_url(name), IN, OUT) as bot:
        deployed.local.connect(bot.url, IN, OUT, bot=name)
        yield Talk(deployed, bot, name, f"s-{uuid4().hex[:8]}")


@dataclass(frozen=True)
class Heard:
    """What a queue hears of one bot on the event bus: a rule as users write it, and its target."""

    sqs: Any
    queue: str
    events: list[dict[str, Any]]

    def all(self, count: int, kind: str | None = None) -> list[dict[str, Any]]:
        """The events so far, of one kind or all, once they are `count`."""

        def look() -> list[dict[str, Any]] | None:
            taken = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=0)
            self.events.extend(json.loads(message["Body"]) for message in taken.get("Messages", []))
            found = [event for event in self.events if kind in (None, event["detail-type"])]
            return found if len(found) >= count else None

        return eventually(look, 30, f"event {count} of {kind or 'any'} kind") if count else look() or []

    def one(self, kind: str) -> dict[str, Any]:
        """The data of the first event of a kind."""
        data: dict[str, Any] = self.all(1, kind)[0]["detail"]["data"]
        return data


@pytest.fixture
def heard(talk: Talk) -> Iterator[Heard]:
    """What is told of the test's bot."""
    events, sqs = talk.deployed.client("events"), talk.deployed.client("sqs")
    queue = sqs.create_queue(QueueName=f"heard-{talk.name}")["QueueUrl"]
    asked = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    pattern = {"source": ["langbot-relay"], "detail": {"data": {"bot": [talk.name]}}}
    events.put_rule(Name=talk.name, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=talk.name, Targets=[{"Id": "heard", "Arn": asked["QueueArn"]}])
    yield Heard(sqs, queue, [])
    events.remove_targets(Rule=talk.name, Ids=["heard"])
    events.delete_rule(Name=talk.name)
    sqs.delete_queue(QueueUrl=queue)


@pytest.fixture
def talk(deployed: Deployed) -> Iterator[Talk]:
    with new_bot(deployed) as talk:
        yield talk


@pytest.fixture
def courier(talk: Talk) -> Courier:
    """What push is made of, in this process, on the deployed tables and the test's bot."""
    deployed = talk.deployed
    outputs, stack = deployed.local.outputs, deployed.stack
    dynamodb, s3 = deployed.client("dynamodb"), deployed.client("s3")
    return Courier(
        sender=Sender(
            Bots(deployed.client("secretsmanager"), outputs["BotSecretPrefix"]),
            LangBot(),
            Gate(dynamodb, stack.messages_table, max_awaiting=50, answer_deadline=900),
        ),
        ledger=Ledger(dynamodb, stack.messages_table, s3, stack.overflow_bucket),
        replies=Replies(dynamodb, stack.replies_table, s3, stack.overflow_bucket),
        queues=Queues(deployed.client("sqs"), outputs["PushQueueUrl"], outputs["ParkedQueueUrl"]),
        retry_for=3600,
        keep_days=1,
        answer_deadline=900,
    )
