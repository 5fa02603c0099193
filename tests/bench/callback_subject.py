"""callback as Lambda runs it, warm: its handler, a part an invocation."""

import logging
import sys
from typing import Any

from awslambdaric.lambda_runtime_log_utils import JsonFormatter

from bench.lambda_events import Context, callback_event
from callback.app import handler


class Subject:
    """See bench.subject."""

    def __init__(self) -> None:
        log = logging.StreamHandler(sys.stdout)
        log.setFormatter(JsonFormatter())
        logging.basicConfig(level=logging.INFO, handlers=[log])

    def prepare(self, count: int) -> list[Any]:
        """Return events."""
        return [callback_event() for _ in range(count)]

    def run(self, given: Any) -> None:
        """Receive a part."""
        if handler(given, Context)["statusCode"] != 200:
            raise RuntimeError("a part was not stored")

    def clean(self) -> None:
        """Leave the parts."""
