"""The index `awaiting` of MessagesTable: what waits for a bot's reply, for an operator, or for settle."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from heapq import merge
from typing import Any

from relay.adapters.dynamodb import Item, Table
from relay.domain.keys import OPERATOR, RECHECKS, SETTLE, UNANSWERED, RecordKey, bot_of, record_key
from relay.domain.selection import Selection
from relay.domain.settlement import FinalPart
from relay.domain.states import State
from relay.domain.timestamps import utc_text

MAX_COUNTED = 1000
"""Parked messages that are counted at the most: settle reads their keys each minute."""

_ALL = Selection()
_AWAITED = {State.PARKED: OPERATOR, State.UNANSWERED: UNANSWERED}


@dataclass(frozen=True)
class Recheck:
    """A final part that is due to be checked again, after `checks` checks."""

    final: FinalPart
    checks: int


class AwaitingIndex:
    """What waits, by its deadline. The index is a moment behind. All methods raise botocore's errors."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def overdue(self, awaiting: str, now: float) -> Iterator[RecordKey]:
        """Return the keys of what waits for a bot, or for SETTLE, and whose deadline is before `now`."""
        condition, values = (
            "#awaiting = :awaiting AND due_at < :now",
            {":awaiting": awaiting, ":now": utc_text(now)},
        )
        return map(_key, self._table.query(condition, values, IndexName="awaiting", Limit=100))

    def open_messages(self, session: str) -> Iterator[RecordKey]:
        """Return the keys of a session's messages that wait for a reply, the first delivered first.

        To find them takes reading the keys of all messages of the bot that wait.
        """
        only = {":session": session}
        return map(_key, self._query(bot_of(session), only, FilterExpression="#session = :session"))

    def open_messages_of_bot(self, bot: str) -> Iterator[RecordKey]:
        """Return the keys of a bot's messages that LangBot has accepted and that wait for a reply."""
        return map(_key, self._query(bot))

    def awaiting_operator(self, selection: Selection = _ALL, page: int = 1000) -> Iterator[RecordKey]:
        """Return the keys of the selected parked and unanswered messages, by when they became so.

        A message's reason is not in the index. `page` is how many of each state are read at a time.
        """
        times = {":since": selection.since, ":until": selection.until}
        found = (
            self._table.query(
                "#awaiting = :awaiting AND due_at BETWEEN :since AND :until",
                {":awaiting": _AWAITED[state], **times},
                IndexName="awaiting",
                Limit=page,
            )
            for state in selection.states
        )
        keys = map(_key, merge(*found, key=lambda item: str(item["due_at"])))
        return filter(selection.may_have, keys)

    def count(self, awaiting: str, limit: int) -> int:
        """Count what waits for a bot or for OPERATOR, up to `limit`."""
        values = {":awaiting": awaiting}
        return self._table.count("#awaiting = :awaiting", values, IndexName="awaiting", Limit=limit)

    def count_parked(self) -> int:
        """Count the messages that are parked, up to MAX_COUNTED."""
        return self.count(OPERATOR, MAX_COUNTED)

    def add_recheck(self, recheck: Recheck, due_at: float) -> None:
        """Have a final part checked again at `due_at` (Unix seconds)."""
        final = recheck.final
        # The key of a part is unique in its session; two sessions of the same id are of two bots.
        self._table.put(
            {
                **record_key(RECHECKS, f"{final.part}#{bot_of(final.session)}"),
                "awaiting": SETTLE,
                "due_at": utc_text(due_at),
                "checks": recheck.checks,
                "final": json.dumps(asdict(final)),
            }
        )

    def recheck(self, key: RecordKey) -> Recheck | None:
        """Return a recheck, or None if it was removed."""
        item = self._table.get(key)
        return Recheck(FinalPart(**json.loads(item["final"])), item["checks"]) if item else None

    def remove_recheck(self, key: RecordKey) -> None:
        """Remove a recheck that is done."""
        self._table.delete(key)

    def _query(self, awaiting: str, more_values: Item | None = None, **more: Any) -> Iterator[Item]:
        values = {":awaiting": awaiting, **(more_values or {})}
        return self._table.query("#awaiting = :awaiting", values, IndexName="awaiting", **more)


def _key(item: Item) -> RecordKey:
    return record_key(item["session"], item["message"])
