"""PushQueue: sends messages."""

import json
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

from relay.adapters.queue_size import MAX_QUEUED_BYTES
from relay.client.stack import Stack
from relay.domain.bot import Bot
from relay.domain.message import Action, Message, parse_message, request_for
from relay.domain.segments import Segment
from relay.errors import InvalidMessage


class MessageFields(TypedDict, total=False):
    """What a message may hold beside its session and text; relay/domain/message.schema.json has all."""

    message: list[Segment] | None
    bot: str
    action: Action
    session_type: str | None
    sender: dict[str, str] | None
    expect_reply: bool | None
    context: dict[str, Any] | None
    reply_to_task: str | None


@dataclass(frozen=True)
class SentMessage:
    """A message that is on the push queue; with the session this names its record."""

    bot: str
    session_id: str
    message_id: str
    sequence_number: str


class PushQueue:
    """The push queue of a stack."""

    def __init__(self, stack: Stack) -> None:
        self._queue = stack.open_message_queue()

    def push(
        self,
        session_id: str,
        text: str | None = None,
        *,
        deduplication_id: str | None = None,
        **fields: Unpack[MessageFields],
    ) -> SentMessage:
        """Send a message as the session's next: a text, or LangBot's segments as `message`.

        The same text twice is two messages. With a `deduplication_id` of yours, a repetition within five
        minutes is the same message. Raise InvalidMessage, which names the field, and botocore's errors.
        """
        given = {"session_id": session_id, "text": text, **fields}
        body = json.dumps({k: v for k, v in given.items() if v is not None}, ensure_ascii=False)
        return self.push_json(body, deduplication_id)

    def push_json(self, body: str, deduplication_id: str | None = None) -> SentMessage:
        """Send a message that is given as JSON, as `push` does."""
        message = self.check(body)
        sent = self._queue.send(message.session, body, deduplication_id or "")
        return SentMessage(message.bot, message.session_id, sent.message_id, sent.sequence_number)

    @staticmethod
    def check(body: str) -> Message:
        """Return the message in a body that SQS takes and LangBot accepts. Raise InvalidMessage."""
        try:
            size = len(body.encode())
        except UnicodeEncodeError:
            raise InvalidMessage("a text holds a lone surrogate") from None
        message = parse_message(body)
        request_for(message, Bot(message.bot))
        if size > MAX_QUEUED_BYTES:
            raise InvalidMessage(f"the message is {size} bytes; SQS takes {MAX_QUEUED_BYTES}")
        return message
