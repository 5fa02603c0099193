"""Admission control before each bot, by the bot's item in MessagesTable under the session `bots`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from relay import environment
from relay.adapters.dynamodb import Item, Table
from relay.domain import admission
from relay.domain.admission import BotState, Decision, Deferred, KeptLease
from relay.domain.attempt import Outcome
from relay.domain.keys import BOTS
from relay.domain.record import MAX_REASON
from relay.domain.timestamps import Clock, utc_text
from relay.errors import InvalidState

MAX_TRIES = 4
"""How often a message tries to be admitted while others change what it has read."""

_GATES = ("probe_at", "paused_since", "paused_until", "cancelled")
"""What keeps messages, or one, from a bot: no write admits one if any of these has changed since it
was read."""


@dataclass(frozen=True)
class Permit:
    """Permission for one attempt at `bot`; `state` is the bot's state when it was given.

    `lease` is the attribute of the bot's item that the attempt has; None if it probes the bot. `spare_slots`
    were taken with the attempt's own, for the next messages of the same function.
    """

    bot: str
    state: BotState
    lease: str | None = None
    spare_slots: int = 0


@dataclass(frozen=True)
class _Change:
    """A change of a bot's item, which `unchanged` attributes must allow by being as they were read."""

    expression: str
    values: Mapping[str, Any]
    unchanged: tuple[str, ...] = ()
    condition: str = ""


