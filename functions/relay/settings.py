"""The configuration of each function, read once from its environment."""

import os
from collections.abc import Mapping
from typing import get_type_hints

_NO_TASK_OWNERS = "none"
"""The `task_owners` of a stack that ends no tasks; else they are the ARNs of whose tasks it ends."""


class SettingsError(Exception):
    """The environment lacks something; the text names the variable."""


class _Settings:
    """What every function needs. The annotations of a class, and of its bases, name its variables."""

    replies_table: str
    overflow_bucket: str

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Read each setting from the variable of its name in capitals. Raise SettingsError."""
        for name, kind in get_type_hints(type(self)).items():
            variable = name.upper()
            text = environ.get(variable, "").strip()
            if not text:
                raise SettingsError(f"environment variable {variable} is not set")
            if kind is int and not text.isdecimal():
                raise SettingsError(f"environment variable {variable} must be a whole number")
            setattr(self, name, kind(text))


class _TaskSettings(_Settings):
    """What a function needs that deals with `reply_to_task`."""

    task_owners: str

    @property
    def ends_tasks(self) -> bool:
        """Tell whether the stack ends tasks that wait for a message."""
        return self.task_owners != _NO_TASK_OWNERS


class CallbackSettings(_Settings):
    """What callback needs."""

    metrics_namespace: str
    bot_secret_prefix: str
    keep_days: int
    spill_queue_url: str


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


class SettleSettings(_Settings):
    """What settle needs."""

    metrics_namespace: str
    messages_table: str
    push_queue_url: str
    answer_deadline_seconds: int
    max_resends: int
    trigger_sources: str


class PublishSettings(_TaskSettings):
    """What publish needs."""

    metrics_namespace: str
    messages_table: str
    event_bus_name: str
    stack_name: str
