"""SessionEraser: erases what the relay keeps of a session."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from relay import environment
from relay.adapters.dynamodb import Table
from relay.adapters.overflow_bucket import part_path
from relay.client.stack import Stack
from relay.domain.keys import record_key, session_key
from relay.domain.message import QUEUE_RETENTION
from relay.domain.part import ReplyPart, session_id_in
from relay.domain.record import MessageRecord, may_be_queued
from relay.domain.states import State

T = TypeVar("T")

_BATCH = 25
"""Items that DynamoDB deletes in one call at the most."""


@dataclass(frozen=True)
class Erased:
    """What was erased of a session, by number, and what stays of it for now."""

    messages: int = 0
    parts: int = 0
    bodies: int = 0
    """Bodies in the overflow bucket: of messages and parts, of spilled parts, and in the quarantine."""
    unanswered: int = 0
    """Those of `messages` to which LangBot may still reply. The reply is stored as new."""
    queued: int = 0
    """Messages that stay, because push retries them, or may get them again: they are not 15 minutes old."""
    spilled: int = 0
    """Bodies of spilled parts that stay: SpillQueue may have those parts for 14 days."""
    unreadable: int = 0
    """Bodies of all sessions of the bot that stay in the quarantine, because they name no session."""


class SessionEraser:
    """Erases one session. Its methods raise botocore's errors.

    If one breaks off, another run erases the rest. A message that is sent meanwhile, and a part that comes
    meanwhile or later, are stored as new, and another run erases them.
    """

    def __init__(self, stack: Stack, session_id: str, bot: str = "default") -> None:
        self._bot, self._session_id = bot, session_id
        self._session = session_key(bot, session_id)
        self._messages_table = stack.open_messages_table()
        self._replies_table = stack.open_replies_table()
        self._records = Table(stack.client("dynamodb"), stack.messages_table)
        self._parts = Table(stack.client("dynamodb"), stack.replies_table)
        self._bucket = stack.open_overflow_bucket()

    def count(self) -> Erased:
        """Return what `erase` would erase, and change nothing."""
        return self._run(erases=False)

    def erase(self) -> Erased:
        """Erase the session; return what was erased."""
        return self._run(erases=True)

    def _run(self, erases: bool) -> Erased:
        found, now = Counter[str](), environment.now()
        for records in _batches(self._messages_table.newest_first(self._session, page=100)):
            self._erase_messages(records, found, now, erases)
        for parts in _batches(self._replies_table.parts_after(self._session, "")):
            self._erase_parts(parts, found, erases)
        self._erase_bodies(found, now, erases)
        return Erased(**found)

    def _erase_messages(
        self, records: list[MessageRecord], found: Counter[str], now: float, erases: bool
    ) -> None:
        gone = [record for record in records if not may_be_queued(record, now)]
        bodies = [record["overflow"] for record in gone if "overflow" in record]
        found["messages"] += len(gone)
        found["bodies"] += len(bodies)
        found["queued"] += len(records) - len(gone)
        found["unanswered"] += sum("awaiting" in one and one["state"] == State.DELIVERED for one in gone)
        if erases:
            # The bodies first: without their items, another run would not find them.
            self._bucket.delete(bodies)
            self._records.delete_many([record_key(self._session, record["message"]) for record in gone])

    def _erase_parts(self, parts: list[ReplyPart], found: Counter[str], erases: bool) -> None:
        with_body = (part for part in parts if "overflow" in part or "normalized" in part)
        bodies = [part_path(part["bot"], part["digest"]) for part in with_body]
        found["parts"] += len(parts)
        found["bodies"] += len(bodies)
        if erases:
            self._bucket.delete(bodies)
            self._parts.delete_many([{"session": self._session, "part": part["part"]} for part in parts])

    def _erase_bodies(self, found: Counter[str], now: float, erases: bool) -> None:
        """Erase the bodies that no item names: each names its session itself."""
        for body in self._bucket.quarantined(self._bot):
            session_id = self._session_of(body.path)
            found["unreadable"] += session_id is None
            if session_id == self._session_id:
                self._erase_body(body.path, found, erases)
        for body in self._bucket.spilled(self._bot):
            if self._session_of(body.path) != self._session_id:
                continue
            if now < body.stored_at + QUEUE_RETENTION:
                # Callback could never store a part on SpillQueue whose body is gone.
                found["spilled"] += 1
            else:
                self._erase_body(body.path, found, erases)

    def _session_of(self, path: str) -> str | None:
        raw = self._bucket.find(path)
        return session_id_in(raw) if raw else None

    def _erase_body(self, path: str, found: Counter[str], erases: bool) -> None:
        found["bodies"] += 1
        if erases:
            self._bucket.delete([path])


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    left = iter(items)
    while batch := list(islice(left, _BATCH)):
        yield batch
