"""What the relay takes from the machine that it runs on: time, chance and threads.

The simulator puts an Environment of its world in place of `current`.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from relay.domain.timestamps import Clock

Result = TypeVar("Result")

_threads = ThreadPoolExecutor(max_workers=32)


@dataclass(frozen=True)
class Environment:
    """The machine."""

    clock: Clock = time.time
    monotonic: Clock = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random_bytes: Callable[[int], bytes] = os.urandom
    submit: Callable[[Callable[[], Any]], Any] = _threads.submit


current = Environment()


def now() -> float:
    """Return the time in Unix seconds."""
    return current.clock()


def monotonic() -> float:
    """Return the seconds since some moment, on a clock that is never set."""
    return current.monotonic()


def sleep(seconds: float) -> None:
    """Wait for so long."""
    current.sleep(seconds)


def random_hex(length: int = 16) -> str:
    """Return so many random bytes as hexadecimal text: an id that cannot be guessed."""
    return current.random_bytes(length).hex()


def chance() -> float:
    """Return a random number from 0 to 1."""
    return current.random_bytes(1)[0] / 255


def submit(call: Callable[[], Result]) -> Future[Result]:
    """Run a call in a thread. One that was given up keeps its thread until it returns."""
    running: Future[Result] = current.submit(call)
    return running
