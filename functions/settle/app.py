"""settle: marks the messages that a final part answers."""

import logging
from typing import Any

from relay.describe import describe
from relay.edge.clients import client
from relay.edge.ledger import Ledger
from relay.edge.queues import Unsettled
from relay.edge.replies import Replies
from relay.edge.table import from_item
from relay.rules.settling import Final
from relay.settings import SettleSettings
from relay.settle import Settler

log = logging.getLogger(__name__)

settings = SettleSettings.from_env()
dynamodb = client("dynamodb")
settler = Settler(
    ledger=Ledger(dynamodb, settings.messages_table),
    replies=Replies(dynamodb, settings.replies_table),
    unsettled=Unsettled(client("sqs"), settings.unsettled_queue_url),
    answer_deadline=settings.answer_deadline,
)


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Settles the final parts of a batch of RepliesTable's stream, or of UnsettledQueue."""
    failed = []
    for record in event["Records"]:
        from_stream = "dynamodb" in record
        try:
            if from_stream:
                settler.settle(Final.of(from_item(record["dynamodb"]["NewImage"])))
            else:
                settler.settle(*Unsettled.read(record["body"]))
        except Exception as error:  # whatever it is, the others go on
            log.error("not settled, will be tried again", extra=describe(error))
            failed.append(record["dynamodb"]["SequenceNumber"] if from_stream else record["messageId"])
    return {"batchItemFailures": [{"itemIdentifier": one} for one in failed]}
