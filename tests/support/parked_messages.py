"""How a test gets a parked message."""

from typing import Any

from local.sample_bot import Answer
from relay import SentMessage
from relay.domain.record import MessageRecord
from support.deployed import Talk

UNPARSED = Answer(400, {"code": 40001, "data": None, "msg": "failed to parse message: x"}, takes="key")
"""LangBot's answer to a message that it cannot read."""


def park(talk: Talk, text: str = "hello", **more: Any) -> tuple[SentMessage, MessageRecord]:
    """Push a message that the bot cannot read; return it and its record."""
    talk.bot.answer_with(UNPARSED)
    sent = talk.push(text, **more)
    return sent, talk.deployed.state(sent, "parked")
