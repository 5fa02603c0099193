"""settle: marks the messages that a final part answers."""

import logging
from typing import Any

import relay.cold_start
from relay.adapters.aws import LazyClient, client
from relay.adapters.dynamodb import Table, from_item
from relay.adapters.messages_table import MessagesTable
from relay.adapters.overflow_bucket import OverflowBucket
from relay.adapters.recheck_queue import RecheckQueue
from relay.adapters.replies_table import RepliesTable
from relay.domain.part import ReplyPart
from relay.domain.settlement import FinalPart
from relay.log_fields import error_fields
from relay.metrics import Metrics
from relay.settings import SettleSettings
from settle.settler import Settler

log = logging.getLogger(__name__)

_TIME_TO_SETTLE = 12
"""Seconds that must be left to begin with a final part: a call to AWS that hangs ends within 11 s."""

settings = SettleSettings.from_env()
metrics = Metrics(settings.metrics_namespace)
dynamodb = client("dynamodb")
bucket = OverflowBucket(LazyClient(lambda: client("s3")), settings.overflow_bucket)
settler = Settler(
    messages_table=MessagesTable(Table(dynamodb, settings.messages_table), bucket),
    replies_table=RepliesTable(Table(dynamodb, settings.replies_table), bucket),
    recheck_queue=RecheckQueue(LazyClient(lambda: client("sqs")), settings.recheck_queue_url),
    answer_deadline=settings.answer_deadline_seconds,
    metrics=metrics,
)
relay.cold_start.end()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Settle the final parts of a batch of RepliesTable's stream, or of RecheckQueue.

    Those for which there is no time are delivered again.
    """
    failed = []
    for record in event["Records"]:
        from_stream = "dynamodb" in record
        number = record["dynamodb"]["SequenceNumber"] if from_stream else record["messageId"]
        if context.get_remaining_time_in_millis() < _TIME_TO_SETTLE * 1000:
            failed.append(number)
            continue
        try:
            if from_stream:
                settler.settle(final_part(record))
            else:
                settler.settle(*RecheckQueue.read(record["body"]))
        except Exception as error:  # any error: the others go on
            log.error("a final part could not be settled and is tried again", extra=error_fields(error))
            failed.append(number)
    metrics.emit()
    return {"batchItemFailures": [{"itemIdentifier": one} for one in failed]}


def final_part(record: dict[str, Any]) -> FinalPart:
    """Read a record of RepliesTable's stream."""
    part: ReplyPart = from_item(record["dynamodb"]["NewImage"])  # type: ignore[assignment]
    return FinalPart.of(part)
