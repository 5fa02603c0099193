"""tell: tells on the event bus what the streams of both tables show."""

from typing import Any

from relay.edge.bus import Bus
from relay.edge.clients import client
from relay.edge.ledger import Ledger
from relay.edge.replies import Replies
from relay.edge.table import from_item
from relay.settings import TellSettings
from relay.tell import Change, Teller

settings = TellSettings.from_env()
dynamodb = client("dynamodb")
teller = Teller(
    ledger=Ledger(dynamodb, settings.messages_table),
    replies=Replies(dynamodb, settings.replies_table, client("s3"), settings.overflow_bucket),
    bus=Bus(client("events"), settings.event_bus_name, settings.stack_name),
)


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Tells of a batch of a table's stream, and reports what must come again."""
    again = teller.tell(map(change, event["Records"]))
    return {"batchItemFailures": [{"itemIdentifier": number} for number in again]}


def change(record: dict[str, Any]) -> Change:
    """A record of a table's stream."""
    made = record["dynamodb"]
    return Change(
        number=made["SequenceNumber"],
        old=from_item(made.get("OldImage", {})),
        new=from_item(made.get("NewImage", {})),
        at=made["ApproximateCreationDateTime"],
    )
