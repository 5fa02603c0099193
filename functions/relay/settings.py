"""What the functions are told by their environment, read once."""

import os
from collections.abc import Mapping
from dataclasses import Field, dataclass
from typing import Any, ClassVar, Self


class SettingsError(Exception):
    """The environment lacks something; the text names the variable."""


class _FromEnvironment:
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Reads each field from the variable of its name in capitals. Raises SettingsError."""
        values: dict[str, str | int] = {}
        for name, kind in cls.__dataclass_fields__.items():
            variable = name.upper()
            text = environ.get(variable, "").strip()
            if not text:
                raise SettingsError(f"environment variable {variable} is not set")
            if kind.type is int and not text.isdecimal():
                raise SettingsError(f"environment variable {variable} must be a whole number")
            values[name] = int(text) if kind.type is int else text
        return cls(**values)


@dataclass(frozen=True)
class CallbackSettings(_FromEnvironment):
    """What callback needs."""

    bot_secret_prefix: str
    replies_table: str
    overflow_bucket: str
    keep_days: int
    spill_queue_url: str


@dataclass(frozen=True)
class _SendingSettings(_FromEnvironment):
    """What a function that sends messages to bots needs; `answer_deadline` in seconds."""

    bot_secret_prefix: str
    messages_table: str
    replies_table: str
    overflow_bucket: str
    answer_deadline: int
    max_awaiting: int


@dataclass(frozen=True)
class PushSettings(_SendingSettings):
    """What push needs; `retry_for` in seconds."""

    push_queue_url: str
    parked_queue_url: str
    retry_for: int
    keep_days: int


@dataclass(frozen=True)
class SweepSettings(_SendingSettings):
    """What sweep needs."""

    resend_unanswered: int


@dataclass(frozen=True)
class SettleSettings(_FromEnvironment):
    """What settle needs; `answer_deadline` in seconds."""

    messages_table: str
    replies_table: str
    unsettled_queue_url: str
    answer_deadline: int


@dataclass(frozen=True)
class TellSettings(_FromEnvironment):
    """What tell needs."""

    messages_table: str
    replies_table: str
    overflow_bucket: str
    event_bus_name: str
    stack_name: str
