"""The event bus."""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from relay.describe import describe
from relay.rules.telling import Event

log = logging.getLogger(__name__)

SOURCE = "langbot-relay"
"""The source of every event, for rules to match."""

_ENTRIES, _BYTES = 10, 256 * 1024
# What PutEvents takes in one call.


class Bus:
    """An event bus; `teller` is the stack that tells."""

    def __init__(self, events: Any, name: str, teller: str) -> None:
        self._events = events
        self._name = name
        self._teller = teller

    def put(self, told: Iterable[Event]) -> set[str]:
        """Puts events on the bus; the ids of those that it did not take and may take later."""
        return {one for call in _calls(told, self._teller) for one in self._put(call)}

    def _put(self, call: list[tuple[Event, str]]) -> list[str]:
        entries = [
            {"EventBusName": self._name, "Source": SOURCE, "DetailType": event.type, "Detail": detail}
            for event, detail in call
        ]
        try:
            results = self._events.put_events(Entries=entries)["Entries"]
        except (ClientError, BotoCoreError) as error:
            log.error("the event bus cannot be told", extra=describe(error))
            return [event.id for event, _ in call]
        later = []
        for (event, _), result in zip(call, results, strict=True):
            if code := result.get("ErrorCode"):
                log.error("the event bus refused an event", extra={"event_id": event.id, "error": code})
                # It would refuse it again for as long as the stream keeps it, and all behind it would wait.
                if code != "MalformedDetail":
                    later.append(event.id)
        return later


def _calls(told: Iterable[Event], teller: str) -> Iterator[list[tuple[Event, str]]]:
    call: list[tuple[Event, str]] = []
    total = 0
    for event in told:
        detail = event.detail(teller)
        size = len(SOURCE) + len(event.type) + len(detail.encode())
        if call and (len(call) == _ENTRIES or total + size >= _BYTES):
            yield call
            call, total = [], 0
        call.append((event, detail))
        total += size
    if call:
        yield call
