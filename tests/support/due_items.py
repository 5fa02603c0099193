"""What the deployed settle does each minute, done when a test wants it."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from relay import SentMessage
from relay.domain.record import MessageRecord
from relay.domain.timestamps import utc_text
from support.deployed import Deployed, Talk


def handle_due(talk: Talk) -> Any:
    """Invoke the deployed function and return its result."""
    name = talk.deployed.physical_id("SettleFunction")
    response = talk.deployed.client("lambda").invoke(FunctionName=name)
    payload = response["Payload"].read()
    assert "FunctionError" not in response, payload
    return json.loads(payload)


@contextmanager
def no_schedule(deployed: Deployed) -> Iterator[None]:
    """Switch off the schedule, which would handle what tests make overdue."""
    events, rule = deployed.client("events"), deployed.physical_id("SettleFunctionEachMinute")
    events.disable_rule(Name=rule)
    try:
        yield
    finally:
        events.enable_rule(Name=rule)


def make_overdue(talk: Talk, sent: SentMessage) -> MessageRecord:
    """Make the deadline of a delivered message one that has just passed; return its record of before."""
    record = talk.deployed.state(sent, "delivered")
    set_attribute(talk, record, "due_at", utc_text(time.time()))
    return record


def set_attribute(talk: Talk, record: MessageRecord, name: str, value: str) -> None:
    """Set a text attribute of a record."""
    talk.deployed.client("dynamodb").update_item(
        TableName=talk.deployed.stack.messages_table,
        Key={"session": {"S": record["session"]}, "message": {"S": record["message"]}},
        UpdateExpression=f"SET {name} = :value",
        ExpressionAttributeValues={":value": {"S": value}},
    )
