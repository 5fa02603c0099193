"""Waiting for something to happen."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T | None], within: float = 180, what: str = "what the test waits for") -> T:
    """Return the first true value of `look`; fail after so many seconds.

    At most a third of the time is spent on looking, which keeps the stack from what the test waits for.
    """
    deadline = time.monotonic() + within
    while True:
        began = time.monotonic()
        if found := look():
            return found
        ended = time.monotonic()
        assert ended < deadline, f"{what} did not come within {within} s"
        time.sleep(max(0.05, 2 * (ended - began)))
