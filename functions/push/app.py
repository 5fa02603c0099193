"""push: delivers the messages of PushQueue to their bots."""

from itertools import dropwhile
from typing import Any

import relay.cold_start
from push.dispatcher import Dispatcher
from relay.adapters.admission_control import AdmissionControl
from relay.adapters.awaiting_index import AwaitingIndex
from relay.adapters.aws import client, lazy_client
from relay.adapters.bot_registry import BotRegistry
from relay.adapters.dynamodb import Table
from relay.adapters.langbot import LangBotClient
from relay.adapters.message_queue import MessageQueue
from relay.adapters.messages_table import MessagesTable
from relay.adapters.overflow_bucket import OverflowBucket
from relay.adapters.replies_table import RepliesTable
from relay.domain.admission import leases_of
from relay.domain.message import QueuedMessage
from relay.domain.retry import Policy
from relay.metrics import Metrics
from relay.sender import Sender
from relay.settings import PushSettings

settings = PushSettings.from_env()
queue_name = settings.push_queue_url.rpartition("/")[2]
metrics = Metrics(settings.metrics_namespace)
dynamodb = client("dynamodb")
bucket = OverflowBucket(lazy_client(lambda: client("s3")), settings.overflow_bucket)
messages = Table(dynamodb, settings.messages_table)
dispatcher = Dispatcher(
    sender=Sender(
        BotRegistry(client("secretsmanager"), settings.bot_secret_prefix),
        LangBotClient(),
        AdmissionControl(
            messages,
            settings.max_in_flight,
            settings.answer_deadline_seconds,
            leases_of(settings.push_maximum_concurrency),
        ),
    ),
    messages_table=MessagesTable(messages, bucket),
    awaiting_index=AwaitingIndex(messages),
    replies_table=RepliesTable(Table(dynamodb, settings.replies_table), bucket),
    message_queue=MessageQueue(lazy_client(lambda: client("sqs")), settings.push_queue_url),
    policy=Policy(
        settings.retry_for_seconds,
        settings.answer_deadline_seconds,
        settings.keep_days,
        ends_tasks=settings.ends_tasks,
    ),
    metrics=metrics,
)
relay.cold_start.end()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Deliver the message of an event, and report whether it stays on PushQueue.

    Until an upgrade is complete, the event source mappings of the version before bring up to ten messages,
    and those of a queue that is gone.
    """

    def leaves_queue(record: dict[str, Any]) -> bool:
        return record["eventSourceARN"].endswith(f":{queue_name}") and not dispatcher.deliver(
            queued_message(record), seconds_left=lambda: context.get_remaining_time_in_millis() / 1000
        )

    stays = list(dropwhile(leaves_queue, event["Records"]))
    metrics.emit()
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in stays]}


def queued_message(record: dict[str, Any]) -> QueuedMessage:
    """Read a record of an SQS event."""
    attributes, given = record["attributes"], record.get("messageAttributes", {})
    return QueuedMessage(
        message_id=record["messageId"],
        body=record["body"],
        group_id=attributes["MessageGroupId"],
        sequence_number=attributes["SequenceNumber"],
        receive_count=int(attributes["ApproximateReceiveCount"]),
        queued_at=int(attributes["SentTimestamp"]) / 1000,
        receipt_handle=record["receiptHandle"],
        resend_of=given.get("resend_of", {}).get("stringValue"),
        reads_secret="read_secret" in given,
    )
