"""Tells on the event bus what became of messages, turns and bots."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from relay.describe import describe
from relay.edge.bus import Bus
from relay.edge.ledger import Ledger
from relay.edge.replies import Replies
from relay.rules.segments import Segment
from relay.rules.settling import Final
from relay.rules.telling import MOST, Event, begins_after, change, reply_completed, size
from relay.rules.turn import standing

log = logging.getLogger(__name__)


class NotTold(Exception):
    """Nothing of a batch could be told."""


@dataclass(frozen=True)
class Change:
    """A change of an item, `number` in its table's stream; {} is an item that is not there.

    `at` is when it was made, in Unix seconds.
    """

    number: str
    old: dict[str, Any]
    new: dict[str, Any]
    at: float


@dataclass(frozen=True)
class Teller:
    """Makes events of changes. The same change gives an event of the same id, however often it comes."""

    ledger: Ledger
    replies: Replies
    bus: Bus

    def tell(self, changes: Iterable[Change]) -> list[str]:
        """Tells what is to be told of changes; the numbers of those that must come again.

        Raises NotTold where that would be all of them, so that an outage shows as the function's errors.
        """
        events: dict[str, Event] = {}
        again: list[str] = []
        for one in changes:
            try:
                if event := self.event(one):
                    events[one.number] = event
            except (ClientError, BotoCoreError) as error:
                log.error("cannot be read, will be told later", extra=describe(error))
                again.append(one.number)
            except Exception as error:
                # Another time would be no better, and for a day nothing behind it would be told.
                log.error("cannot be told", extra=describe(error) | {"number": one.number})
        refused = self.bus.put(events.values())
        again += [number for number, event in events.items() if event.id in refused]
        told = len(events) - len(refused)
        log.info("told", extra={"events": told, "again": len(again)})
        if again and not told:
            raise NotTold(f"none of {len(again)} events; they will be told later")
        return again

    def event(self, made: Change) -> Event | None:
        """The event of a change, if it is one. Raises botocore's errors."""
        return self._completed(made.new) if "part" in made.new else change(made.old, made.new, made.at)

    def _completed(self, part: dict[str, Any]) -> Event:
        final, parts, item = Final.of(part), [part], None
        if final.reply_to:
            key = self.ledger.answered_by(final.reply_to, final.session)
            item = self.ledger.read(key) if key else None
            parts = self.replies.turn_until(part, begins_after(final, item)) or parts
        return reply_completed(parts, item, self._reply(parts), self.replies.table)

    def _reply(self, parts: Iterable[dict[str, Any]]) -> list[Segment] | None:
        reply: list[Segment] = []
        left = MOST
        for part in standing(parts):
            message = self.replies.message(part)
            if message is None or (left := left - size(message)) < 0:
                return None
            reply += message
        return reply
