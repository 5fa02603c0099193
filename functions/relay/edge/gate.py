"""What stands before each bot: its item in MessagesTable, under the session `bots`."""

import time
from collections.abc import Callable
from typing import Any

from relay.edge.ledger import BOTS
from relay.edge.table import from_item, to_item
from relay.rules import gate as rules
from relay.rules.gate import Move, Standing, Wait
from relay.rules.part import utc

TRIES = 4
"""How often a message tries at the gate while others change what it has seen."""


class Gate:
    """Lets messages through to their bots, all functions together: one conditional write a message.

    Nothing has to be given back: the places are counted anew each second, from the index of the messages that
    wait for an answer. So whatever dies between two steps, or whatever stands in the item, is over by then.
    """

    def __init__(
        self,
        dynamodb: Any,
        table: str,
        max_awaiting: int,
        answer_deadline: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._most = max_awaiting
        self._deadline = answer_deadline
        self._clock = clock
        self._seen: dict[str, tuple[float, Standing]] = {}

    def enter(self, bot: str, expects_reply: bool, lasts: int) -> Standing | Wait:
        """Lets a message through to `bot`, whose attempt may last so many seconds, or has it wait.

        One that expects no reply takes no place. Raises botocore's errors.
        """
        takes_place = expects_reply and self._most > 0
        standing = self._standing(bot)
        for _ in range(TRIES):
            now = self._clock()
            move = rules.next_move(standing, now, takes_place)
            if isinstance(move, Wait):
                return move
            if move is Move.GO:
                return standing
            done, standing = self._do(move, bot, standing, now, takes_place, lasts)
            if done:
                return standing
        return Wait(rules.WINDOW, full=True)

    def _do(
        self, move: Move, bot: str, seen: Standing, now: float, takes_place: bool, lasts: int
    ) -> tuple[bool, Standing]:
        """Makes a move; whether the message is through by it, and how the bot stands now."""
        if move is Move.TAKE:
            return self._update(
                bot,
                seen,
                ["window_ends", "probe_at"],
                "SET taken = taken + :one",
                {":one": 1},
                "taken < places",
            )
        if move is Move.PROBE:
            later = utc(now + min(lasts, rules.LONGEST_PAUSE))
            return self._update(
                bot, seen, ["probe_at"], "SET probe_at = :t, probing = :yes", {":t": later, ":yes": True}
            )
        places = rules.places(self._most, self._awaiting(bot, now) if takes_place else 0, seen, now)
        taken = min(places, int(takes_place))
        done, standing = self._update(
            bot,
            seen,
            ["window_ends", "probe_at"],
            "SET window_ends = :ends, places = :places, taken = :taken",
            {":ends": utc(now + rules.WINDOW), ":places": places, ":taken": taken},
        )
        return done and taken == takes_place, standing

    def failed(self, bot: str, before: Standing, retry_after: float) -> None:
        """Writes down that an attempt failed which was let through as the bot stood `before`.

        Of several that failed side by side only one counts. Raises botocore's errors.
        """
        failures = before.failures + 1
        change = "SET failures = :n, probe_at = :t, failing_since = if_not_exists(failing_since, :now)"
        if failures >= rules.UNREACHABLE_AFTER:
            change += ", unreachable_since = if_not_exists(unreachable_since, failing_since)"
        now = self._clock()
        later = utc(now + rules.pause(failures, retry_after))
        self._update(
            bot,
            before,
            ["failures"],
            change + " REMOVE probing",
            {":n": failures, ":t": later, ":now": utc(now)},
        )

    def worked(self, bot: str, before: Standing) -> None:
        """Opens the gate again where an attempt worked after some that failed. Raises botocore's errors."""
        if before.probe_at:
            self._update(
                bot, before, [], "REMOVE failures, probe_at, probing, failing_since, unreachable_since", {}
            )

    def _standing(self, bot: str) -> Standing:
        seen_at, standing = self._seen.get(bot, (0.0, None))
        if standing and self._clock() - seen_at < rules.WINDOW:
            return standing
        answer = self._dynamodb.get_item(TableName=self._table, Key=_key(bot), ConsistentRead=True)
        return self._see(bot, answer.get("Item", {}))

    def _see(self, bot: str, item: dict[str, Any]) -> Standing:
        standing = Standing.of(from_item(item))
        self._seen[bot] = (self._clock(), standing)
        return standing

    def _awaiting(self, bot: str, now: float) -> int:
        """The bot's messages that wait for an answer and have not given their places back.

        A deadline further off than any is one that was set before AnswerDeadline was changed; it says
        nothing of the place.
        """
        since, until = rules.due_at(now, self._deadline), now + self._deadline + rules.SKEW
        answer = self._dynamodb.query(
            TableName=self._table,
            IndexName="awaiting",
            Select="COUNT",
            KeyConditionExpression="awaiting = :bot AND due_at BETWEEN :since AND :until",
            ExpressionAttributeValues=to_item({":bot": bot, ":since": utc(since), ":until": utc(until)}),
            Limit=self._most,
        )
        count: int = answer["Count"]
        return count

    def _update(
        self,
        bot: str,
        seen: Standing,
        unchanged: list[str],
        change: str,
        values: dict[str, Any],
        condition: str = "",
    ) -> tuple[bool, Standing]:
        """Changes a bot's item where that is as it was seen; whether it was, and how it is now."""
        conditions = [condition] if condition else []
        for name in unchanged:
            if name in seen.item:
                conditions.append(f"{name} = :seen_{name}")
                values[f":seen_{name}"] = seen.item[name]
            else:
                conditions.append(f"attribute_not_exists({name})")
        more: dict[str, Any] = {"ConditionExpression": " AND ".join(conditions)} if conditions else {}
        if values:
            more["ExpressionAttributeValues"] = to_item(values)
        try:
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key=_key(bot),
                UpdateExpression=change,
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **more,
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException as error:
            return False, self._see(bot, error.response.get("Item", {}))
        return True, self._see(bot, answer["Attributes"])


def _key(bot: str) -> dict[str, Any]:
    return to_item({"session": BOTS, "message": bot})