class AdmissionControl:
    """Admits messages to their bots, for all functions together, by one conditional write to admit.

    Another write ends the attempt if the bot failed, is slow or is busy. Else its lease is kept for the next
    message, which needs no write within a second, as long as a slot is left of those that were taken with it.

    Nothing is lost if a function dies between two steps, or the item is wrong. The slots are counted again
    each second, from the index of the messages that wait for an answer, and a lease ends by itself. All
    methods raise botocore's errors.
    """

    def __init__(
        self,
        table: Table,
        max_in_flight: int,
        answer_deadline: int,
        leases: int = admission.LEASES,
        clock: Clock = environment.now,
    ) -> None:
        """`max_in_flight` 0 is no limit; `answer_deadline` in seconds; `leases` are those that a bot has."""
        self._leases = leases
        self._table = table
        self._max_in_flight = max_in_flight
        self._answer_deadline = answer_deadline
        self._clock = clock
        self._states: dict[str, tuple[float, BotState]] = {}
        self._kept: dict[str, KeptLease] = {}
        """By its bot, a lease that this function left taken."""

    def acquire(
        self,
        bot: str,
        message_id: str,
        needs_slot: bool,
        max_duration: int,
        is_sync: bool,
        is_test: bool = False,
    ) -> Permit | Deferred:
        """Admit a message to `bot`, whose attempt lasts at most `max_duration` seconds, or defer it.

        A message that expects no reply needs no slot, and one that tests the connection passes a pause of the
        operator. The attempt gets a lease until `release`, by the write that takes the slot. It is one that
        this function has kept, or a free one. Raise InvalidState if the message is cancelled: the same write
        makes sure that it is not. Without a write, the kept lease tells who cancels it that it may be sent.
        """
        needs_slot = needs_slot and self._max_in_flight > 0
        permit = Permit(bot, self.state(bot))
        for attempt in range(MAX_TRIES):
            now = self._clock()
            cancelled = admission.cancelled_messages(permit.state, now)
            if message_id in cancelled:
                raise InvalidState(admission.CANCELLED)
            kept = None if is_sync else self._kept_lease(permit.state, bot)
            reserved = kept.slots_for(permit.state, now + max_duration) if kept else None
            decision = admission.decide(permit.state, now, needs_slot, is_test, reserved)
            if isinstance(decision, Deferred):
                return decision
            if kept and decision is Decision.GO_RESERVED:
                del self._kept[bot]
                return replace(permit, lease=kept.name, spare_slots=(reserved or 0) - needs_slot)
            lease = kept.name if kept else admission.free_lease(permit.state, self._leases, now, is_sync)
            if decision is Decision.PROBE:
                lease, change = None, self._probe(now, max_duration)
            elif lease:
                # The attempts that need no write until the next count end later.
                until = now + max_duration + admission.SLOT_COUNT_TTL
                entry = admission.lease_entry(environment.random_hex(), until)
                change = self._admission(decision, permit, now, needs_slot, (lease, entry), bool(kept))
            elif attempt:
                break
            else:
                # What was read a moment ago can be out of date by now.
                permit = Permit(bot, self._read(bot))
                continue
            over = "" if cancelled or "cancelled" not in permit.state.item else " REMOVE cancelled"
            changed, state = self._update(permit, replace(change, expression=change.expression + over))
            permit = Permit(bot, state, lease, max(0, change.values.get(":taken", 0) - needs_slot))
            # To count the slots takes one of them, if one is free.
            if changed and (decision is not Decision.COUNT_SLOTS or state.slots_taken >= needs_slot):
                return permit
        return Deferred(admission.SLOT_COUNT_TTL, full=True)

    def release(self, permit: Permit, outcome: Outcome) -> None:
        """End an attempt: release its lease, or keep it, and record whether the bot works.

        Parallel failures count once.
        """
        own = (permit.lease,) if permit.lease else ()
        if outcome.bot_healthy:
            state, lease, now = permit.state, permit.lease, self._clock()
            if lease and admission.may_keep(state, lease, self._leases, now, outcome.seconds):
                self._kept[permit.bot] = KeptLease.of(state, lease, permit.spare_slots)
                return
            gone = own or (
                "failures",
                "probe_at",
                "probing",
                "failing_since",
                "unreachable_since",
                "last_error",
            )
            self._update(permit, _Change(f"REMOVE {', '.join(gone)}", {}, unchanged=own))
            return
        changed, _ = self._update(permit, self._failure(permit, outcome, own))
        if own and not changed:
            self._update(permit, _Change(f"REMOVE {permit.lease}", {}, unchanged=own))

    def _kept_lease(self, state: BotState, bot: str) -> KeptLease | None:
        """Return the lease that this function has kept, if `state` still has it."""
        kept = self._kept.get(bot)
        return kept if kept and kept.is_in(state) else None

    def _failure(self, permit: Permit, outcome: Outcome, own: tuple[str, ...]) -> _Change:
        failures = permit.state.failures + 1
        change = (
            "SET failures = :n, probe_at = :later, last_error = :error, "
            "failing_since = if_not_exists(failing_since, :now)"
        )
        if failures >= admission.UNREACHABLE_AFTER:
            change += ", unreachable_since = if_not_exists(unreachable_since, failing_since)"
        now = self._clock()
        later = utc_text(now + admission.probe_delay(failures, outcome.retry_after, outcome.max_wait))
        error = outcome.reason[:MAX_REASON]
        values = {":n": failures, ":later": later, ":now": utc_text(now), ":error": error}
        gone = ", ".join(("probing", *own))
        return _Change(f"{change} REMOVE {gone}", values, unchanged=("failures", *own))

    def probe_next(self, bot: str, now: float) -> None:
        """Let the next message probe a failing bot; `now` in Unix seconds."""
        self._table.update(_key(bot), "SET probe_at = :now REMOVE probing", "", {":now": utc_text(now)})

    def pause(self, bot: str, now: float) -> None:
        """Keep a bot's messages on the queue until `resume`; `now` in Unix seconds."""
        change = "SET paused_since = if_not_exists(paused_since, :now)"
        self._table.update(_key(bot), change, "", {":now": utc_text(now)})

    def resume(self, bot: str, now: float) -> bool:
        """End the pause of a bot that `pause` began; return False, and change nothing, if there is none."""
        change = "SET resumed_at = :now REMOVE paused_since"
        return self._table.update(
            _key(bot), change, "attribute_exists(paused_since)", {":now": utc_text(now)}
        )

    def pause_until(self, bot: str, at: float) -> None:
        """Keep a bot's messages on the queue until `at` (Unix seconds), for MAX_PAUSE seconds at the most."""
        self._table.update(_key(bot), "SET paused_until = :at", "", {":at": utc_text(at)})

    def cancel(self, bot: str, message_id: str, now: float, until: float) -> BotState:
        """Admit a message no more `until` then; `now` and it in Unix seconds. Return the bot's state.

        Raise InvalidState if too many messages are cancelled.
        """
        permit = Permit(bot, self._read(bot))
        for _ in range(MAX_TRIES):
            entries = admission.with_cancelled(permit.state, message_id, until, now)
            change = _Change("SET cancelled = :entries", {":entries": entries}, unchanged=("cancelled",))
            changed, state = self._update(permit, change)
            if changed:
                return state
            permit = Permit(bot, state)
        raise InvalidState("other messages of the bot are being cancelled: run the command again")

    @staticmethod
    def _probe(now: float, max_duration: int) -> _Change:
        later = utc_text(now + min(max_duration, admission.MAX_PAUSE))
        values = {":later": later, ":yes": True}
        return _Change("SET probe_at = :later, probing = :yes", values, unchanged=_GATES)

    def _admission(
        self,
        decision: Decision,
        permit: Permit,
        now: float,
        needs_slot: bool,
        lease: tuple[str, str],
        in_advance: bool,
    ) -> _Change:
        """Return the change that gives a message its lease, a name and its entry, and its slot.

        Let it take slots for the function's next messages too, if `in_advance`.
        """
        name, entry = lease
        take, values = f"{name} = :lease", dict[str, Any]({":lease": entry})
        if decision is Decision.GO:
            return _Change(f"SET {take}", values, unchanged=(*_GATES, name))
        unchanged = ("slots_expire_at", *_GATES, name)
        if decision is Decision.TAKE_SLOT:
            state = permit.state
            spare = admission.slots_in_advance(state.slots - state.slots_taken) if in_advance else 0
            change = f"SET slots_taken = slots_taken + :taken, {take}"
            values |= {":taken": 1 + spare, ":end": state.slots - spare}
            return _Change(change, values, unchanged, condition="slots_taken < :end")
        # The count subtracts them, and another function may have taken one since they were read.
        as_counted = (*unchanged, "slots_taken")
        in_flight = self.in_flight(permit.bot, now) if needs_slot else 0
        slots = admission.free_slots(self._max_in_flight, in_flight, permit.state, now)
        spare = admission.slots_in_advance(slots) if needs_slot and in_advance else 0
        count = "SET slots_expire_at = :expire_at, slots = :slots, slots_taken = :taken"
        counted = {
            ":expire_at": utc_text(now + admission.SLOT_COUNT_TTL),
            ":slots": slots,
            ":taken": int(needs_slot and slots > 0) + spare,
        }
        if needs_slot and not slots:
            return _Change(count, counted, as_counted)
        return _Change(f"{count}, {take}", counted | values, as_counted)

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

    def state(self, bot: str) -> BotState:
        """Return the state of a bot, read or changed within the last SLOT_COUNT_TTL seconds."""
        read_at, state = self._states.get(bot, (0.0, None))
        if state and self._clock() - read_at < admission.SLOT_COUNT_TTL:
            return state
        return self._read(bot)

    def _read(self, bot: str) -> BotState:
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
