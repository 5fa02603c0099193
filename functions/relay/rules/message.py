"""A message on the push queue: what is valid, and what the bot is sent for it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from relay.rules import strict_json
from relay.rules.segments import Segment

MAX_REQUEST = 1 << 20
"""Bytes above which LangBot answers 413."""

Action = Literal["push", "sync", "reset"]


class InvalidMessage(ValueError):
    """Nothing that a bot could be sent; the text names the field and the fault, never a value."""


@dataclass(frozen=True)
class Message:
    """A valid message with its defaults filled in; `session_type` is None where the bot decides."""

    bot: str
    session_id: str
    action: Action
    segments: list[Segment]
    session_type: str | None
    sender: dict[str, str] | None
    expect_reply: bool | None

    @property
    def session(self) -> str:
        return session_key(self.bot, self.session_id)


def session_key(bot: str, session_id: str) -> str:
    """The partition key of a session, the same in both tables; a bot's name has no `#`."""
    return f"{bot}#{session_id}"


@cache
def schema_check(name: str) -> Callable[[Any], Any]:
    """The compiled check of the schema file `name` beside this module."""
    import fastjsonschema

    schema = json.loads(Path(__file__).with_name(name).read_text("utf-8"))
    return cast(Callable[[Any], Any], fastjsonschema.compile(schema, use_default=False))


def schema_fault(name: str, value: Any) -> str | None:
    """The first fault of `value` by the schema file `name`, naming the field, or None."""
    from fastjsonschema import JsonSchemaValueException

    try:
        schema_check(name)(value)
    except JsonSchemaValueException as fault:
        match fault.rule:
            case "required":
                missing = next(key for key in fault.rule_definition if key not in fault.value)
                return f"{fault.name}.{missing} is required".removeprefix("data.")
            case "oneOf":
                return "give either message or text"
            case _:
                return str(fault.message).removeprefix("data.").replace("data must", "it must", 1)
    return None


def parse(body: str) -> Message:
    """The message in the body of an SQS message. Raises InvalidMessage."""
    try:
        fields = strict_json.loads(body)
    except strict_json.Malformed as fault:
        raise InvalidMessage(str(fault)) from None
    if wrong := schema_fault("message.schema.json", fields):
        raise InvalidMessage(wrong)
    text = fields.get("text")
    return Message(
        bot=fields.get("bot", "default"),
        session_id=fields["session_id"],
        action=fields.get("action", "push"),
        segments=fields.get("message", []) if text is None else [{"type": "Plain", "text": text}],
        session_type=fields.get("session_type"),
        sender=fields.get("sender"),
        expect_reply=fields.get("expect_reply"),
    )


def request_body(message: Message, bots_session_type: str | None) -> bytes:
    """What is posted to the bot for `message`. Raises InvalidMessage when LangBot takes no more."""
    fields: dict[str, Any] = {"session_id": message.session_id}
    if message.action != "reset":
        fields["message"] = message.segments
    if session_type := message.session_type or bots_session_type:
        fields["session_type"] = session_type
    if message.sender is not None:
        fields["sender"] = message.sender
    body = json.dumps(fields, ensure_ascii=False).encode()
    if len(body) > MAX_REQUEST:
        raise InvalidMessage(f"the request would be {len(body)} bytes; LangBot takes {MAX_REQUEST}")
    return body


def expects_reply(message: Message, bots_session_type: str | None) -> bool:
    """Whether silence after `message` is a fault: LangBot answers in a group only when it is meant."""
    if message.action == "reset":
        return False
    if message.expect_reply is not None:
        return message.expect_reply
    return (message.session_type or bots_session_type) != "group"
