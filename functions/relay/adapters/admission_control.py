"""Admission control before each bot, by the bot's item in MessagesTable under the session `bots`."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from relay.adapters.dynamodb import Item, Table
from relay.domain import admission
from relay.domain.admission import BotState, Decision, Deferred
from relay.domain.attempt import Outcome
from relay.domain.keys import BOTS
from relay.domain.record import MAX_REASON
from relay.domain.timestamps import Clock, utc_text

MAX_TRIES = 4
"""How often a message tries to be admitted while others change what it has read."""


@dataclass(frozen=True)
class Permit:
    """Permission for one attempt at `bot`; `state` is the bot's state when it was given."""

    bot: str
    state: BotState


@dataclass(frozen=True)
class _Change:
    """A change of a bot's item, which `unchanged` attributes must allow by being as they were read."""

    expression: str
    values: Mapping[str, Any]
    unchanged: tuple[str, ...] = ()
    condition: str = ""

    def with_lane(self, lane: str, entry: str) -> "_Change":
        """Return the change that also takes a lane."""
        return replace(
            self,
            expression=f"{self.expression}, {lane} = :lane" if self.expression else f"SET {lane} = :lane",
            values={**self.values, ":lane": entry},
            unchanged=(*self.unchanged, lane),
        )


class AdmissionControl:
    """Admits messages to their bots, for all functions together: one conditional write a message.

    Nothing has to be given back: the slots are counted again each second, from the index of the messages that
    wait for an answer. So if a function dies between two steps, or the item is wrong, a second mends it.
    All methods raise botocore's errors.
    """

    def __init__(
        self,
        table: Table,
        max_in_flight: int,
        answer_deadline: int,
        lanes: int = admission.LANES,
        clock: Clock = time.time,
    ) -> None:
        """`max_in_flight` 0 is no limit; `answer_deadline` in seconds; `lanes` are those that a bot has."""
        self._lanes = lanes
        self._table = table
        self._max_in_flight = max_in_flight
        self._answer_deadline = answer_deadline
        self._clock = clock
        self._states: dict[str, tuple[float, BotState]] = {}

    def admit(
        self, bot: str, needs_slot: bool, max_duration: int, batch: str | None = None
    ) -> Permit | Deferred:
        """Admit a message to `bot`, whose attempt lasts at most `max_duration` seconds, or defer it.

        A message that expects no reply needs no slot. One of a `batch` needs a lane, which the batch gives
        back by `leave`. The write that takes a slot takes the lane as well.
        """
        needs_slot = needs_slot and self._max_in_flight > 0
        permit = Permit(bot, self._state(bot))
        for _ in range(MAX_TRIES):
            now = self._clock()
            decision = admission.decide(permit.state, now, needs_slot)
            if isinstance(decision, Deferred):
                return decision
            lane = admission.lane_for(permit.state, batch, self._lanes, now) if batch else None
            if batch and lane is None and decision is not Decision.PROBE:
                return Deferred(admission.SLOT_COUNT_TTL, full=True)
            has_lane = batch is None or admission.holds_lane(permit.state, batch, self._lanes)
            if decision is Decision.GO and has_lane:
                return permit
            change = self._change(decision, permit, now, needs_slot, max_duration)
            if batch and lane:
                entry = admission.lane_entry(batch, now + max_duration)
                change = change.with_lane(admission.lane_name(lane), entry)
            changed, state = self._update(permit, change)
            permit = Permit(bot, state)
            # To count the slots takes one of them, if one is free.
            if changed and (decision is not Decision.COUNT_SLOTS or state.slots_taken == needs_slot):
                return permit
        return Deferred(admission.SLOT_COUNT_TTL, full=True)

    def leave(self, bot: str, batch: str) -> None:
        """Give back the lane that a batch has at a bot, if it has one."""
        state = self._state(bot)
        lane = admission.lane_for(state, batch, self._lanes, self._clock())
        if lane and admission.holds_lane(state, batch, self._lanes):
            name = admission.lane_name(lane)
            self._update(Permit(bot, state), _Change(f"REMOVE {name}", {}, unchanged=(name,)))

    def record_success(self, permit: Permit) -> None:
        """Record that an attempt succeeded: after failed ones, the bot is open again."""
        if permit.state.probe_at:
            failing = "failures, probe_at, probing, failing_since, unreachable_since, last_error"
            self._update(permit, _Change(f"REMOVE {failing}", {}))

    def record_failure(self, permit: Permit, outcome: Outcome) -> None:
        """Record that an attempt failed. Parallel failures count once."""
        failures = permit.state.failures + 1
        change = (
            "SET failures = :n, probe_at = :later, last_error = :error, "
            "failing_since = if_not_exists(failing_since, :now)"
        )
        if failures >= admission.UNREACHABLE_AFTER:
            change += ", unreachable_since = if_not_exists(unreachable_since, failing_since)"
        now = self._clock()
        later = utc_text(now + admission.pause(failures, outcome.retry_after, outcome.max_wait))
        error = outcome.reason[:MAX_REASON]
        values = {":n": failures, ":later": later, ":now": utc_text(now), ":error": error}
        self._update(permit, _Change(change + " REMOVE probing", values, unchanged=("failures",)))

    def set_probe(self, bot: str, at: float) -> None:
        """Hold a bot's messages on the queue until `at` (Unix seconds); then the next message probes the bot.

        A time that has come ends the pause of a failing bot. A time to come holds back a bot that works, for
        MAX_PAUSE seconds at the most.
        """
        change = "SET probe_at = :at REMOVE probing"
        self._table.update(_key(bot), change, "", {":at": utc_text(at)})

    def _change(
        self, decision: Decision, permit: Permit, now: float, needs_slot: bool, max_duration: int
    ) -> _Change:
        if decision is Decision.GO:
            return _Change("", {}, unchanged=("probe_at",))
        unchanged = ("slots_expire_at", "probe_at")
        if decision is Decision.TAKE_SLOT:
            one_more = "SET slots_taken = slots_taken + :one"
            return _Change(one_more, {":one": 1}, unchanged, condition="slots_taken < slots")
        if decision is Decision.PROBE:
            later = utc_text(now + min(max_duration, admission.MAX_PAUSE))
            values = {":later": later, ":yes": True}
            return _Change("SET probe_at = :later, probing = :yes", values, unchanged=("probe_at",))
        in_flight = self.in_flight(permit.bot, now) if needs_slot else 0
        slots = admission.free_slots(self._max_in_flight, in_flight, permit.state, now)
        values = {
            ":expire_at": utc_text(now + admission.SLOT_COUNT_TTL),
            ":slots": slots,
            ":taken": min(slots, int(needs_slot)),
        }
        count = "SET slots_expire_at = :expire_at, slots = :slots, slots_taken = :taken"
        return _Change(count, values, unchanged)

    def in_flight(self, bot: str, now: float) -> int:
        """Count the bot's messages at `now` that wait for an answer and have not given their slots back.

        A deadline that is further off than any comes from before AnswerDeadlineSeconds was changed; it says
        nothing of the slot.
        """
        latest = now + self._answer_deadline + admission.CLOCK_SKEW
        return self._table.count(
            "#awaiting = :bot AND due_at BETWEEN :earliest AND :latest",
            {
                ":bot": bot,
                ":earliest": utc_text(admission.due_at(now, self._answer_deadline)),
                ":latest": utc_text(latest),
            },
            IndexName="awaiting",
            Limit=self._max_in_flight,
        )

    def _state(self, bot: str) -> BotState:
        read_at, state = self._states.get(bot, (0.0, None))
        if state and self._clock() - read_at < admission.SLOT_COUNT_TTL:
            return state
        return self._remember(bot, self._table.get(_key(bot)) or {})

    def _remember(self, bot: str, item: Item) -> BotState:
        state = BotState.of(item)
        self._states[bot] = (self._clock(), state)
        return state

    def _update(self, permit: Permit, change: _Change) -> tuple[bool, BotState]:
        """Make a change; return whether the item allowed it, and the bot's state now."""
        conditions = [change.condition] if change.condition else []
        values = dict(change.values)
        for name in change.unchanged:
            if name in permit.state.item:
                conditions.append(f"{name} = :read_{name}")
                values[f":read_{name}"] = permit.state.item[name]
            else:
                conditions.append(f"attribute_not_exists({name})")
        changed, item = self._table.update_returning(
            "ALL_NEW", _key(permit.bot), change.expression, " AND ".join(conditions), values
        )
        return changed, self._remember(permit.bot, item)


def _key(bot: str) -> dict[str, str]:
    return {"session": BOTS, "message": bot}
