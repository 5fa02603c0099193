"""What the functions are made of, in this process, on the deployed tables and queues."""

import time
from dataclasses import dataclass, field, replace
from typing import Any, cast
from uuid import uuid4

from callback.receiver import Receiver
from publish.publisher import EventPublisher
from push.dispatcher import Dispatcher
from relay.adapters.admission_control import AdmissionControl
from relay.adapters.awaiting_index import AwaitingIndex
from relay.adapters.bot_registry import BotRegistry
from relay.adapters.dynamodb import Table, from_item, to_item
from relay.adapters.event_bus import EventBus
from relay.adapters.langbot import LangBotClient
from relay.adapters.message_queue import MessageQueue
from relay.adapters.messages_table import MessagesTable
from relay.adapters.overflow_bucket import OverflowBucket
from relay.adapters.replies_table import RepliesTable
from relay.domain.keys import RecordKey, part_key
from relay.domain.message import QueuedMessage, parse_message, parse_session_body
from relay.domain.record import MessageRecord, key_of
from relay.domain.retry import Policy
from relay.domain.settlement import FinalPart
from relay.domain.timestamps import Clock, Stamp, utc_text
from relay.errors import InvalidMessage
from relay.metrics import Metrics
from relay.sender import Sender
from settle.due import DueItems
from settle.settler import Settler
from support.deployed import Deployed, Talk

POLICY = Policy(retry_for=3600, answer_deadline=900, keep_days=1)


@dataclass(frozen=True)
class Workers:
    """Makes workers of the stack, each as a function has it that has just started."""

    deployed: Deployed
    clock: Clock = time.time
    max_in_flight: int = 50
    policy: Policy = POLICY
    metrics: Metrics = field(default_factory=lambda: Metrics("LangBotRelay/test"))

    def at(self, moment: float) -> "Workers":
        """Return workers for which it is another time (Unix seconds)."""
        return replace(self, clock=lambda: moment)

    @property
    def bot_registry(self) -> BotRegistry:
        prefix = self.deployed.local.outputs["BotSecretPrefix"]
        return BotRegistry(self.deployed.client("secretsmanager"), prefix)

    @property
    def bucket(self) -> OverflowBucket:
        return OverflowBucket(self.deployed.client("s3"), self.deployed.stack.overflow_bucket)

    @property
    def messages_table(self) -> MessagesTable:
        return MessagesTable(self._table(self.deployed.stack.messages_table), self.bucket)

    @property
    def awaiting_index(self) -> AwaitingIndex:
        return AwaitingIndex(self._table(self.deployed.stack.messages_table))

    @property
    def message_queue(self) -> MessageQueue:
        return MessageQueue(self.deployed.client("sqs"), self.deployed.stack.push_queue_url)

    @property
    def replies_table(self) -> RepliesTable:
        return RepliesTable(self._table(self.deployed.stack.replies_table), self.bucket)

    def admission_control(self, max_in_flight: int | None = None) -> AdmissionControl:
        return AdmissionControl(
            self._table(self.deployed.stack.messages_table),
            self.max_in_flight if max_in_flight is None else max_in_flight,
            self.policy.answer_deadline,
            clock=self.clock,
        )

    def sender(self) -> Sender:
        return Sender(self.bot_registry, LangBotClient(), self.admission_control(), self.clock)

    def dispatcher(self) -> Dispatcher:
        return Dispatcher(
            sender=self.sender(),
            messages_table=self.messages_table,
            awaiting_index=self.awaiting_index,
            replies_table=self.replies_table,
            message_queue=self.message_queue,
            policy=self.policy,
            metrics=self.metrics,
            clock=self.clock,
        )

    def settler(self) -> Settler:
        return Settler(
            self.messages_table,
            self.awaiting_index,
            self.replies_table,
            self.policy.answer_deadline,
            self.metrics,
            self.clock,
        )

    def due_items(self, max_resends: int = 0) -> DueItems:
        return DueItems(
            messages_table=self.messages_table,
            awaiting_index=self.awaiting_index,
            replies_table=self.replies_table,
            message_queue=self.message_queue,
            settler=self.settler(),
            max_resends=max_resends,
            metrics=self.metrics,
            clock=self.clock,
        )

    def receiver(self, bot_registry: BotRegistry | None = None, spill_queue: Any = None) -> Receiver:
        return Receiver(
            bot_registry=bot_registry or self.bot_registry,
            replies_table=self.replies_table,
            bucket=self.bucket,
            spill_queue=spill_queue,
            keep_days=self.policy.keep_days,
            metrics=self.metrics,
            clock=self.clock,
        )

    def publisher(self) -> EventPublisher:
        bus = EventBus(self.deployed.client("events"), "default", "relay")
        return EventPublisher(self.messages_table, self.replies_table, bus, self.metrics, clock=self.clock)

    def record(self, message: QueuedMessage) -> MessageRecord | None:
        """Return the record of a message, None if there is none yet."""
        return self.messages_table.read(_key(message))

    def take(self, message: QueuedMessage) -> MessageRecord:
        """Return the record of a message and delete it, so that no other message waits for its reply."""
        deleted = self.deployed.client("dynamodb").delete_item(
            TableName=self.deployed.stack.messages_table, Key=to_item(_key(message)), ReturnValues="ALL_OLD"
        )
        return cast(MessageRecord, from_item(deleted["Attributes"]))

    def overwrite(self, record: MessageRecord) -> None:
        """Write a record as a test wants it, in place of any that is there."""
        self._table(self.deployed.stack.messages_table).put(record)

    def records(self, *messages: QueuedMessage) -> list[MessageRecord | None]:
        table, keys = self.messages_table, list(map(_key, messages))
        pages = (table.read_many(keys[first : first + 100]) for first in range(0, len(keys), 100))
        found = {record["session"] + record["message"]: record for page in pages for record in page}
        return [found.get(key["session"] + key["message"]) for key in keys]

    def _table(self, name: str) -> Table:
        return Table(self.deployed.client("dynamodb"), name)


def _key(message: QueuedMessage) -> RecordKey:
    """Return the key of a message's record, under the session that its body names, or else its group."""
    parse = parse_session_body if message.resend_of else parse_message
    try:
        return key_of(message, parse(message.body))
    except InvalidMessage:
        return key_of(message, None)


def final_part(talk: Talk, reply_to: str, sent_at: float | None = None) -> FinalPart:
    """Make the final part of a turn, now or at another time (Unix seconds); no table has it."""
    sent_at = time.time() if sent_at is None else sent_at
    stamp = Stamp(utc_text(sent_at).removesuffix("Z"))
    part = part_key(stamp, 1, uuid4().hex)
    return FinalPart(f"{talk.name}#{talk.session}", reply_to, stamp, 0, sent_at, sent_at, part)
