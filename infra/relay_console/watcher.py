"""Watcher: reads what the pages show, once for all pages, and only while one shows it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from starlette.concurrency import run_in_threadpool

from relay import Stack
from relay.log_fields import error_fields, error_text
from relay_console.overview import Overview
from relay_console.session_feed import SessionFeed
from relay_console.views import Item

log = logging.getLogger(__name__)

BUSY_FOR = 15
"""Seconds after a change for which a thing is read at its busy interval."""

KEEP_ALIVE = 15
"""Seconds of silence after which a page is sent an empty change: so a page that is gone is noticed."""

MAX_IDLE_FEEDS = 20
"""Sessions that nobody looks at and that are remembered, so that to look again costs little."""

Change = dict[str, Any]


class Source(Protocol):
    """Something that can be read again and again. It blocks, and is read by one thread at a time."""

    busy_interval: float
    idle_interval: float

    @property
    def behind(self) -> bool:
        """Tell whether there is more to read at once."""

    def poll(self) -> dict[str, Item]:
        """Read what is new; return all items by their ids. An item that did not change is the same object."""


S = TypeVar("S", bound=Source)


class Watch(Generic[S]):
    """One watched thing: a single task reads it while at least one page shows it."""

    def __init__(self, source: S) -> None:
        self.source = source
        self._items: dict[str, Item] = {}
        self._trouble: str | None = None
        self._version = 0
        """0 until it was read once."""
        self._changed = asyncio.Condition()
        self._hurry = asyncio.Event()
        self._watchers = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def is_watched(self) -> bool:
        return self._watchers > 0

    def hurry(self) -> None:
        """Read again at once: an operator has just changed something."""
        self._hurry.set()

    async def changes(self) -> AsyncIterator[Change]:
        """Return all that there is, and then each change, without end."""
        self._watchers += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        else:
            self.hurry()
        sent: Mapping[str, Item] = {}
        version = 0
        try:
            while True:
                if not await self._wait_for_version_after(version):
                    yield {}
                    continue
                first, version, items = version == 0, self._version, self._items
                yield difference(sent, items) | {"trouble": self._trouble, "reset": first}
                sent = items
        finally:
            self._watchers -= 1

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
        while self._watchers:
            self._hurry.clear()
            items, trouble = self._items, None
            try:
                items = await run_in_threadpool(self.source.poll)
            except Exception as error:
                # Of whatever kind it is: the page says so, and shows what is known until it is read again.
                trouble = error_text(error)
                log.warning("the stack cannot be read", extra=error_fields(error))
            if items != self._items or trouble != self._trouble or not self._version:
                changed_at = time.monotonic()
                async with self._changed:
                    self._items, self._trouble = items, trouble
                    self._version += 1
                    self._changed.notify_all()
            if not self.source.behind or trouble:
                busy = time.monotonic() - changed_at < BUSY_FOR and not trouble
                pause = self.source.busy_interval if busy else self.source.idle_interval
                try:
                    async with asyncio.timeout(pause):
                        await self._hurry.wait()
                except TimeoutError:
                    pass


class Watcher:
    """All that the pages watch of one stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.overview = Watch(Overview(stack))
        self._feeds: dict[str, Watch[SessionFeed]] = {}

    def session(self, session: str) -> Watch[SessionFeed]:
        """Return the watch of a session, by its key in the tables."""
        watch = self._feeds.pop(session, None) or Watch(SessionFeed(self._stack, session))
        idle = [key for key, feed in self._feeds.items() if not feed.is_watched]
        for key in idle[:-MAX_IDLE_FEEDS]:
            del self._feeds[key]
        self._feeds[session] = watch
        return watch


def difference(before: Mapping[str, Item], after: Mapping[str, Item]) -> Change:
    """Return the items that are new or changed, and the ids of those that are gone."""
    return {
        "set": [item for key, item in after.items() if before.get(key) != item],
        "gone": [key for key in before if key not in after],
    }
