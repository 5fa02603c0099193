"""sweep: finds the messages that nobody has answered in time."""

import logging
from typing import Any

from relay.edge.clients import client
from relay.edge.ledger import Ledger
from relay.edge.replies import Replies
from relay.settings import SweepSettings
from relay.settle import Sweeper

log = logging.getLogger(__name__)

settings = SweepSettings.from_env()
dynamodb = client("dynamodb")
sweeper = Sweeper(
    ledger=Ledger(dynamodb, settings.messages_table),
    replies=Replies(dynamodb, settings.replies_table),
)


def handler(_event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Marks what is overdue; runs each minute."""
    unanswered = sweeper.sweep()
    log.info("swept", extra={"unanswered": unanswered})
    return {"unanswered": unanswered}
