"""MessagesTable: what became of each message."""

from collections.abc import Iterator
from typing import Any

from relay.edge.table import TableWithOverflow, from_item, query, to_item
from relay.rules.ledger import SOMEBODY, State, unknown_reply
from relay.rules.part import utc
from relay.rules.settling import Final

_DELIVERED = {":delivered": State.DELIVERED}
_BAD_ENDS = {":parked": State.PARKED, ":unanswered": State.UNANSWERED}
_OPEN = _DELIVERED | {":unanswered": State.UNANSWERED}
_ANSWERED = "SET #state = :answered, answered_by = :r, answered_at = :t"

BOTS = "bots"
"""Where the bots stand that messages were sent to; no session's key is without a `#`."""


class Ledger:
    """The states of messages.

    While a message is delivered it has one writer, its place in the queue; afterwards every write has
    a condition, under which settling twice or in any order gives the same.
    """

    def __init__(self, dynamodb: Any, table: str, s3: Any = None, bucket: str = "") -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._s3 = s3
        self._bucket = bucket
        self._items = TableWithOverflow(dynamodb, table, s3, bucket)

    def read(self, key: dict[str, str]) -> dict[str, Any] | None:
        """The item of a message, or None where nothing was written yet. Raises botocore's errors."""
        answer = self._dynamodb.get_item(TableName=self._table, Key=_key(key), ConsistentRead=True)
        return from_item(answer["Item"]) if "Item" in answer else None

    def write(self, item: dict[str, Any]) -> None:
        """Writes an item whole; a body that it cannot hold goes to the overflow bucket."""
        bare = {name: value for name, value in item.items() if name != "body"}
        self._items.put(item, bare, item["body"].encode(), f"messages/{item['message_id']}.json", once=False)

    def body(self, item: dict[str, Any]) -> str:
        """The message of an item, as it was queued. Raises botocore's errors."""
        if "overflow" not in item:
            text: str = item["body"]
            return text
        raw: bytes = self._s3.get_object(Bucket=self._bucket, Key=item["overflow"])["Body"].read()
        return raw.decode()

    def bots(self) -> list[str]:
        """The bots that messages were sent to."""
        return [item["message"] for item in self._query("#s = :s", {"#s": "session"}, {":s": BOTS})]

    def overdue(self, bot: str, now: str) -> Iterator[dict[str, Any]]:
        """The keys of a bot's messages whose deadline is before `now`."""
        return self._query(
            "#a = :a AND #d < :d",
            {"#a": "awaiting", "#d": "due_at"},
            {":a": bot, ":d": now},
            IndexName="awaiting",
        )

    def answered_by(self, reply_to: str, session: str) -> dict[str, Any] | None:
        """The key of the message that a turn answers."""
        for key in self._by_reply(reply_to):
            if key["session"] == session:
                return {"session": session, "message": key["message"].partition("#")[0]}
        return None

    def claim(self, final: Final) -> dict[str, Any] | None:
        """Gives a turn that is nobody's to the session's first message whose id is not known."""
        unknown = unknown_reply(final.session)
        for key in self._by_reply(unknown):
            if self._update(
                key,
                "SET accepted_message_id = :r, awaited_reply = :r",
                # It counts as delivered from the 409 on, which can be later than its reply.
                "#state IN (:delivered, :unanswered) AND awaited_reply = :u AND queued_at < :t",
                {":r": final.reply_to, ":u": unknown, ":t": final.sent_before} | _OPEN,
            ):
                return key
        return None

    def later(self, key: dict[str, Any], most: int) -> list[dict[str, Any]]:
        """The session's messages after one, in queue order."""
        answer = self._dynamodb.query(
            TableName=self._table,
            KeyConditionExpression="#s = :s AND #m > :m",
            ExpressionAttributeNames={"#s": "session", "#m": "message"},
            ExpressionAttributeValues=to_item({":s": key["session"], ":m": key["message"]}),
            Limit=most,
        )
        return [from_item(item) for item in answer["Items"]]

    def answer(self, key: dict[str, Any], final: Final) -> bool:
        """Marks a message as answered by its own turn, unless it was by an earlier part of that."""
        return self._update(
            key,
            _ANSWERED + " REMOVE awaiting, due_at, indirect",
            "attribute_exists(delivered_at) AND #state <> :dropped "
            "AND (indirect = :yes OR attribute_not_exists(answered_at) OR answered_at > :t)",
            _by(final) | {":yes": True, ":dropped": State.DROPPED},
        )

    def answer_indirectly(self, item: dict[str, Any], final: Final, due_at: float) -> bool:
        """Marks a message as answered by another's turn, unless it has a direct answer or a later turn took
        it in. If it awaits its own it still does, until `due_at` (Unix seconds): it may not have been merged.
        """
        change, values = _ANSWERED + ", indirect = :yes", _by(final) | {":yes": True}
        if "awaiting" in item:
            change, values = change + ", due_at = :due", values | {":due": utc(due_at)}
        return self._update(
            item,
            change,
            "#state IN (:delivered, :unanswered) OR (indirect = :yes AND answered_at < :t)",
            values | _OPEN,
        )

    def await_no_more(self, key: dict[str, Any]) -> None:
        """Takes a message that is answered, if indirectly, out of those that wait."""
        self._update(key, "REMOVE awaiting, due_at", "#state = :answered", {":answered": State.ANSWERED})

    def give_up(self, key: dict[str, Any], now: str, why: str) -> bool:
        """Marks a message as unanswered; False where it was settled meanwhile."""
        return self._update(
            key,
            "SET #state = :unanswered, unanswered_at = :now, last_error = :why REMOVE awaiting, due_at",
            "#state = :delivered",
            {":now": now, ":why": why} | _OPEN,
        )

    def resend(self, session: str, original: str, repetition: str, now: float) -> str | None:
        """Makes `repetition` the one message that repeats `original`, both keys in `session`.

        None where it is, and was before; else why it may not be. Raises botocore's errors.
        """
        key = {"session": session, "message": original}
        if self._update(
            key,
            "SET #state = :resent, resent_as = :me, resent_at = :now REMOVE awaiting, due_at",
            "#state IN (:parked, :unanswered)",
            {":resent": State.RESENT, ":me": repetition, ":now": utc(now)} | _BAD_ENDS,
        ):
            return None
        item = self.read(key)
        if item is None:
            return "the message that it repeats is not known"
        if item.get("resent_as") == repetition:
            return None
        if "resent_as" in item:
            return f"the message that it repeats was sent again before, as {item['resent_as']}"
        return f"the message that it repeats is {item['state']}"

    def drop(self, key: dict[str, Any], reason: str, now: float) -> bool:
        """Closes a parked or unanswered message for good; False for any other. Raises botocore's errors."""
        return self._update(
            key,
            "SET #state = :dropped, drop_reason = :reason, dropped_at = :now REMOVE awaiting, due_at",
            "#state IN (:parked, :unanswered)",
            {":dropped": State.DROPPED, ":reason": reason, ":now": utc(now)} | _BAD_ENDS,
        )

    def parked(self) -> Iterator[dict[str, Any]]:
        """The messages that wait for somebody, in the order of their parking. Raises botocore's errors."""
        keys = self._query("#a = :a", {"#a": "awaiting"}, {":a": SOMEBODY}, IndexName="awaiting")
        # The index is a moment behind.
        return (item for key in keys if (item := self.read(key)) and item.get("awaiting") == SOMEBODY)

    def of_session(self, session: str) -> Iterator[dict[str, Any]]:
        """The messages of a session, in queue order. Raises botocore's errors."""
        items = self._query("#s = :s", {"#s": "session"}, {":s": session})
        return (item for item in items if "state" in item)

    def note_refusals(self, item: dict[str, Any], refusals: int) -> None:
        """Keeps what the next attempt to send a message again needs. Raises botocore's errors."""
        self._update(item, "SET refusals = :n", "#state = :delivered", {":n": refusals} | _DELIVERED)

    def delivered_again(self, item: dict[str, Any], reply_to: str | None, now: float, deadline: int) -> None:
        """Writes down that LangBot has accepted a message once more, unless it is settled meanwhile.

        A reply under its id of before still answers it: an item beside it keeps that id. Raises botocore's
        errors.
        """
        resends = item.get("resends", 0)
        if "accepted_message_id" in item:
            before = {
                "session": item["session"],
                "message": f"{item['message']}#{resends}",
                "awaited_reply": item["accepted_message_id"],
                "expires_at": item["expires_at"],
            }
            self._dynamodb.put_item(TableName=self._table, Item=to_item(before))
        change = (
            "SET awaited_reply = :r, delivered_at = :now, due_at = :due, resends = :n, "
            "attempts = attempts + :one, accepted_message_id = :r REMOVE refusals"
        )
        if reply_to is None:
            change = change.replace(", accepted_message_id = :r REMOVE ", " REMOVE accepted_message_id, ")
        values = {
            ":r": reply_to or unknown_reply(item["session"]),
            ":now": utc(now),
            ":due": utc(now + deadline),
            ":was": item["due_at"],
            ":n": resends + 1,
            ":one": 1,
        }
        self._update(item, change, "#state = :delivered AND due_at = :was", values | _DELIVERED)

    def _by_reply(self, reply: str) -> Iterator[dict[str, Any]]:
        return self._query("#r = :r", {"#r": "awaited_reply"}, {":r": reply}, IndexName="by_reply")

    def _query(
        self, condition: str, names: dict[str, str], values: dict[str, Any], **more: str
    ) -> Iterator[dict[str, Any]]:
        return query(self._dynamodb, self._table, condition, names, values, **more)

    def _update(self, key: dict[str, Any], change: str, condition: str, values: dict[str, Any]) -> bool:
        try:
            self._dynamodb.update_item(
                TableName=self._table,
                Key=_key(key),
                UpdateExpression=change,
                ConditionExpression=condition,
                ExpressionAttributeNames={"#state": "state"},
                ExpressionAttributeValues=to_item(values),
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True


def _by(final: Final) -> dict[str, Any]:
    return {":answered": State.ANSWERED, ":r": final.reply_to, ":t": final.sent_at}


def _key(item: dict[str, Any]) -> dict[str, Any]:
    return to_item({"session": item["session"], "message": item["message"]})
