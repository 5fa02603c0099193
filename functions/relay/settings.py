"""The configuration of each function, read once from its environment."""

import os
from collections.abc import Mapping
from dataclasses import Field, dataclass
from typing import Any, ClassVar, Self

_NO_TASK_OWNERS = "none"
"""The `task_owners` of a stack that ends no tasks; else they are the ARNs of whose tasks it ends."""


class SettingsError(Exception):
    """The environment lacks something; the text names the variable."""


class _FromEnvironment:
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read each field from the variable of its name in capitals. Raise SettingsError."""
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
class _Settings(_FromEnvironment):
    """What every function needs."""

    replies_table: str
    overflow_bucket: str


@dataclass(frozen=True)
class _TaskSettings(_Settings):
    """What a function needs that deals with `reply_to_task`."""

    task_owners: str

    @property
    def ends_tasks(self) -> bool:
        """Tell whether the stack ends tasks that wait for a message."""
        return self.task_owners != _NO_TASK_OWNERS


@dataclass(frozen=True)
class CallbackSettings(_Settings):
    """What callback needs."""

    metrics_namespace: str
    bot_secret_prefix: str
    keep_days: int
    spill_queue_url: str


@dataclass(frozen=True)
class PushSettings(_TaskSettings):
    """What push needs."""

    metrics_namespace: str
    bot_secret_prefix: str
    messages_table: str
    answer_deadline_seconds: int
    max_in_flight: int
    push_queue_url: str
    push_maximum_concurrency: int
    retry_for_seconds: int
    keep_days: int


@dataclass(frozen=True)
class SettleSettings(_Settings):
    """What settle needs."""

    metrics_namespace: str
    messages_table: str
    push_queue_url: str
    answer_deadline_seconds: int
    max_resends: int
    trigger_sources: str


@dataclass(frozen=True)
class PublishSettings(_TaskSettings):
    """What publish needs."""

    metrics_namespace: str
    messages_table: str
    event_bus_name: str
    stack_name: str
