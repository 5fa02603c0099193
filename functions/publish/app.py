"""publish: publishes on the event bus what the streams of both tables show."""

from typing import Any

import relay.cold_start
from publish.publisher import EventPublisher, StreamRecord
from relay.adapters.aws import client, lazy_client
from relay.adapters.dynamodb import Table, from_item
from relay.adapters.event_bus import EventBus
from relay.adapters.messages_table import MessagesTable
from relay.adapters.overflow_bucket import OverflowBucket
from relay.adapters.replies_table import RepliesTable
from relay.adapters.workflow_tasks import WorkflowTasks
from relay.metrics import Metrics
from relay.settings import PublishSettings

settings = PublishSettings.from_env()
metrics = Metrics(settings.metrics_namespace)
dynamodb = client("dynamodb")
bucket = OverflowBucket(lazy_client(lambda: client("s3")), settings.overflow_bucket)
tasks = WorkflowTasks(lazy_client(lambda: client("stepfunctions")))
publisher = EventPublisher(
    messages_table=MessagesTable(Table(dynamodb, settings.messages_table), bucket),
    replies_table=RepliesTable(Table(dynamodb, settings.replies_table), bucket),
    event_bus=EventBus(client("events"), settings.event_bus_name, settings.stack_name),
    metrics=metrics,
    tasks=tasks if settings.ends_tasks else None,
)
relay.cold_start.end()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Publish a batch of a table's stream, and report what must be delivered again."""
    try:
        failed = publisher.publish(
            map(stream_record, event["Records"]),
            seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
        )
    finally:
        metrics.emit()
    return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}


def stream_record(record: dict[str, Any]) -> StreamRecord:
    """Read a record of a table's stream."""
    change = record["dynamodb"]
    return StreamRecord(
        number=change["SequenceNumber"],
        old=from_item(change.get("OldImage", {})),
        new=from_item(change.get("NewImage", {})),
        changed_at=change["ApproximateCreationDateTime"],
    )
