"""How many messages a second ten functions deliver together, by push's own code and the emulator's tables."""

import heapq
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from bench.quick_bot import quick_bots
from bench.table import Line
from push.dispatcher import Dispatcher
from relay.domain.message import QueuedMessage
from support.deployed import IN, OUT, Deployed, Talk
from support.queued_messages import again, queued
from support.workers import Workers

FUNCTIONS = 10
"""PushMaximumConcurrency by default."""


class Queue:
    """PushQueue and its event source mapping: of each session the first message, when it is visible."""

    def __init__(self, messages: list[QueuedMessage]) -> None:
        self._visible = [(0.0, number, message) for number, message in enumerate(messages)]
        self._changed = threading.Condition()
        self._left = len(messages)

    def work(self, dispatcher: Dispatcher) -> None:
        """Deliver messages until there are none."""
        while taken := self._take():
            _, number, message = taken
            visible_at: list[float] = []
            hide = _Hides(visible_at)
            stays = replace(dispatcher, message_queue=hide).deliver(message, lambda: 80)  # type: ignore[arg-type]
            with self._changed:
                self._left -= not stays
                if stays:
                    heapq.heappush(self._visible, (visible_at[0], number, again(message)))
                self._changed.notify_all()

    def _take(self) -> tuple[float, int, QueuedMessage] | None:
        with self._changed:
            while self._left:
                if self._visible and self._visible[0][0] <= time.monotonic():
                    return heapq.heappop(self._visible)
                until = self._visible[0][0] - time.monotonic() if self._visible else None
                self._changed.wait(until)
        return None


@dataclass(frozen=True)
class _Hides:
    visible_at: list[float] = field(default_factory=list)

    def set_visibility(self, _: QueuedMessage, seconds: int) -> None:
        self.visible_at.append(time.monotonic() + seconds)


def throughput_lines(deployed: Deployed) -> Iterator[Line]:
    """Measure line 4: ten bots of 50 ms, and one bot of a second. Each message has a session of its own."""
    with quick_bots() as url:

        def line(line_id: str, bots: int, delay: int, messages: int, bound: float) -> Line:
            names = [f"many-{delay}-{number}" for number in range(bots)]
            for name in names:
                deployed.local.connect(f"{url}{delay}", IN, OUT, bot=name)
            talks = [Talk(deployed, None, names[n % bots], f"s-{n}") for n in range(messages)]  # type: ignore[arg-type]
            queue = Queue([queued(talk, "SILENT") for talk in talks])
            workers = [Workers(deployed).dispatcher() for _ in range(FUNCTIONS)]
            threads = [threading.Thread(target=queue.work, args=(worker,)) for worker in workers]
            began = time.monotonic()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            rate = messages / (time.monotonic() - began)
            what = f"messages a second, {bots} x a bot of {delay} ms"
            return Line(line_id, what, rate, bound, rate / bound, 0.8, at_least=True)

        yield line("4a", 10, 50, 300, FUNCTIONS / 0.05)
        # A bot has four leases.
        yield line("4b", 1, 1000, 40, 4.0)
