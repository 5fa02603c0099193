"""PushQueue: sends messages."""

import json
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack
from uuid import uuid4

from relay.client.stack import Stack
from relay.domain.bot import Bot
from relay.domain.keys import group_id
from relay.domain.message import MAX_QUEUED_BYTES, Action, Message, parse_message, request_for, session_body
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
        self._url = stack.push_queue_url
        self._sqs = stack.client("sqs")

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
        try:
            body = json.dumps({k: v for k, v in given.items() if v is not None}, ensure_ascii=False)
            size = len(body.encode())
        except UnicodeEncodeError:
            raise InvalidMessage("a text holds a lone surrogate") from None
        message = parse_message(body)
        request_for(message, Bot(message.bot))
        if size > MAX_QUEUED_BYTES:
            raise InvalidMessage(f"the message is {size} bytes; SQS takes {MAX_QUEUED_BYTES}")
        return self._send(message, body, deduplication_id or uuid4().hex)

    def resend(self, message: Message, original: str) -> SentMessage:
        """Send the message whose key is `original` again; push takes its body from its record.

        Raise botocore's errors.
        """
        attribute = {"DataType": "String", "StringValue": original}
        body = session_body(message.bot, message.session_id)
        # Whoever can send to the queue could use up an id that can be guessed.
        return self._send(message, body, uuid4().hex, MessageAttributes={"resend_of": attribute})

    def _send(self, message: Message, body: str, deduplication_id: str, **more: Any) -> SentMessage:
        response = self._sqs.send_message(
            QueueUrl=self._url,
            MessageBody=body,
            MessageGroupId=group_id(message.session),
            MessageDeduplicationId=deduplication_id,
            **more,
        )
        return SentMessage(message.bot, message.session_id, response["MessageId"], response["SequenceNumber"])
