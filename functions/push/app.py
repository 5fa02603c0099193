"""push: delivers the messages of PushQueue to their bots."""

from dataclasses import replace
from typing import Any

import relay.cold_start
from push.dispatcher import Dispatcher
from relay.adapters.admission_control import AdmissionControl
from relay.adapters.aws import LazyClient, client
from relay.adapters.bot_registry import BotRegistry
from relay.adapters.dynamodb import Table
from relay.adapters.langbot import LangBotClient
from relay.adapters.message_visibility import MessageVisibility
from relay.adapters.messages_table import MessagesTable
from relay.adapters.overflow_bucket import OverflowBucket
from relay.adapters.parked_queue import ParkedQueue
from relay.adapters.replies_table import RepliesTable
from relay.adapters.sync_queue import SyncQueue
from relay.domain.admission import lanes_of
from relay.domain.message import QueuedMessage
from relay.domain.retry import Policy
from relay.metrics import Metrics
from relay.sender import Sender
from relay.settings import PushSettings

settings = PushSettings.from_env()
metrics = Metrics(settings.metrics_namespace)
dynamodb, sqs = client("dynamodb"), LazyClient(lambda: client("sqs"))
bucket = OverflowBucket(LazyClient(lambda: client("s3")), settings.overflow_bucket)
messages = Table(dynamodb, settings.messages_table)
sync_queue = SyncQueue(sqs, settings.sync_queue_url)
sync_dispatcher = Dispatcher(
    sender=Sender(
        BotRegistry(client("secretsmanager"), settings.bot_secret_prefix),
        LangBotClient(),
        AdmissionControl(
            messages,
            settings.max_in_flight,
            settings.answer_deadline_seconds,
            lanes_of(settings.push_maximum_concurrency),
        ),
    ),
    messages_table=MessagesTable(messages, bucket),
    replies_table=RepliesTable(Table(dynamodb, settings.replies_table), bucket),
    parked_queue=ParkedQueue(sqs, settings.parked_queue_url),
    message_visibility=MessageVisibility(sqs, settings.push_queue_url),
    policy=Policy(settings.retry_for_seconds, settings.answer_deadline_seconds, settings.keep_days),
    metrics=metrics,
)
dispatcher = replace(sync_dispatcher, sync_queue=sync_queue)
relay.cold_start.end()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Deliver a batch of PushQueue and report what stays in it, or make the sync calls of SyncQueue."""
    records = event["Records"]
    kept: list[str] = []

    def seconds_left() -> float:
        return float(context.get_remaining_time_in_millis() / 1000)

    if sync_queue.sends(records[0]["eventSourceARN"]):
        for record in records:
            sync_dispatcher.call_sync(SyncQueue.read(record["body"]), seconds_left)
    else:
        kept = dispatcher.deliver(map(queued_message, records), seconds_left)
    metrics.emit()
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in kept]}


def queued_message(record: dict[str, Any]) -> QueuedMessage:
    """Read a record of an SQS event."""
    attributes = record["attributes"]
    return QueuedMessage(
        message_id=record["messageId"],
        body=record["body"],
        group_id=attributes["MessageGroupId"],
        sequence_number=attributes["SequenceNumber"],
        receive_count=int(attributes["ApproximateReceiveCount"]),
        queued_at=int(attributes["SentTimestamp"]) / 1000,
        receipt_handle=record["receiptHandle"],
        resend_of=record.get("messageAttributes", {}).get("resend_of", {}).get("stringValue"),
    )
