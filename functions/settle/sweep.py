"""sweep: sees to the messages that nobody has answered in time."""

import logging
from typing import Any

from relay.edge.bots import Bots
from relay.edge.clients import client
from relay.edge.gate import Gate
from relay.edge.langbot import LangBot
from relay.edge.ledger import Ledger
from relay.edge.replies import Replies
from relay.send import Sender
from relay.settings import SweepSettings
from relay.sweep import Sweeper

log = logging.getLogger(__name__)

settings = SweepSettings.from_env()
dynamodb = client("dynamodb")
sweeper = Sweeper(
    ledger=Ledger(dynamodb, settings.messages_table, client("s3"), settings.overflow_bucket),
    replies=Replies(dynamodb, settings.replies_table),
    sender=Sender(
        Bots(client("secretsmanager"), settings.bot_secret_prefix),
        LangBot(),
        Gate(dynamodb, settings.messages_table, settings.max_awaiting, settings.answer_deadline),
    ),
    resend_unanswered=settings.resend_unanswered,
    answer_deadline=settings.answer_deadline,
)


def handler(_event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Marks what is overdue, or sends it again; runs each minute."""
    unanswered = sweeper.sweep(seconds_left=lambda: context.get_remaining_time_in_millis() / 1000)
    log.info("swept", extra={"unanswered": unanswered})
    return {"unanswered": unanswered}
