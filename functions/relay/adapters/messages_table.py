"""MessagesTable: what became of each message."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, cast

from relay.adapters.dynamodb import IS_NEW, Item, Table
from relay.adapters.overflow_bucket import OverflowBucket, OverflowingItem, message_path, put_item
from relay.domain.admission import BotState
from relay.domain.attempt import AttemptEntry, AttemptHistory
from relay.domain.keys import (
    BOTS,
    OPERATOR,
    RecordKey,
    bot_of,
    earlier_id_key,
    record_key,
    unidentified_reply,
)
from relay.domain.record import MessageRecord, State
from relay.domain.settlement import FinalPart
from relay.domain.timestamps import UtcText, unix_seconds, utc_text
from relay.errors import InvalidState

_DELIVERED = {":delivered": State.DELIVERED}
_FAILED = {":parked": State.PARKED, ":unanswered": State.UNANSWERED}
_UNSETTLED = _DELIVERED | {":unanswered": State.UNANSWERED}
_MARKS = ("indirect", "probable", "unfinished")
"""What a record says of the reply that answered its message, if that is not its own turn's final part."""

_WITHOUT_BODY = "#session, #message, #state, accepted_message_id, delivered_at, indirect, awaiting"

_SET_ANSWERED = "SET #state = :answered, answered_by = :reply_to, answered_at = :sent_at, answer_part = :part"


