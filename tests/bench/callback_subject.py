"""callback as Lambda runs it, warm: its handler, a part an invocation."""

from typing import Any

from bench.lambda_events import Context, callback_event, log_as_on_lambda
from callback.app import handler


class Subject:
    """See bench.subject."""

    def __init__(self) -> None:
        log_as_on_lambda()

    def prepare(self, count: int) -> list[Any]:
        """Return events."""
        return [callback_event() for _ in range(count)]

    def run(self, given: Any) -> None:
        """Receive a part."""
        if handler(given, Context)["statusCode"] != 200:
            raise RuntimeError("a part was not stored")

    def clean(self) -> None:
        """Leave the parts."""
