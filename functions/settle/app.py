"""settle: marks the messages that a final part answers, and each minute handles what is due."""

import logging
from dataclasses import replace
from typing import Any

import relay.cold_start
from relay.adapters.awaiting_index import AwaitingIndex
from relay.adapters.aws import client, lazy_client
from relay.adapters.dynamodb import Table, from_item
from relay.adapters.message_queue import MessageQueue
from relay.adapters.messages_table import MessagesTable
from relay.adapters.overflow_bucket import OverflowBucket
from relay.adapters.replies_table import RepliesTable
from relay.adapters.triggers import Triggers
from relay.domain.part import ReplyPart
from relay.domain.settlement import FinalPart
from relay.log_fields import error_fields
from relay.metrics import Metric, Metrics
from relay.settings import SettleSettings
from settle.due import DueItems
from settle.settler import Settler

log = logging.getLogger(__name__)

_TIME_TO_SETTLE = 12
"""Seconds that must be left to begin with a final part: a call to AWS that hangs ends within 11 s."""

settings = SettleSettings.from_env()
metrics = Metrics(settings.metrics_namespace)
dynamodb = client("dynamodb")
bucket = OverflowBucket(lazy_client(lambda: client("s3")), settings.overflow_bucket)
messages = Table(dynamodb, settings.messages_table)
settler = Settler(
    messages_table=MessagesTable(messages, bucket),
    awaiting_index=AwaitingIndex(messages),
    replies_table=RepliesTable(Table(dynamodb, settings.replies_table), bucket),
    answer_deadline=settings.answer_deadline_seconds,
    metrics=metrics,
)
due_items = DueItems(
    messages_table=settler.messages_table,
    awaiting_index=settler.awaiting_index,
    replies_table=settler.replies_table,
    message_queue=MessageQueue(lazy_client(lambda: client("sqs")), settings.push_queue_url),
    settler=settler,
    max_resends=settings.max_resends,
    metrics=metrics,
)
triggers = Triggers(lazy_client(lambda: client("lambda")), settings.trigger_sources.split(","))
relay.cold_start.end()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Settle a batch of RepliesTable's stream, or, each minute, what is due."""

    def seconds_left() -> float:
        return float(context.get_remaining_time_in_millis() / 1000)

    if "Records" in event:
        # A bot can end the turns of one long session any number of times.
        batch = replace(settler, replies_table=settler.replies_table.once_for_all())
        failed = [
            number for record in event["Records"] if (number := settle_one(batch, record, seconds_left()))
        ]
        result: dict[str, Any] = {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}
    else:
        count_stopped_triggers()
        result = {"unanswered": due_items.handle(seconds_left)}
        log.info("handled what is due", extra=result)
    metrics.emit()
    return result


def count_stopped_triggers() -> None:
    """Measure how many functions get nothing. A stream without a reader reports nothing by itself."""
    try:
        stopped = triggers.count_stopped()
    except Exception as error:  # any error: the alarm must start
        log.error("the triggers could not be looked at", extra=error_fields(error))
        stopped = 1
    metrics.gauge(Metric.STOPPED_TRIGGERS, stopped)


def settle_one(settler: Settler, record: dict[str, Any], seconds_left: float) -> str | None:
    """Settle a final part; return the number of its record if it must be delivered again."""
    number: str = record["dynamodb"]["SequenceNumber"]
    if seconds_left < _TIME_TO_SETTLE:
        return number
    try:
        part: ReplyPart = from_item(record["dynamodb"]["NewImage"])  # type: ignore[assignment]
        settler.settle(FinalPart.of(part))
    except Exception as error:  # any error: the others go on
        log.error("a final part could not be settled and is tried again", extra=error_fields(error))
        return number
    return None
