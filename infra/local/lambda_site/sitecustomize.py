"""Python imports this in each function's process of the local stack: it logs JSON there, as Lambda does.

Lambda's own runtime does so for a function whose LogFormat is JSON; the emulator has another runtime.
"""

import json
import logging

_STANDARD = vars(logging.makeLogRecord({})).keys()


class JsonFormatter(logging.Formatter):
    """Writes a record as Lambda does: the message, and each field of `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line as JSON, as Lambda writes it."""
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        line = {"level": record.levelname, "message": record.getMessage(), "logger": record.name, **extra}
        return json.dumps(line, default=str)


_handler = logging.StreamHandler()
_handler.setFormatter(JsonFormatter())
logging.basicConfig(level=logging.INFO, handlers=[_handler])
# The emulator waits 50 ms for the first line of an invocation, and callback has no other line.
logging.getLogger("callback").setLevel(logging.DEBUG)