class MessagesTable:
    """The records of messages.

    Until a message is delivered, only its place in the queue writes its record. Afterwards every write has a
    condition, so that settling twice or in any order gives the same. All methods raise botocore's errors.
    """

    def __init__(self, table: Table, bucket: OverflowBucket) -> None:
        self._table = table
        self._bucket = bucket

    # ---------------------------------------------------------------- one record

    def read(self, key: RecordKey) -> MessageRecord | None:
        """Return the record of a message, or None if nothing was written yet."""
        return cast(MessageRecord | None, self._table.get(key))

    def read_many(self, keys: Sequence[RecordKey]) -> list[MessageRecord]:
        """Return the records of at most 100 messages, in any order; some may be missing or a moment old."""
        return cast(list[MessageRecord], self._table.get_many(keys))

    def write(self, record: MessageRecord, if_new: bool = False) -> bool:
        """Write a record as a whole; a body that it cannot hold goes to the overflow bucket.

        Only a record that says `retrying` is replaced, and with `if_new` none. Return whether it was written:
        SQS can deliver a message twice, and the other delivery may have ended it, or used more keys.
        """
        condition, values = IS_NEW, dict[str, Any]()
        if not if_new:
            condition, values = f"{IS_NEW} OR #state = :retrying", {":retrying": State.RETRYING}
            if "refusals" in record and record["state"] != State.PARKED:
                condition += " AND refusals <= :refusals"
                values[":refusals"] = record["refusals"]
        without_body = {name: value for name, value in record.items() if name != "body"}
        path = message_path(record["message_id"])
        raw = record["body"].encode()
        entry = OverflowingItem(record, without_body, raw, path)
        return put_item(self._table, self._bucket, entry, condition, values)

    def body(self, record: MessageRecord) -> str:
        """Return the message of a record, as it was queued."""
        return self._bucket.get(record["overflow"]).decode() if "overflow" in record else record["body"]

    # ---------------------------------------------------------------- queries

    def bots(self) -> list[str]:
        """Return the bots that messages were sent to."""
        return [item["message"] for item in self.bot_items()]

    def bot_items(self) -> list[Item]:
        """Return the items of the bots that messages were sent to; `message` is the name of the bot."""
        return list(self._table.query("#session = :bots", {":bots": BOTS}))

    def count_awaiting(self, bot: str, limit: int) -> int:
        """Count the messages of a bot that wait for a reply, up to `limit`."""
        return self._table.count("#awaiting = :bot", {":bot": bot}, IndexName="awaiting", Limit=limit)

    def bot_state(self, bot: str) -> BotState:
        """Return the state of a bot; `bot` is "" for a message that cannot be read."""
        return BotState.of((bot and self._table.get({"session": BOTS, "message": bot})) or {})

    def overdue(self, bot: str, now: UtcText) -> Iterator[RecordKey]:
        """Return the keys of a bot's messages whose deadline is before `now`, a hundred at a time."""
        condition = "#awaiting = :bot AND due_at < :now"
        found = self._table.query(condition, {":bot": bot, ":now": now}, IndexName="awaiting", Limit=100)
        return (record_key(item["session"], item["message"]) for item in found)

    def to_handle(self) -> Iterator[MessageRecord]:
        """Return the messages that wait for an operator, in the order in which they began to."""
        keys = self._table.query("#awaiting = :operator", {":operator": OPERATOR}, IndexName="awaiting")
        records = (self.read(record_key(key["session"], key["message"])) for key in keys)
        # The index is a moment behind.
        return (record for record in records if record and record.get("awaiting") == OPERATOR)

    def first_to_handle(self, limit: int) -> list[RecordKey]:
        """Return the keys of the first messages of `to_handle`, of one page at the most."""
        values = {":operator": OPERATOR}
        found = self._table.first_page("#awaiting = :operator", values, IndexName="awaiting", Limit=limit)
        return [record_key(item["session"], item["message"]) for item in found]

    def recent(self, day: str, page: int = 100) -> Iterator[RecordKey]:
        """Return the keys of the messages that were queued on a day (UTC, as 2026-11-25), newest first.

        The index is a moment behind. `page` is how many are read at a time, when so many are asked for.
        """
        found = self._table.query(
            "queued_on = :day", {":day": day}, IndexName="by_day", ScanIndexForward=False, Limit=page
        )
        return (record_key(item["session"], item["message"]) for item in found)

    def of_session(self, session: str) -> Iterator[MessageRecord]:
        """Return the messages of a session, in queue order."""
        items = self._table.query("#session = :session", {":session": session})
        return (cast(MessageRecord, item) for item in items if "state" in item)

    def newest_first(self, session: str) -> Iterator[MessageRecord]:
        """Return the messages of a session, the last one first. A page of twenty is read if so many are."""
        items = self._table.query(
            "#session = :session", {":session": session}, ScanIndexForward=False, Limit=20
        )
        return (cast(MessageRecord, item) for item in items if "state" in item)

    def messages_after(self, key: RecordKey, limit: int) -> list[MessageRecord]:
        """Return the next messages of the session after one, in queue order."""
        return self._next(key, limit)

    def states_after(self, key: RecordKey, limit: int) -> list[MessageRecord]:
        """Return what settling needs of the next messages of the session after one, in queue order."""
        return self._next(key, limit, ProjectionExpression=_WITHOUT_BODY)

    def messages_before(self, key: RecordKey, limit: int) -> list[MessageRecord]:
        """Return the last messages of the session before one, in queue order; of one page at the most."""
        condition = "#session = :session AND #message < :message"
        values = {":session": key["session"], ":message": key["message"]}
        found = self._table.first_page(condition, values, Limit=limit, ScanIndexForward=False)
        return cast(list[MessageRecord], [item for item in reversed(found) if "state" in item])

    def find_by_reply_to(self, reply_to: str, session: str) -> RecordKey | None:
        """Return the key of the message of `session` that a turn answers."""
        return next((key for key in self._awaiting_reply(reply_to) if key["session"] == session), None)

    def record_of_reply(self, reply_to: str, session: str) -> MessageRecord | None:
        """Return the record of the message of `session` that a turn answers, or None if none is known."""
        key = self.find_by_reply_to(reply_to, session)
        return self.read(key) if key else None

    def open_messages(self, session: str) -> Iterator[RecordKey]:
        """Return the keys of a session's messages that wait for a reply, the first delivered first.

        To find them takes reading the keys of all messages of the bot that wait.

        The index is a moment behind: it shows what happened more than a second ago.
        """
        values = {":bot": bot_of(session), ":session": session}
        found = self._table.query(
            "#awaiting = :bot", values, IndexName="awaiting", FilterExpression="#session = :session"
        )
        return (record_key(item["session"], item["message"]) for item in found)

    # ---------------------------------------------------------------- changes

    def claim_unidentified(self, final: FinalPart) -> RecordKey | None:
        """Give a turn that no known message began to the session's first message whose id is not known.

        The first 100 of such messages are tried. Those that were dropped or resent are among them.
        """
        unidentified = unidentified_reply(final.session)
        for key in islice(self._awaiting_reply(unidentified), 100):
            if self._table.update(
                key,
                "SET accepted_message_id = :reply_to, awaited_reply = :reply_to",
                # The message counts as delivered from the 409 on, which can be later than its reply.
                "#state IN (:delivered, :unanswered) AND awaited_reply = :unidentified "
                "AND queued_at < :before",
                {
                    ":reply_to": final.reply_to,
                    ":unidentified": unidentified,
                    ":before": utc_text(final.sent_before),
                    **_UNSETTLED,
                },
            ):
                return key
        return None

    def mark_answered(
        self, key: RecordKey, final: FinalPart, unfinished: bool = False
    ) -> MessageRecord | None:
        """Mark a message as answered by its own reply, unless an earlier part of that reply has answered it.

        `unfinished` says that the reply has no final part. Return the record as it was before, or None if it
        stays.
        """
        condition = (
            "attribute_exists(delivered_at) AND #state <> :dropped AND (indirect = :yes OR probable = :yes "
            "OR unfinished = :yes OR attribute_not_exists(answered_at) OR answered_at > :sent_at)"
        )
        marks: dict[str, Any] = {"unfinished": True} if unfinished else {}
        return self._answer(key, final, condition, {":dropped": State.DROPPED, ":yes": True}, marks)

    def mark_answered_by_push(self, key: RecordKey, final: FinalPart, probable: bool) -> MessageRecord | None:
        """Mark a message that waits as answered by a push that names none; return as `mark_answered` does."""
        marks = {"probable": True} if probable else {}
        condition = "#state = :delivered OR indirect = :yes"
        return self._answer(key, final, condition, {":yes": True, **_DELIVERED}, marks)

    def mark_merged(self, record: MessageRecord, final: FinalPart, due_at: float) -> None:
        """Mark a message as answered by another message's turn.

        Its own turn stays, and so does a later turn that absorbed it. If the message awaits its own reply, it
        still does until `due_at` (Unix seconds): LangBot may not have merged it.
        """
        change, values = _SET_ANSWERED + ", indirect = :yes", _answered_by(final) | {":yes": True}
        if record.get("awaiting") == final.bot:
            change, values = change + ", due_at = :due_at", values | {":due_at": utc_text(due_at)}
        else:
            change += " REMOVE awaiting, due_at"
        self._table.update(
            _key(record),
            change,
            "#state IN (:delivered, :unanswered) OR (indirect = :yes AND answered_at < :sent_at)",
            values | _UNSETTLED,
        )

    def stop_awaiting(self, key: RecordKey) -> None:
        """Take an answered message off the index of those that wait."""
        self._table.update(
            key, "REMOVE awaiting, due_at", "#state = :answered", {":answered": State.ANSWERED}
        )

    def mark_unanswered(self, key: RecordKey, now: float, last_error: str) -> bool:
        """Mark a message as unanswered; return False if it was settled meanwhile."""
        return self._table.update(
            key,
            "SET #state = :unanswered, unanswered_at = :now, last_error = :error, "
            "awaiting = :operator, due_at = :now",
            "#state = :delivered",
            {":now": utc_text(now), ":error": last_error, ":operator": OPERATOR, **_UNSETTLED},
        )

    def mark_resent(self, original: RecordKey, resent_as: str, now: float) -> MessageRecord:
        """Make `resent_as`, the key of a message of the same session, the only resend of `original`.

        Return the record of `original` if it is (it may have been before). Raise InvalidState if not.
        """
        changed, item = self._table.update_returning(
            "ALL_OLD",
            original,
            "SET #state = :resent, resent_as = :resend, resent_at = :now REMOVE awaiting, due_at",
            "#state IN (:parked, :unanswered)",
            {":resent": State.RESENT, ":resend": resent_as, ":now": utc_text(now), **_FAILED},
        )
        if not item:
            raise InvalidState("the original message is not known")
        record = cast(MessageRecord, item)
        if changed or record.get("resent_as") == resent_as:
            return record
        if "resent_as" in record:
            raise InvalidState(f"the original message was resent before, as {record['resent_as']}")
        raise InvalidState(f"the original message is {record['state']}")

    def mark_dropped(self, key: RecordKey, reason: str, now: float) -> bool:
        """Close a parked or unanswered message for good; return False for any other."""
        return self._table.update(
            key,
            "SET #state = :dropped, drop_reason = :reason, dropped_at = :now REMOVE awaiting, due_at",
            "#state IN (:parked, :unanswered)",
            {":dropped": State.DROPPED, ":reason": reason, ":now": utc_text(now), **_FAILED},
        )

    def record_failed_resend(self, record: MessageRecord, history: AttemptHistory) -> None:
        """Record what the next attempt to resend an unanswered message needs."""
        self._table.update(
            _key(record),
            "SET refusals = :n, last_attempts = :attempts",
            "#state = :delivered",
            {":n": history.keys_used, ":attempts": list(history.entries), **_DELIVERED},
        )

    def mark_redelivered(
        self,
        record: MessageRecord,
        reply_to: str | None,
        entries: Iterable[AttemptEntry],
        now: float,
        due_at: float,
    ) -> None:
        """Record that LangBot has accepted a message again, as `reply_to`, unless it is settled meanwhile.

        A reply under its earlier id still answers it: another item keeps that id.
        """
        resends = record.get("resends", 0)
        expires_at = record["expires_at"] + int(due_at - unix_seconds(record["due_at"]))
        if "accepted_message_id" in record:
            self._table.put(
                {
                    "session": record["session"],
                    "message": earlier_id_key(record["message"], resends),
                    "awaited_reply": record["accepted_message_id"],
                    "expires_at": expires_at,
                }
            )
        identified = (
            ("SET accepted_message_id = :reply, ", "") if reply_to else ("SET ", ", accepted_message_id")
        )
        self._table.update(
            _key(record),
            f"{identified[0]}awaited_reply = :reply, delivered_at = :now, due_at = :due_at, "
            "expires_at = :expires_at, "
            "resends = :resends, attempts = attempts + :one, last_attempts = :attempts "
            f"REMOVE refusals{identified[1]}",
            "#state = :delivered AND due_at = :was",
            {
                ":reply": reply_to or unidentified_reply(record["session"]),
                ":now": utc_text(now),
                ":due_at": utc_text(due_at),
                ":expires_at": expires_at,
                ":was": record["due_at"],
                ":resends": resends + 1,
                ":one": 1,
                ":attempts": list(entries),
                **_DELIVERED,
            },
        )

    def _answer(
        self,
        key: RecordKey,
        final: FinalPart,
        condition: str,
        values: dict[str, Any],
        marks: dict[str, Any],
    ) -> MessageRecord | None:
        change = ", ".join([_SET_ANSWERED, *(f"{name} = :{name}" for name in marks)])
        removed = ["awaiting", "due_at", *(name for name in _MARKS if name not in marks)]
        changed, before = self._table.update_returning(
            "ALL_OLD",
            key,
            f"{change} REMOVE {', '.join(removed)}",
            condition,
            _answered_by(final) | values | {f":{name}": value for name, value in marks.items()},
        )
        return cast(MessageRecord, before) if changed else None

    def _next(self, key: RecordKey, limit: int, **more: Any) -> list[MessageRecord]:
        condition = "#session = :session AND #message > :message"
        values = {":session": key["session"], ":message": key["message"]}
        # Their bodies can fill many pages.
        found = self._table.query(condition, values, Limit=limit, **more)
        return cast(list[MessageRecord], list(islice(found, limit)))

    def _awaiting_reply(self, reply_to: str) -> Iterator[RecordKey]:
        found = self._table.query("awaited_reply = :reply_to", {":reply_to": reply_to}, IndexName="by_reply")
        return (record_key(item["session"], item["message"]) for item in found)


def _key(record: MessageRecord) -> RecordKey:
    return record_key(record["session"], record["message"])


def _answered_by(final: FinalPart) -> dict[str, Any]:
    return {
        ":answered": State.ANSWERED,
        ":reply_to": final.reply_to,
        ":sent_at": utc_text(final.sent_at),
        ":part": final.part,
    }
