"""Poller: polls what the pages show, once for all pages, and only while a page shows it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from starlette.concurrency import run_in_threadpool

from relay.domain.polling import until_next_look
from relay.log_fields import error_fields, error_text
from relay_console.view_item import ViewItem

log = logging.getLogger(__name__)

KEEP_ALIVE = 15
"""Seconds of silence after which a page is sent an empty change: so a page that is gone is noticed."""

Change = dict[str, Any]


class Source(Protocol):
    """Something that can be polled. It blocks, and is polled by one thread at a time."""

    busy_interval: float
    idle_interval: float
    """Seconds between two polls: just after a change, and long after it."""

    @property
    def has_more(self) -> bool:
        """Tell whether there is more to read at once."""

    def poll(self) -> dict[str, ViewItem]:
        """Read what is new; return all items by their ids."""


S = TypeVar("S", bound=Source)


class Poller(Generic[S]):
    """Polls one source in a single task while it has subscribers."""

    def __init__(self, source: S) -> None:
        self.source = source
        self._items: dict[str, ViewItem] = {}
        self._error: str | None = None
        self._version = 0
        """0 until the source was polled once."""
        self._changed = asyncio.Condition()
        self._wake = asyncio.Event()
        self._subscribers = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def has_subscribers(self) -> bool:
        """Tell whether a page watches."""
        return self._subscribers > 0

    def poll_now(self) -> None:
        """Poll at once: an operator has just changed something."""
        self._wake.set()

    async def subscribe(self) -> AsyncIterator[Change]:
        """Return all that there is, and then each change, without end."""
        self._subscribers += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        else:
            self.poll_now()
        sent: Mapping[str, ViewItem] = {}
        version = 0
        try:
            while True:
                if not await self._wait_for_version_after(version):
                    yield {}
                    continue
                first, version, items = version == 0, self._version, self._items
                yield difference(sent, items) | {"error": self._error, "reset": first}
                sent = items
        finally:
            self._subscribers -= 1

    async def _wait_for_version_after(self, version: int) -> bool:
        """Return False if there is none within KEEP_ALIVE seconds."""
        async with self._changed:
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    return await self._changed.wait_for(lambda: self._version > version)
            except TimeoutError:
                return False

    async def _run(self) -> None:
        changed_at = time.monotonic()
        while self._subscribers:
            self._wake.clear()
            items, failed = self._items, None
            try:
                items = await run_in_threadpool(self.source.poll)
            except Exception as error:
                # Of whatever kind it is: the page says so, and shows what is known until a poll succeeds.
                failed = error_text(error)
                log.warning("the stack cannot be read", extra=error_fields(error))
            if items != self._items or failed != self._error or not self._version:
                changed_at = time.monotonic()
                async with self._changed:
                    self._items, self._error = items, failed
                    self._version += 1
                    self._changed.notify_all()
            if not self.source.has_more or failed:
                busy, idle = self.source.busy_interval, self.source.idle_interval
                quiet = time.monotonic() - changed_at
                with suppress(TimeoutError):
                    async with asyncio.timeout(idle if failed else until_next_look(quiet, busy, idle)):
                        await self._wake.wait()


def difference(before: Mapping[str, ViewItem], after: Mapping[str, ViewItem]) -> Change:
    """Return the items that are new or changed, and the ids of those that are gone."""
    return {
        "set": [item for key, item in after.items() if before.get(key) != item],
        "gone": [key for key in before if key not in after],
    }
