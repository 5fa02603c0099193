"""SessionFeed: the messages and the parts of one session."""

import time
from itertools import islice

from relay import Stack
from relay.domain.keys import record_key
from relay.domain.part import ReplyPart, with_body
from relay.domain.record import MessageRecord
from relay.domain.states import State
from relay.domain.timestamps import Clock
from relay_console.message_view import message_item
from relay_console.part_view import part_item
from relay_console.segments_view import limited_segments
from relay_console.turn_view import turn_items
from relay_console.view_item import ViewItem

_MESSAGES, _PARTS = 100, 5000
"""How many are read at the start, and earlier ones at a time; of the parts _PAGES of 1 MB at the most."""

_PAGES = 4

_NEW_MESSAGES, _NEW_PARTS = 25, 1000
"""How many new ones are read at a time; of the parts again _PAGES at the most."""

_LARGE = 10
"""Parts whose bodies are read from the overflow bucket, the newest: each can have 6 MB."""

_LAST = 10
"""Messages and parts at the end that may still change, or come behind later ones."""

_RECHECK_EVERY = 30
"""Seconds after which the last parts and the older messages that wait are read again."""

_TURNS_EVERY = 15
"""Seconds after which a turn may count as stalled."""

_END = "~"
"""It sorts behind all keys."""

_WAITING = (State.RETRYING, State.DELIVERED, State.PARKED, State.UNANSWERED)


