"""sweep: handles the messages that nothing has answered in time; runs each minute."""

import logging
from typing import Any

import relay.cold_start
from relay.adapters.admission_control import AdmissionControl
from relay.adapters.aws import LazyClient, client
from relay.adapters.bot_registry import BotRegistry
from relay.adapters.dynamodb import Table
from relay.adapters.langbot import LangBotClient
from relay.adapters.messages_table import MessagesTable
from relay.adapters.overflow_bucket import OverflowBucket
from relay.adapters.replies_table import RepliesTable
from relay.metrics import Metrics
from relay.sender import Sender
from relay.settings import SweepSettings
from sweep.sweeper import Sweeper

log = logging.getLogger(__name__)

settings = SweepSettings.from_env()
metrics = Metrics(settings.metrics_namespace)
dynamodb = client("dynamodb")
bucket = OverflowBucket(LazyClient(lambda: client("s3")), settings.overflow_bucket)
messages = Table(dynamodb, settings.messages_table)
sweeper = Sweeper(
    messages_table=MessagesTable(messages, bucket),
    replies_table=RepliesTable(Table(dynamodb, settings.replies_table), bucket),
    sender=Sender(
        BotRegistry(LazyClient(lambda: client("secretsmanager")), settings.bot_secret_prefix),
        LangBotClient(),
        AdmissionControl(messages, settings.max_in_flight, settings.answer_deadline_seconds),
    ),
    max_resends=settings.max_resends,
    answer_deadline=settings.answer_deadline_seconds,
    metrics=metrics,
)
relay.cold_start.end()


def handler(_event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Mark what is overdue, or send it again."""
    unanswered = sweeper.sweep(seconds_left=lambda: context.get_remaining_time_in_millis() / 1000)
    metrics.emit()
    log.info("swept", extra={"unanswered": unanswered})
    return {"unanswered": unanswered}
