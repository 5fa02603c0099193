"""A message on the push queue: which ones are valid, and what the bot is sent for one."""

import json
import re
from dataclasses import dataclass
from typing import Any, Literal, cast

from relay.domain import lenient_json, strict_json
from relay.domain.bot import BOT_NAME, Bot
from relay.domain.keys import session_key
from relay.domain.schemas import message_fault
from relay.domain.segments import Segment
from relay.errors import InvalidMessage

MAX_REQUEST_BYTES = 1 << 20
"""Bytes above which LangBot answers 413."""

_AT_BOT: Segment = {"type": "At", "target": "http_bot"}
# LangBot's default route takes a message to a group only with this segment (LangBot 4.11.2).

QUEUE_RETENTION = 14 * 86_400
"""Seconds after which SQS deletes a message without notice: PushQueue's MessageRetentionPeriod."""

RETENTION_MARGIN = 43_200
"""Seconds before that at which a message must be off the queue: longer than any message is invisible."""

MAX_CONTEXT_BYTES = 8 * 1024
"""Bytes of a message's context as JSON in UTF-8: an event holds it beside the largest reply."""

REDELIVERED_WITHIN = 900
"""Seconds within which SQS delivers a message again whose end is in its record: push died, or was throttled,
before the message was off the queue."""

LATE_AFTER = 1800
"""Seconds after which a message on the queue needs an operator. It may wait for AnswerDeadlineSeconds, by
default half of that, behind one that its bot does not answer."""

LEAVES_SOON = 86_400
"""Seconds before it must be off the queue from which on a message needs an operator, also during a pause."""

Action = Literal["push", "sync", "reset"]

_CARRIED = ("context", "reply_to_task")

_TASK = re.compile(r'("reply_to_task"\s*:\s*")(?:[^"\\]|\\.)*+("?)', re.DOTALL)

PATHS: dict[Action, str] = {"push": "", "sync": "/sync", "reset": "/reset"}
"""What follows the bot's URL."""


def leaves_queue_at(queued_at: float) -> float:
    """Return when a message must be off the queue, half a day before SQS deletes it (Unix seconds)."""
    return queued_at + QUEUE_RETENTION - RETENTION_MARGIN


def expiry_of_resent(expires_at: int) -> int:
    """Return when the record of a message that is resent may be deleted, if it was `expires_at` before.

    Its resend, which takes the body from it, can wait on the queue meanwhile. Both are in Unix seconds.
    """
    return expires_at + QUEUE_RETENTION


@dataclass(frozen=True)
class QueuedMessage:
    """A message as SQS delivers it; `queued_at` in Unix seconds.

    `resend_of` is the key of the message of its session that it sends again. Then `body` is a `session_body`
    until push has read that message's record, which also says its `original_message_id`, the SQS id of the
    message that was sent first, and of how many `resends` it is the last. With `reads_secret` it is sent with
    the bot's secret as it is now: it tests the connection.
    """

    message_id: str
    body: str
    group_id: str
    sequence_number: str
    receive_count: int
    queued_at: float
    receipt_handle: str
    resend_of: str | None = None
    resends: int = 0
    original_message_id: str | None = None
    reads_secret: bool = False

    def must_leave_at(self) -> float:
        """Return when it must be off the queue, in Unix seconds."""
        return leaves_queue_at(self.queued_at)

    def is_late(self, now: float, excused_until: float = 0) -> bool:
        """Tell whether it needs an operator if it still is on the queue at `now` (Unix seconds).

        A pause of its bot excuses what it waited before `excused_until`, until it must leave soon.
        """
        waited = now - max(self.queued_at, excused_until)
        return waited > LATE_AFTER or now > self.must_leave_at() - LEAVES_SOON


@dataclass(frozen=True)
class Message:
    """A valid message with its defaults filled in; if `session_type` is None, the bot's setting counts.

    `session` is its session's key in the tables. `context` is JSON text that only the sender's programs read.
    `reply_to_task` is the token of the task that waits for its reply, which is a secret of the sender.
    """

    bot: str
    session_id: str
    session: str
    action: Action
    segments: list[Segment]
    session_type: str | None
    sender: dict[str, str] | None
    expect_reply: bool | None
    context: str | None
    reply_to_task: str | None


@dataclass(frozen=True)
class Request:
    """What is posted to the bot for a message; `expects_reply` says that silence after it is a fault."""

    body: bytes
    expects_reply: bool


def parse_message(body: str) -> Message:
    """Return the message in the body of an SQS message. Raise InvalidMessage."""
    return _parse(body, {})


def session_body(bot: str, session_id: str) -> str:
    """Return the body of a message whose record has the rest: it is small for any message."""
    return json.dumps({"bot": bot, "session_id": session_id}, ensure_ascii=False)


def parse_session_body(body: str) -> Message:
    """Return a message that has only a bot and a session, from `session_body`. Raise InvalidMessage."""
    # A reset is the one action that needs no more.
    return _parse(body, {"action": "reset"})


def for_bot(body: str, bot: str) -> tuple[Message, str]:
    """Return the message in a body as one for another bot, and its body. Raise InvalidMessage."""
    message = _parse(body, {"bot": bot})
    return message, json.dumps(strict_json.loads(body) | {"bot": bot}, ensure_ascii=False)


