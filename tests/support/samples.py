"""Values of the domain, each made of defaults and of the fields that a test gives."""

import json
from dataclasses import replace
from typing import Any, cast
from zoneinfo import ZoneInfo

from relay.domain.attempt import Attempt, AttemptHistory, Delivery, Outcome
from relay.domain.bot import Bot
from relay.domain.message import QueuedMessage, parse_message
from relay.domain.part import ReplyPart, VerifiedCallback, parse_part, reply_part
from relay.domain.record import MessageRecord
from relay.domain.states import State
from relay.domain.timestamps import utc_text

NOW = 1_795_352_448.0
"""2026-11-22T13:00:48Z."""

SESSION, MESSAGE_KEY = "default#s-1", f"{18_894:039}"


def queued_message(text: str = "private words", **fields: Any) -> QueuedMessage:
    """Make a message as SQS delivers it at NOW, five seconds after it was queued."""
    sample = QueuedMessage(
        message_id="id-1",
        body=json.dumps({"session_id": "s-1", "text": text}),
        group_id=SESSION,
        sequence_number="18894",
        receive_count=1,
        queued_at=NOW - 5,
        receipt_handle="receipt",
    )
    return replace(sample, **fields)


def delivery(history: AttemptHistory | None = None, **fields: Any) -> Delivery:
    """Make the delivery of a queued message with these fields."""
    queued = queued_message(**fields)
    return Delivery(queued, parse_message(queued.body), history or AttemptHistory())


def attempt(of: Delivery, outcome: Outcome, expects_reply: bool = True) -> Attempt:
    """Make an attempt of a delivery that came to `outcome`."""
    assert of.message is not None
    return Attempt(of.message, Bot(of.message.bot), expects_reply, outcome)


def message_record(**fields: Any) -> MessageRecord:
    """Make the record of a message that was delivered at NOW."""
    sample: MessageRecord = {
        "session": SESSION,
        "message": MESSAGE_KEY,
        "message_id": "id-1",
        "bot": "default",
        "session_id": "s-1",
        "action": "push",
        "state": State.DELIVERED,
        "attempts": 1,
        "body": "private words",
        "queued_at": utc_text(NOW - 5),
        "queued_on": utc_text(NOW - 5)[:10],
        "delivered_at": utc_text(NOW),
        "updated_at": utc_text(NOW),
        "expires_at": int(NOW) + 86_400,
    }
    return cast(MessageRecord, {**sample, **fields})


def received_part(raw: bytes, signed_at: float = NOW, zone: ZoneInfo | None = None) -> ReplyPart:
    """Make the item of a part that was received one second after NOW and is kept for 90 days."""
    callback = VerifiedCallback("default", raw, signed_at, NOW + 1, zone)
    return reply_part(callback, parse_part(raw), keep_days=90)
