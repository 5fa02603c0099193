"""The event bus of EventBridge."""

import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from relay.domain.event import Event
from relay.log_fields import error_fields

if TYPE_CHECKING:
    from mypy_boto3_events.client import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

log = logging.getLogger(__name__)

SOURCE = "langbot-relay"
"""The source of every event, for rules to match."""

# What PutEvents takes in one call.
_MAX_ENTRIES, _MAX_BYTES = 10, 256 * 1024


_REFUSED_CALLS = ("ValidationException", "RequestEntityTooLargeException")
# PutEvents refuses a whole call, not one entry, if an entry is larger than it takes.

_FINAL_CODES = ("MalformedDetail", "InvalidArgument", "NotAuthorizedFor")
# The bus would refuse such an event for as long as the stream keeps it, and hold up all others.


class EventBus:
    """An event bus; `stack` is the name of the stack that publishes."""

    def __init__(self, events: "EventBridgeClient", name: str, stack: str) -> None:
        self._events = events
        self._name = name
        self._stack = stack

    def publish(self, events: Iterable[Event]) -> set[str]:
        """Publish events; return the ids of those that the bus refused and may accept later."""
        return {event_id for call in _calls(events, self._stack) for event_id in self._put(call)}

    def _put(self, call: list[tuple[Event, str]]) -> list[str]:
        entries: list[PutEventsRequestEntryTypeDef] = [
            {"EventBusName": self._name, "Source": SOURCE, "DetailType": event.type, "Detail": detail}
            for event, detail in call
        ]
        try:
            results = self._events.put_events(Entries=entries)["Entries"]
        except (ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and error.response["Error"]["Code"] in _REFUSED_CALLS:
                return self._put_each(call)
            log.error("the event bus cannot be reached", extra=error_fields(error))
            return [event.id for event, _ in call]
        later = []
        for (event, _), result in zip(call, results, strict=True):
            if code := result.get("ErrorCode"):
                log.error("the event bus refused an event", extra={"event_id": event.id, "error": code})
                if not code.startswith(_FINAL_CODES):
                    later.append(event.id)
        return later

    def _put_each(self, call: list[tuple[Event, str]]) -> list[str]:
        """Publish the events of a call that was refused as a whole, each alone: one of them is the cause."""
        if len(call) > 1:
            return [event_id for one in call for event_id in self._put([one])]
        ((event, _),) = call
        log.error("the event bus takes no such event, it is given up", extra={"event_id": event.id})
        return []


def _calls(events: Iterable[Event], stack: str) -> Iterator[list[tuple[Event, str]]]:
    call: list[tuple[Event, str]] = []
    total = 0
    for event in events:
        detail = event.detail(stack)
        size = len(SOURCE) + len(event.type) + len(detail.encode())
        if call and (len(call) == _MAX_ENTRIES or total + size >= _MAX_BYTES):
            yield call
            call, total = [], 0
        call.append((event, detail))
        total += size
    if call:
        yield call