class SessionFeed:
    """Reads one session; see Source in poller.py."""

    busy_interval = 1.0
    idle_interval = 3.0

    def __init__(self, stack: Stack, session: str, clock: Clock = time.time) -> None:
        """`session` is its key in the tables."""
        self._session = session
        self._clock = clock
        self._messages_table = stack.open_messages_table()
        self._replies_table = stack.open_replies_table()
        self._is_erased = False
        self._begin()

    def _begin(self) -> None:
        """Forget all that was read."""
        self.records: dict[str, MessageRecord] = {}
        self.parts: dict[str, ReplyPart] = {}
        """What is known of the session's messages and parts, in order, by their keys."""
        self._items: dict[str, ViewItem] = {}
        self._shown: dict[str, ViewItem] = {}
        """Messages and turns with the segments that are shown of them."""
        self.has_more = False
        self._wants_earlier = True
        self._has_earlier = True
        self._rechecked_at = self._turns_at = 0.0

    def load_earlier(self) -> None:
        """Read earlier messages and parts with the next poll."""
        self._wants_earlier = True

    def recheck(self) -> None:
        """Read all that may have changed with the next poll: an operator has changed a message."""
        self._rechecked_at = 0.0

    def forget(self) -> None:
        """Forget with the next poll all that was read: an operator has erased the session."""
        self._is_erased = True

    def whole_part(self, key: str) -> ReplyPart | None:
        """Return a part of the session with its body, or None if there is no such part."""
        part = self.parts.get(key)
        return self._replies_table.whole(part) if part else None

    def poll(self) -> dict[str, ViewItem]:
        """Read what is new; return all items."""
        now = self._clock()
        if self._is_erased:
            self._is_erased = False
            self._begin()
        records, parts = self._read_new(now)
        if self._wants_earlier:
            earlier_records, earlier_parts = self._read_earlier()
            records, parts = records + earlier_records, parts + earlier_parts
            self._wants_earlier = False
        changed = self._add(records, parts)
        if changed or now - self._turns_at >= _TURNS_EVERY:
            turns = turn_items(self.parts.values(), self.records.values(), now)
            messages = [item for item in self._items.values() if item["kind"] == "message"]
            self._shown = {item["id"]: item for item in limited_segments([*messages, *turns])}
            self._turns_at = now
        earlier = {"kind": "earlier", "id": "earlier", "more": self._has_earlier}
        return {**self._items, **self._shown, "earlier": earlier}

    def _read_new(self, now: float) -> tuple[list[MessageRecord], list[ReplyPart]]:
        if not self.records and not self.parts and self._wants_earlier:
            return [], []
        recheck = now - self._rechecked_at >= _RECHECK_EVERY
        if recheck:
            self._rechecked_at = now
        known = ["0", *self.records]
        last = range(max(1, len(known) - _LAST), len(known))
        waiting = (n for n in last if self.records[known[n]]["state"] in _WAITING)
        after = record_key(self._session, known[next(waiting, len(known)) - 1])
        records = self._messages_table.messages_after(after, _NEW_MESSAGES)
        ends = list(self.parts)[-_LAST:]
        # If they are fewer, they are all, and a late one may come before the first.
        all_of_them = len(ends) < _LAST
        since = ends[-1] if ends and not recheck else "" if all_of_them else ends[0]
        new_parts = self._replies_table.parts_after(self._session, since, _PAGES, consistent=False)
        parts = list(islice(new_parts, _NEW_PARTS))
        self.has_more = len(records) == _NEW_MESSAGES or len(parts) == _NEW_PARTS
        if recheck:
            older = [key for key, record in self.records.items() if record["state"] in _WAITING]
            newest = set(list(self.records)[-1:])
            keys = [record_key(self._session, key) for key in {*older[-_NEW_MESSAGES:], *newest}]
            again = self._messages_table.read_many(keys)
            if not newest <= {record["message"] for record in again}:
                self._begin()  # A local stack that starts again has the same tables, empty.
                return [], []
            records += again
            parts += self._late_parts(ends)
        return records, parts

    def _late_parts(self, ends: list[str]) -> list[ReplyPart]:
        """Return parts that were stored long after later ones, such as those of a host that moved."""
        if len(ends) < _LAST:
            return []
        first = min(self.parts) if self._has_earlier else ""
        keys = self._replies_table.keys_before(self._session, ends[0])
        late = [key for key in keys if key > first and key not in self.parts][:_NEW_MESSAGES]
        return [part for key in late if (part := self._replies_table.read(self._session, key))]

    def _read_earlier(self) -> tuple[list[MessageRecord], list[ReplyPart]]:
        records = self._messages_before(min(self.records, default=_END), _MESSAGES)
        parts: list[ReplyPart] = []
        first = min(self.parts, default=_END)
        for _ in range(_PAGES):
            page = self._replies_table.parts_before(self._session, first, _PARTS - len(parts))
            parts = page + parts
            if not page or len(parts) == _PARTS:
                break
            first = page[0]["part"]
        self._has_earlier = bool(
            (records and self._messages_before(records[0]["message"], 1))
            or (parts and self._replies_table.parts_before(self._session, parts[0]["part"], 1))
        )
        return records, parts

    def _messages_before(self, message: str, limit: int) -> list[MessageRecord]:
        return self._messages_table.messages_before(record_key(self._session, message), limit)

    def _add(self, records: list[MessageRecord], parts: list[ReplyPart]) -> bool:
        """Add what was read, in order; return whether it changes anything."""
        new_records = [
            record
            for record in records
            if "state" in record and self.records.get(record["message"]) != record
        ]
        new_parts = {part["part"]: part for part in parts if part["part"] not in self.parts}
        known_parts = self._with_bodies(dict(sorted((self.parts | new_parts).items())))
        added = [*map(message_item, new_records), *(part_item(known_parts[key]) for key in new_parts)]
        self._items.update((item["id"], item) for item in added)
        if new_records:
            known = self.records | {record["message"]: record for record in new_records}
            self.records = dict(sorted(known.items()))
        self.parts = known_parts
        return bool(added)

    def _with_bodies(self, parts: dict[str, ReplyPart]) -> dict[str, ReplyPart]:
        """Return parts in order with their bodies; of those in the bucket, only the newest with theirs."""
        large = [part for part in parts.values() if "overflow" in part]
        older = {part["part"]: with_body(part, None) for part in large[:-_LARGE]}
        unread = [part for part in large[-_LARGE:] if "message" not in part]
        return parts | older | {part["part"]: self._replies_table.whole(part) for part in unread}
