"""push as Lambda runs it, warm: its handler, a message an invocation."""

import os
from typing import Any

from bench.lambda_events import Context, log_as_on_lambda, push_event
from bench.measured_items import delete_all
from push.app import handler


class Subject:
    """See bench.subject."""

    def __init__(self) -> None:
        log_as_on_lambda()

    def prepare(self, count: int) -> list[Any]:
        """Return events."""
        return [push_event() for _ in range(count)]

    def run(self, given: Any) -> None:
        """Deliver a message."""
        if handler(given, Context)["batchItemFailures"]:
            raise RuntimeError("a message was not delivered")

    def clean(self) -> None:
        """Delete the records, or the bot would be full."""
        delete_all(os.environ["MESSAGES_TABLE"], "message")