def named_session(body: str) -> tuple[str, str] | None:
    """Return the bot and the session id that a body names, whether or not it is a valid message.

    The bot is "" if no bot can have its name. None if the body names no session.
    """
    fields = _lenient_fields(body)
    session_id, bot = fields.get("session_id"), fields.get("bot")
    if message_fault({"session_id": session_id, "action": "reset"}):
        return None
    name = "default" if bot is None else bot
    return (name if isinstance(name, str) and BOT_NAME.fullmatch(name) else ""), cast(str, session_id)


def carried(body: str, message: Message | None) -> dict[str, str]:
    """Return what a message carries for its sender's programs, by the names that its record has for it.

    If it is not valid, `message` is None, and what is valid by itself counts.
    """
    if message:
        found = {name: getattr(message, name) for name in _CARRIED}
    else:
        fields = _lenient_fields(body)
        found = {name: _valid_alone(name, fields.get(name)) for name in _CARRIED}
    return {name: value for name, value in found.items() if value is not None}


def _valid_alone(name: str, value: Any) -> str | None:
    try:
        message = _parse(json.dumps({"session_id": "-", "action": "reset", name: value}), {})
    except (InvalidMessage, RecursionError):
        return None
    found: str | None = getattr(message, name)
    return found


def without_task(body: str) -> str:
    """Return a body without the value of `reply_to_task`, to be shown to people; it need not be JSON."""
    return _TASK.sub(r"\1hidden\2", body)


def _lenient_fields(body: str) -> dict[str, Any]:
    """Return the fields of a body, whether or not it is a valid message; none if it is no JSON object."""
    try:
        fields, _ = lenient_json.loads(body.encode(errors="replace"))
    except strict_json.Malformed:
        return {}
    return fields if isinstance(fields, dict) else {}


def _parse(body: str, more: dict[str, Any]) -> Message:
    try:
        fields = strict_json.loads(body)
    except strict_json.Malformed as fault:
        raise InvalidMessage(str(fault)) from None
    fields = _without_nulls(fields)
    if looks_like := _other_format(fields):
        raise InvalidMessage(f"it is no message, but looks like {looks_like}")
    if isinstance(fields, dict):
        fields |= more
    if wrong := message_fault(fields):
        raise InvalidMessage(wrong)
    bot, text = fields.get("bot", "default"), fields.get("text")
    return Message(
        bot=bot,
        session_id=fields["session_id"],
        session=session_key(bot, fields["session_id"]),
        action=fields.get("action", "push"),
        segments=fields.get("message", []) if text is None else [{"type": "Plain", "text": text}],
        session_type=fields.get("session_type"),
        sender=fields.get("sender"),
        expect_reply=fields.get("expect_reply"),
        context=_context_text(fields["context"]) if "context" in fields else None,
        reply_to_task=fields.get("reply_to_task"),
    )


def _context_text(context: dict[str, Any]) -> str:
    text = json.dumps(context, ensure_ascii=False)
    if (size := len(text.encode())) > MAX_CONTEXT_BYTES:
        raise InvalidMessage(f"context is {size} bytes as JSON; a message may carry {MAX_CONTEXT_BYTES}")
    return text


def _other_format(fields: Any) -> str | None:
    """Return which known format a body has in place of a message's, and how to send the message itself."""
    match fields:
        case {"Type": "Notification", "TopicArn": _, "Message": _}:
            return "an envelope of SNS: turn on raw message delivery for the subscription"
        case [str(kind), {"s3BucketName": _, "s3Key": _}] if "PayloadS3Pointer" in kind:
            return "a pointer to S3 of SQS's Extended Client Library, which the relay does not follow"
    return None


def _without_nulls(fields: Any) -> Any:
    """Leave out what is null: many serializers write null for a field that is not set."""
    if not isinstance(fields, dict):
        return fields
    given = {name: value for name, value in fields.items() if value is not None}
    if isinstance(sender := given.get("sender"), dict):
        given["sender"] = {name: value for name, value in sender.items() if value is not None}
    return given


def request_for(message: Message, bot: Bot) -> Request:
    """Return what is posted to the bot for `message`.

    Raise InvalidMessage if it is too large, or if a task waits for a reply that nothing promises.
    """
    fields: dict[str, Any] = {"session_id": message.session_id}
    session_type = message.session_type or bot.session_type
    if message.action != "reset":
        addressed = bot.group_at and session_type == "group" and _AT_BOT not in message.segments
        fields["message"] = [_AT_BOT, *message.segments] if addressed else message.segments
    if session_type:
        fields["session_type"] = session_type
    if message.sender is not None:
        fields["sender"] = message.sender
    body = json.dumps(fields, ensure_ascii=False).encode()
    if len(body) > MAX_REQUEST_BYTES:
        raise InvalidMessage(f"the request would be {len(body)} bytes; LangBot takes {MAX_REQUEST_BYTES}")
    expects_reply = _expects_reply(message, session_type)
    if message.reply_to_task and not expects_reply:
        raise InvalidMessage("reply_to_task needs a message that expects a reply: set expect_reply to true")
    return Request(body, expects_reply)


def _expects_reply(message: Message, session_type: str | None) -> bool:
    # In a group LangBot replies only if it is addressed.
    if message.action == "reset":
        return False
    return session_type != "group" if message.expect_reply is None else message.expect_reply
