"""Overview: the sessions by last activity, the bots, the queues, and what callback refused."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain, islice, takewhile
from operator import attrgetter

from relay import Stack
from relay.adapters.function_logs import LogLine
from relay.domain.admission import BotState
from relay.domain.keys import RecordKey, bot_of, record_key
from relay.domain.states import State
from relay.domain.timestamps import Clock
from relay_cli.deployment import Deployment
from relay_console.bot_view import bot_item
from relay_console.part_view import clock_skew
from relay_console.session_view import MessageSummary, session_item
from relay_console.view_item import ViewItem

MAX_MESSAGES = 10_000
"""Messages that are read at the start, newest first, to list their sessions."""

_DAYS = 90
"""Days that are searched for them: KeepDays by default."""

_BATCH = 500
"""Messages that are read at a time, and then shown."""

_PAGE = 20
"""Keys of the newest messages that are read each time: half a read unit."""

_RECHECKED = 300
"""Newest messages that are looked through for ones that came into the index behind newer ones."""

_PENDING, _AWAITING_OPERATOR = 3, 1
"""Records that are read again each time: of messages that wait, and of parked and unanswered ones."""

_MAX_TO_HANDLE = 100
_MAX_REFUSED = 1000
"""Of each, how many are read at a time."""

_MAX_REFUSALS_SHOWN = 20
"""Bots and reasons that are shown: who calls callback can make up names of bots."""

_REFUSED_FOR = 3600
"""Seconds for which a refused callback is counted."""

_QUEUES = {
    "push": "-push.fifo",
    "spill": "-spill",
}
"""The queues and the ends of their names, as in template.yaml."""

_DEPTHS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class Overview:
    """Reads what the left column and the state of the stack show; see Source in poller.py."""

    busy_interval = 3.0
    idle_interval = 5.0

    def __init__(self, stack: Stack, clock: Clock = time.time) -> None:
        self._stack = stack
        self._clock = clock
        self._messages_table = stack.open_messages_table()
        self._awaiting_index = stack.open_awaiting_index()
        self._replies_table = stack.open_replies_table()
        self._logs = stack.open_logs()
        self._deployment = Deployment(stack)
        self._erased: list[str] = []
        self._begin()

    def _begin(self) -> None:
        """Forget all that was read."""
        self._sessions: dict[str, dict[str, MessageSummary]] = {}
        self._session_items: dict[str, ViewItem] = {}
        self._pending: dict[tuple[str, str], None] = {}
        self._awaiting_operator: dict[tuple[str, str], None] = {}
        self._delivered: dict[str, MessageSummary] = {}
        """By its bot, the message that was delivered last."""
        self._backlog: Iterator[RecordKey] | None = self._recent_keys()
        self._due: dict[str, float] = {}
        self._bots: dict[str, ViewItem] = {}
        self._others: dict[str, ViewItem] = {}
        self._refused: set[LogLine] = set()
        self._newest: RecordKey | None = None
        """The newest message, some time ago."""

    @property
    def has_more(self) -> bool:
        """Tell whether earlier sessions are still to be read."""
        return self._backlog is not None

    def poll(self) -> dict[str, ViewItem]:
        """Read what is new; return all items."""
        now = self._clock()
        while self._erased:
            self._drop(self._erased.pop())
        if self._is_due("newest", 30, now) and self._is_replaced():
            self._begin()
        try:
            self._read(self._new_keys(now))
        except Exception:
            if self.has_more:  # what broke off cannot go on
                self._backlog = self._recent_keys()
            raise
        if not self.has_more:
            self._read(self._keys_to_read_again())
        self._read_bots(now)
        if self._is_due("queues", 6, now):
            self._read_queues()
        if self._is_due("refused", 60, now):
            self._read_refused(now)
        return {**self._session_items, **self._bots, **self._others}

    def forget(self, session: str) -> None:
        """Forget a session, by its key, with the next poll: an operator has erased it."""
        self._erased.append(session)

    def _drop(self, session: str) -> None:
        self._sessions.pop(session, None)
        self._session_items.pop(f"session:{session}", None)
        self._delivered = {bot: last for bot, last in self._delivered.items() if last.session != session}
        for group in (self._pending, self._awaiting_operator):
            for key in [key for key in group if key[0] == session]:
                del group[key]
        if self._newest and self._newest["session"] == session:
            self._newest = None

    def search(self, text: str) -> dict[str, str]:
        """Return the sessions that have a message with a text or an id, each with its last such message."""
        wanted = text.lower()
        # The copies are whole, though another thread polls.
        messages = (message for known in list(self._sessions.values()) for message in list(known.values()))
        found = sorted((message.session, message.message) for message in messages if wanted in message.words)
        return dict(found)

    # ---------------------------------------------------------------- sessions

    def _recent_keys(self) -> Iterator[RecordKey]:
        """Return the keys of the last MAX_MESSAGES messages, newest first; nothing is read yet."""
        days = _days(self._clock(), _DAYS)
        keys = chain.from_iterable(self._messages_table.recent(day, _BATCH) for day in days)
        return islice(keys, MAX_MESSAGES)

    def _new_keys(self, now: float) -> Iterable[RecordKey]:
        if self._backlog:
            keys = list(islice(self._backlog, _BATCH))
            if not keys:
                self._backlog = None
            return keys
        newest = chain.from_iterable(self._messages_table.recent(day, _PAGE) for day in _days(now, 2))
        if self._is_due("recheck", 30, now):
            return [key for key in islice(newest, _RECHECKED) if not self._knows(key)]
        return list(takewhile(lambda key: not self._knows(key), newest))

    def _is_replaced(self) -> bool:
        """Tell whether the newest message is gone: a restarted local stack has tables of the same names."""
        before = self._newest
        messages = (message for known in self._sessions.values() for message in known.values())
        newest = max(messages, key=attrgetter("queued_at"), default=None)
        self._newest = record_key(newest.session, newest.message) if newest else None
        return before is not None and self._messages_table.read(before) is None

    def _knows(self, key: RecordKey) -> bool:
        return key["message"] in self._sessions.get(key["session"], {})

    def _keys_to_read_again(self) -> list[RecordKey]:
        keys = [*islice(self._pending, _PENDING), *islice(self._awaiting_operator, _AWAITING_OPERATOR)]
        return [record_key(*key) for key in keys]

    def _read(self, keys: Iterable[RecordKey]) -> None:
        """Read records again, and the lines of their sessions."""
        changed = set()
        left = iter(keys)
        while batch := list(islice(left, 100)):
            for key in batch:
                # Whatever the read gives, the next time is the turn of others.
                for group in (self._pending, self._awaiting_operator):
                    if (ids := (key["session"], key["message"])) in group:
                        group[ids] = group.pop(ids)
            for record in self._messages_table.read_many(batch):
                summary = MessageSummary.of(record)
                known = self._sessions.setdefault(summary.session, {})
                if known.get(summary.message) != summary:
                    known[summary.message] = summary
                    changed.add(summary.session)
                bot = bot_of(summary.session)
                last = self._delivered.get(bot)
                if summary.delivered_at and (not last or summary.delivered_at > (last.delivered_at or "")):
                    self._delivered[bot] = summary
                self._recheck_later(summary)
        for session in changed:
            item = session_item(session, self._sessions[session].values())
            self._session_items[item["id"]] = item

    def _recheck_later(self, summary: MessageSummary) -> None:
        """Remember a message as one that may still change, or forget it."""
        key = (summary.session, summary.message)
        waits = summary.state in (State.PARKED, State.UNANSWERED)
        for group, belongs in (
            (self._pending, summary.is_pending and not waits),
            (self._awaiting_operator, waits),
        ):
            if belongs:
                group.setdefault(key)
            else:
                group.pop(key, None)

    # ---------------------------------------------------------------- bots, queues, refused callbacks

    def _read_bots(self, now: float) -> None:
        counts_due = self._is_due("in flight", 6, now)
        most = int(self._deployment.parameters["MaxInFlight"])
        for item in self._messages_table.bot_items():
            name = item["message"]
            before = self._bots.get(f"bot:{name}", {})
            in_flight, skew = before.get("in_flight"), before.get("skew")
            if counts_due:
                in_flight = self._awaiting_index.count(name, 100)
            last = self._delivered.get(name)
            success = last.delivered_at if last else None
            moved = success != before.get("last_success") or skew is None
            if last and moved and self._is_due(f"skew {name}", 60, now):
                newest = self._replies_table.newest(last.session, 1)
                skew = clock_skew(newest[0]) if newest else skew
            bot = bot_item(name, BotState.of(item), in_flight, most)
            self._bots[bot["id"]] = bot | {"last_success": success, "skew": skew}

    def _read_queues(self) -> None:
        unknown = [
            key
            for key in islice(self._awaiting_index.awaiting_operator(page=_MAX_TO_HANDLE), _MAX_TO_HANDLE)
            if not self._knows(key)
        ]
        self._read(unknown)
        messages = [message for known in self._sessions.values() for message in known.values()]
        retrying = (message.queued_at for message in messages if message.state == State.RETRYING)
        parked = (message.parked_at or "" for message in messages if message.state == State.PARKED)
        oldest = {"push": min(retrying, default=None)}
        sqs = self._stack.client("sqs")
        for name, ending in _QUEUES.items():
            url = self._stack.push_queue_url.removesuffix(_QUEUES["push"]) + ending
            depths = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(_DEPTHS))["Attributes"]
            self._add_queue(name, sum(int(depths[depth]) for depth in _DEPTHS), oldest.get(name))
        self._add_queue("parked", self._awaiting_index.count_parked(), min(parked, default=None))

    def _add_queue(self, name: str, depth: int, oldest: str | None) -> None:
        item_id = f"queue:{name}"
        self._others[item_id] = {
            "kind": "queue",
            "id": item_id,
            "queue": name,
            "depth": depth,
            "oldest": oldest,
        }

    def _read_refused(self, now: float) -> None:
        """Count the callbacks that were refused within the last hour, by bot and reason in callback's log."""
        since = max((line.at for line in self._refused), default=now - _REFUSED_FOR)
        lines = self._refused | set(self._logs.refused(since, _MAX_REFUSED))
        self._refused = {line for line in lines if line.at > now - _REFUSED_FOR}
        counted = Counter((str(line.fields["bot"]), str(line.fields["reason"])) for line in self._refused)
        counts = [
            {"bot": bot, "reason": reason, "n": n}
            for (bot, reason), n in counted.most_common(_MAX_REFUSALS_SHOWN)
        ]
        self._others["refused"] = {"kind": "refused", "id": "refused", "counts": counts}

    def _is_due(self, what: str, seconds: float, now: float) -> bool:
        """Return True at most once per `seconds` for each thing, and record this call."""
        if now - self._due.get(what, -seconds) < seconds:
            return False
        self._due[what] = now
        return True


def _days(now: float, count: int) -> list[str]:
    today = datetime.fromtimestamp(now, UTC).date()
    return [(today - timedelta(days=back)).isoformat() for back in range(count)]
