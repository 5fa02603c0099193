"""Publishes changes of items as events."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from relay.adapters.event_bus import EventBus
from relay.adapters.messages_table import MessagesTable
from relay.adapters.replies_table import MAX_PAGES, RepliesTable
from relay.domain.event import (
    MAX_EVENT_REPLY_BYTES,
    Event,
    begins_after,
    event_of_change,
    json_bytes,
    reply_completed,
)
from relay.domain.part import ReplyPart
from relay.domain.segments import Segment
from relay.domain.settlement import FinalPart
from relay.domain.turn import effective_parts
from relay.log_fields import error_fields

log = logging.getLogger(__name__)


MAX_BODIES = 20
"""Bodies that are read from the overflow bucket for one event: that takes a second or two each."""

MAX_BODY_BYTES = 6 * MAX_EVENT_REPLY_BYTES + 4096
"""Bytes of a body from the bucket that are read as JSON, which takes a second for 6 MB of small values. What
an event can hold has at most six times as many bytes in a body, if all is escaped."""

MAX_EFFECTIVE_PARTS = 100
"""Parts that make up a reply. More of the largest would not fit into publish's memory, nor into an event."""

_TIME_TO_READ = 30
"""Seconds, of publish's time-out of 60, that must be left to begin with a record."""

_TIME_TO_PUBLISH = 15
"""Seconds that must be left to read on: the next page of a turn may take ten, at 512 MB."""


class PublishFailed(Exception):
    """Nothing of a batch could be published."""


class _TooLarge(Exception):
    """An event cannot hold the reply."""


@dataclass(frozen=True)
class StreamRecord:
    """A change of an item, `number` in its table's stream; {} is an item that is missing.

    `changed_at` in Unix seconds.
    """

    number: str
    old: Mapping[str, Any]
    new: Mapping[str, Any]
    changed_at: float


@dataclass(frozen=True)
class EventPublisher:
    """Publishes events. The same change gives an event of the same id, however often it is delivered."""

    messages_table: MessagesTable
    replies_table: RepliesTable
    event_bus: EventBus

    def publish(self, records: Iterable[StreamRecord], seconds_left: Callable[[], float]) -> list[str]:
        """Publish what is an event; return the numbers of the records that must be delivered again.

        Records are among them if too little time is left: publish needs up to half of it to read a long turn.
        Raise PublishFailed if nothing could be published, so that an outage shows as the function's errors.
        """
        events: dict[str, Event] = {}
        failed: list[str] = []
        for record in records:
            if seconds_left() < _TIME_TO_READ:
                failed.append(record.number)
                continue
            try:
                if event := self._event(record, seconds_left):
                    events[record.number] = event
            except (ClientError, BotoCoreError) as error:
                log.error("a change cannot be read and is tried again", extra=error_fields(error))
                failed.append(record.number)
            except Exception as error:
                # Another try would fail as well, and hold up everything behind it for a day.
                fields = error_fields(error) | {"number": record.number}
                log.error("a change cannot be published and is given up", extra=fields)
        refused = self.event_bus.publish(events.values())
        failed += [number for number, event in events.items() if event.id in refused]
        published = len(events) - len(refused)
        log.info("published", extra={"events": published, "failed": len(failed)})
        if failed and not published:
            raise PublishFailed(f"none of {len(failed)} events; they are tried again")
        return failed

    def _event(self, record: StreamRecord, seconds_left: Callable[[], float]) -> Event | None:
        """Return the event of a change, if it is one. Raise botocore's errors."""
        if "part" in record.new:
            return self._reply_completed(cast(ReplyPart, record.new), seconds_left)
        return event_of_change(record.old, record.new, record.changed_at)

    def _reply_completed(self, last: ReplyPart, seconds_left: Callable[[], float]) -> Event:
        final, record = FinalPart.of(last), None
        if answered := final.reply_to or final.quoted:
            record, _ = self.messages_table.back_to_reply(final.session, answered)
        turn = iter([last])
        if final.reply_to:
            turn = self.replies_table.turn_up_to(last, begins_after(final, record), MAX_PAGES)
        # Nothing of the turn is there if the part was deleted meanwhile. It is all that is known then.
        first = next(turn, last)
        read = _Read()
        parts = read.each(chain([first], turn), seconds_left)
        reply = self._reply(parts)
        for _ in parts:  # what an event cannot hold counts as well
            pass
        # The last part is missing if the pages or the time ended before it.
        complete = read.last == last["part"]
        revision = read.finals + (not complete)
        reply = reply if complete else None
        return reply_completed(last, first["part"], revision, record, reply, self.replies_table.name)

    def _reply(self, parts: Iterable[ReplyPart]) -> list[Segment] | None:
        """Return what the parts say, or None if an event cannot hold it."""
        try:
            effective = effective_parts(self._whole(parts), MAX_EFFECTIVE_PARTS)
        except _TooLarge:
            return None
        reply: list[Segment] = []
        left = MAX_EVENT_REPLY_BYTES
        for part in effective:
            if (left := left - json_bytes(part["message"])) < 0:
                return None
            reply += part["message"]
        return reply if len(effective) <= MAX_EFFECTIVE_PARTS else None

    def _whole(self, parts: Iterable[ReplyPart]) -> Iterator[ReplyPart]:
        """Yield the parts with their bodies. Raise _TooLarge."""
        bodies = 0
        for part in parts:
            bodies += "overflow" in part
            if bodies > MAX_BODIES:
                raise _TooLarge
            message = self.replies_table.message_of(part, MAX_BODY_BYTES)
            # What a part says stays in the reply. So a body that is too large ends the reading of bodies.
            if message is None or ("overflow" in part and json_bytes(message) > MAX_EVENT_REPLY_BYTES):
                raise _TooLarge
            yield {**part, "message": message}


@dataclass
class _Read:
    """What of a turn was read: up to which part, by its key, and how many are final."""

    last: str = ""
    finals: int = 0

    def each(self, parts: Iterable[ReplyPart], seconds_left: Callable[[], float]) -> Iterator[ReplyPart]:
        """Yield the parts that there is time for."""
        for part in parts:
            self.last = part["part"]
            self.finals += part["is_final"]
            yield part
            if seconds_left() < _TIME_TO_PUBLISH:
                return
