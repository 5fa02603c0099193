"""MessagesTable: what became of each message, and of each bot."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any, cast

from relay.adapters.dynamodb import IS_NEW, Item, Table
from relay.adapters.overflow_bucket import OverflowBucket, OverflowingItem, message_path, put_item
from relay.domain import states
from relay.domain.admission import BotState
from relay.domain.keys import BOTS, UNANSWERED, RecordKey, record_key
from relay.domain.message import expiry_of_resent
from relay.domain.record import FORMER_MARKS, MAX_REASON, MessageRecord, current
from relay.domain.settlement import LOOK_BACK, FinalPart
from relay.domain.states import AnswerKind, From, Sent, State, Transition
from relay.domain.timestamps import utc_text
from relay.errors import InvalidState

_REPLACEABLE = f"{IS_NEW} OR #state = :retrying"
_FEWER_KEYS = "(attribute_not_exists(keys_used) OR keys_used <= :keys_used)"

MAX_BODY_BYTES = 350_000
"""Bytes of a body that a record holds. An item has 400 KB. A context has 8, and transitions add some ten."""

_LAST_FEW = 5
"""Messages at the end of a session that are read before the others."""

_NEWEST_FIRST: dict[str, Any] = {"ScanIndexForward": False}


class MessagesTable:
    """The records of messages, and the items of bots.

    Until a message is delivered, only its place in the queue writes its record. Afterwards every write is a
    transition of relay.domain.states, so that settling twice or in any order gives the same. All methods
    raise botocore's errors.
    """

    def __init__(self, table: Table, bucket: OverflowBucket) -> None:
        self._table = table
        self._bucket = bucket

    # ---------------------------------------------------------------- one record

    def read(self, key: RecordKey, consistent: bool = True) -> MessageRecord | None:
        """Return the record of a message, or None if nothing was written yet.

        It may be a moment old if not `consistent`, for half of the read units.
        """
        item = self._table.get(key, consistent)
        return current(item) if item else None

    def read_many(self, keys: Sequence[RecordKey]) -> list[MessageRecord]:
        """Return the records of at most 100 messages, in any order; some may be missing or a moment old."""
        return list(map(current, self._table.get_many(keys)))

    def write(self, record: MessageRecord, if_new: bool = False) -> bool:
        """Write a record as a whole; a body over MAX_BODY_BYTES goes to the overflow bucket.

        Replace only a record that says `retrying`, and with `if_new` none. Return False if the record was
        kept: a concurrent delivery of the message has ended it or used more keys.
        """
        condition, values = IS_NEW, dict[str, Any]()
        if not if_new:
            condition, values = _REPLACEABLE, {":retrying": State.RETRYING}
            if "keys_used" in record and record["state"] != State.PARKED:
                condition += f" AND {_FEWER_KEYS}"
                values[":keys_used"] = record["keys_used"]
        without_body = {name: value for name, value in record.items() if name != "body"}
        path = message_path(record["message_id"])
        raw = record["body"].encode()
        entry = OverflowingItem(record, without_body, raw, path, MAX_BODY_BYTES)
        return put_item(self._table, self._bucket, entry, condition, values)

    def body(self, record: MessageRecord) -> str:
        """Return the message of a record, as it was queued."""
        return self._bucket.get(record["overflow"]).decode() if "overflow" in record else record["body"]

    def find_body(self, record: MessageRecord) -> str | None:
        """Return the message of a record, or None if its body is not in the overflow bucket."""
        raw = self._bucket.find(record["overflow"]) if "overflow" in record else record["body"].encode()
        return None if raw is None else raw.decode()

    # ---------------------------------------------------------------- a session, a day

    def of_session(self, session: str) -> Iterator[MessageRecord]:
        """Return the messages of a session, in queue order."""
        return _records(self._table.query("#session = :session", {":session": session}))

    def newest_first(self, session: str, page: int = 20) -> Iterator[MessageRecord]:
        """Return the messages of a session, the last one first, by consistent reads of `page` messages."""
        found = self._table.query(
            "#session = :session", {":session": session}, Limit=page, ConsistentRead=True, **_NEWEST_FIRST
        )
        return _records(found)

    def back_to_reply(self, session: str, reply_to: str) -> tuple[MessageRecord | None, list[MessageRecord]]:
        """Return the message of a session that a turn answers, and those after it, the last one first.

        None if it is not among the session's last LOOK_BACK messages; then those are returned.
        """
        later: list[MessageRecord] = []
        for record in _records(self._last(session)):
            if record.get("accepted_message_id") == reply_to:
                return record, later
            later.append(record)
        return None, later

    def _last(self, session: str) -> Iterator[Item]:
        """Return the last LOOK_BACK items of a session, the last one first."""
        found, before = 0, "~"
        # A turn mostly answers one of a session's last few messages. If not, all others are read at once: the
        # bot decides which message a part names.
        for count in (_LAST_FEW, LOOK_BACK - _LAST_FEW):
            condition, values = "#session = :session AND #message < :before", {":session": session}
            page = self._table.query(
                condition, values | {":before": before}, Limit=count, ConsistentRead=True, **_NEWEST_FIRST
            )
            for item in islice(page, count):
                found, before = found + 1, item["message"]
                yield item
            if found < count:
                return

    def messages_after(self, key: RecordKey, limit: int) -> list[MessageRecord]:
        """Return the next messages of the session after one, in queue order."""
        condition = "#session = :session AND #message > :message"
        values = {":session": key["session"], ":message": key["message"]}
        # Their bodies can fill many pages.
        return list(_records(islice(self._table.query(condition, values, Limit=limit), limit)))

    def messages_before(self, key: RecordKey, limit: int) -> list[MessageRecord]:
        """Return the last messages of the session before one, in queue order; of one page at the most."""
        condition = "#session = :session AND #message < :message"
        values = {":session": key["session"], ":message": key["message"]}
        found = self._table.first_page(condition, values, Limit=limit, **_NEWEST_FIRST)
        return list(_records(reversed(found)))

    def recent(self, day: str, page: int = 100) -> Iterator[RecordKey]:
        """Return the keys of the messages that were queued on a day (UTC, as 2026-11-25), newest first.

        The index is a moment behind. `page` is how many are read at a time, when so many are asked for.
        """
        found = self._table.query(
            "queued_on = :day", {":day": day}, IndexName="by_day", Limit=page, **_NEWEST_FIRST
        )
        return (record_key(item["session"], item["message"]) for item in found)

    # ---------------------------------------------------------------- transitions

    def answer(
        self, record: MessageRecord, final: FinalPart, kind: AnswerKind = AnswerKind.OWN
    ) -> MessageRecord | None:
        """Mark a message as answered, by its own turn or a push.

        Return the record as it was before, or None if it stays.
        """
        by_push = kind in (AnswerKind.PUSH, AnswerKind.PROBABLE)
        transition = states.ANSWER_BY_PUSH if by_push else states.ANSWER_BY_OWN_TURN
        changed, before = self._change(record, transition, _answer(kind, final))
        return cast(MessageRecord, before) if changed else None

    def merge(self, record: MessageRecord, final: FinalPart, due_at: float) -> None:
        """Mark a message as answered by another message's turn; it awaits its own until `due_at`."""
        indexed = {"awaiting": final.bot, "due_at": utc_text(due_at)}
        self._change(record, states.MERGE, _answer(AnswerKind.MERGED, final) | indexed)

    def stop_awaiting(self, record: MessageRecord) -> None:
        """Take an answered message off the index of those that wait."""
        self._change(record, states.STOP_AWAITING, {})

    def identify(self, record: MessageRecord, reply_to: str) -> bool:
        """Give a message whose id in LangBot is not known that of a turn; return False if it has one now."""
        return self._change(record, states.IDENTIFY, {"accepted_message_id": reply_to})[0]

    def give_up(self, record: MessageRecord, now: float, last_error: str) -> bool:
        """Mark a message as unanswered; return False if it was settled meanwhile."""
        at = utc_text(now)
        indexed = {"awaiting": UNANSWERED, "due_at": at}
        return self._change(
            record, states.GIVE_UP, {"unanswered_at": at, "last_error": last_error} | indexed
        )[0]

    def mark_resent(self, original: RecordKey, resent_as: str, now: float) -> MessageRecord:
        """Make `resent_as`, the key of a message of the same session, the only resend of `original`.

        Return the record of `original` if it is (it may have been before). Raise InvalidState if not.
        """
        record = self.read(original)
        if record is None:
            raise InvalidState("the original message is not known")
        expires_at = expiry_of_resent(record["expires_at"])
        values = {"resent_as": resent_as, "resent_at": utc_text(now), "expires_at": expires_at}
        changed, item = self._change(record, states.RESEND, values)
        # Push and the sender of the resend both mark the original, and either may be the first.
        if not changed and (item.get("state"), item.get("resent_as")) != (State.RESENT, resent_as):
            raise InvalidState(f"the original message is {item.get('state')}")
        return record

    def drop(self, key: RecordKey, reason: str, now: float) -> bool:
        """Close a parked or unanswered message for good; return False for any other."""
        return self._change(
            key, states.DROP, {"drop_reason": reason[:MAX_REASON], "dropped_at": utc_text(now)}
        )[0]

    def _change(
        self, key: RecordKey | MessageRecord, transition: Transition, values: Mapping[str, Any]
    ) -> tuple[bool, Item]:
        """Make a transition, which sets `values`: all that the transition names, and nothing else.

        Return whether it was allowed, and the record as it was before.
        """
        change, condition, named = rendered(transition)
        return self._table.update_returning(
            "ALL_OLD",
            record_key(key["session"], key["message"]),
            change,
            condition,
            {f":{name}": value for name, value in (*values.items(), *named.items())},
        )

    # ---------------------------------------------------------------- bots

    def bot_items(self) -> list[Item]:
        """Return the items of the bots that messages were sent to; `message` is the name of the bot."""
        return list(self._table.query("#session = :bots", {":bots": BOTS}))

    def bot_state(self, bot: str) -> BotState:
        """Return the state of a bot; `bot` is "" for a message that cannot be read."""
        return BotState.of((bot and self._table.get({"session": BOTS, "message": bot})) or {})


