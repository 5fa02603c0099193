"""push: takes messages from the push queue to their bots."""

from typing import Any

from relay.deliver import Courier
from relay.edge.bots import Bots
from relay.edge.clients import client
from relay.edge.gate import Gate
from relay.edge.langbot import LangBot
from relay.edge.ledger import Ledger
from relay.edge.queues import Queues
from relay.edge.replies import Replies
from relay.rules.ledger import Queued
from relay.send import Sender
from relay.settings import PushSettings

settings = PushSettings.from_env()
dynamodb, s3 = client("dynamodb"), client("s3")
courier = Courier(
    sender=Sender(
        Bots(client("secretsmanager"), settings.bot_secret_prefix),
        LangBot(),
        Gate(dynamodb, settings.messages_table, settings.max_awaiting, settings.answer_deadline),
    ),
    ledger=Ledger(dynamodb, settings.messages_table, s3, settings.overflow_bucket),
    replies=Replies(dynamodb, settings.replies_table, s3, settings.overflow_bucket),
    queues=Queues(client("sqs"), settings.push_queue_url, settings.parked_queue_url),
    retry_for=settings.retry_for,
    keep_days=settings.keep_days,
    answer_deadline=settings.answer_deadline,
)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Delivers a batch of the push queue and reports what stays in it."""
    kept = courier.deliver(
        map(queued, event["Records"]),
        seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
    )
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in kept]}


def queued(record: dict[str, Any]) -> Queued:
    """A record of an SQS event."""
    attributes = record["attributes"]
    return Queued(
        message_id=record["messageId"],
        body=record["body"],
        group=attributes["MessageGroupId"],
        sequence_number=attributes["SequenceNumber"],
        receive_count=int(attributes["ApproximateReceiveCount"]),
        sent_at=int(attributes["SentTimestamp"]) / 1000,
        receipt_handle=record["receiptHandle"],
        resend_of=record.get("messageAttributes", {}).get("resend_of", {}).get("stringValue"),
    )