def _records(items: Iterable[Item]) -> Iterator[MessageRecord]:
    # A message that an older version sent again has an item without a state beside its record.
    return (current(item) for item in items if "state" in item)


def _answer(kind: AnswerKind, final: FinalPart) -> dict[str, Any]:
    return {
        "answer_kind": kind,
        "answered_by": final.reply_to,
        "answered_at": utc_text(final.sent_at),
        "answer_part": final.part,
    }


@cache
def rendered(transition: Transition) -> tuple[str, str, Mapping[str, str]]:
    """Return a transition as the expressions of an update: change, condition, and their constant values."""
    set_ = [*(["#state = :to"] if transition.to else []), *(f"{name} = :{name}" for name in transition.sets)]
    change = [f"SET {', '.join(set_)}"] if set_ else []
    if transition.removes:
        change.append(f"REMOVE {', '.join(transition.removes)}")
    allowed = " OR ".join(map(_origin, transition.allowed_from))
    # DynamoDB refuses parentheses that change nothing.
    conditions = [
        f"({allowed})" if len(transition.allowed_from) > 1 else allowed,
        *(f"attribute_not_exists({name})" for name in transition.absent),
    ]
    named = {f"from_{origin.state}": str(origin.state) for origin in transition.allowed_from}
    named |= {f"kind_{kind}": str(kind) for origin in transition.allowed_from for kind in origin.kinds}
    if transition.to:
        named["to"] = str(transition.to)
    return " ".join(change), " AND ".join(conditions), named


def _origin(origin: From) -> str:
    conditions = [f"#state = :from_{origin.state}"]
    if origin.kinds:
        kinds = f"answer_kind IN ({', '.join(f':kind_{kind}' for kind in origin.kinds)})"
        marks = [f"attribute_exists({mark})" for mark, kind in FORMER_MARKS.items() if kind in origin.kinds]
        if marks:
            kinds += f" OR attribute_not_exists(answer_kind) AND ({' OR '.join(marks)})"
        conditions.append(f"({kinds})")
    if origin.sent:
        conditions.append(f"answered_at {'<' if origin.sent is Sent.BEFORE else '>'} :answered_at")
    return f"({' AND '.join(conditions)})" if len(conditions) > 1 else conditions[0]
