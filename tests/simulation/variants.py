"""Known-bad variants of the relay: each is a mistake that somebody could make, and that a seed must catch."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from math import inf
from typing import Any
from unittest.mock import patch
from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError

import callback.receiver
import push.dispatcher
import relay.client.messages
import relay.domain.record
import relay.sender
import relay_cli.commands.bots.rotate
import settle.due
from callback.receiver import NotVerified, Receiver
from push.dispatcher import Dispatcher
from relay import BotAdmin, Messages
from relay.adapters import messages_table
from relay.adapters.admission_control import AdmissionControl, Permit
from relay.adapters.bot_registry import BotRegistry, UnknownBot
from relay.adapters.dynamodb import Table
from relay.adapters.event_bus import EventBus
from relay.adapters.langbot import LangBotClient
from relay.adapters.messages_table import MessagesTable
from relay.adapters.overflow_bucket import OverflowBucket, OverflowingItem, message_path, put_item
from relay.adapters.replies_table import RepliesTable
from relay.adapters.spill_queue import SpillQueue
from relay.adapters.workflow_tasks import WorkflowTasks
from relay.client import session_eraser
from relay.client.session_eraser import SessionEraser
from relay.domain import admission, attempt, event, part, retry, task
from relay.domain.admission import BotState, Decision, Deferred, KeptLease
from relay.domain.attempt import AttemptHistory, Outcome, Verdict
from relay.domain.bot import Bot
from relay.domain.keys import message_key, part_key, record_key
from relay.domain.message import QueuedMessage
from relay.domain.record import may_be_queued
from relay.domain.selection import Handled
from relay.domain.signing import NotAuthentic, Refusal
from relay.domain.strict_json import Malformed
from relay.domain.timestamps import Stamp, days_after, utc_text
from relay.errors import InvalidState
from relay.sender import Sender
from settle.settler import Settler
from simulation.faults import SHORT_RETENTION, SMALL_PAGE_BYTES, Scenario, Trouble
from simulation.model_lambda import Lambda
from simulation.model_langbot import LangBot

AWS_ERRORS = (ClientError, BotoCoreError)


@dataclass(frozen=True)
class Variant:
    """A mistake, and what the world is like in which it shows."""

    world: dict[str, Any]
    applied: Callable[[], AbstractContextManager[None]]

    def scenario(self, seed: int) -> Scenario:
        """Return the scenario of a seed in such a world."""
        return replace(Scenario.of(seed), **self.world)


VARIANTS: dict[str, Variant] = {}


def variant(
    owner: Any, name: str, *troubles: Trouble, **world: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register what is decorated as a mistake in `name` of a class or a module, which shows in such a world.

    It is given the original before its arguments.
    """

    def register(bad: Callable[..., Any]) -> Callable[..., Any]:
        @contextmanager
        def applied() -> Iterator[None]:
            good = getattr(owner, name)
            with patch.object(owner, name, lambda *arguments, **named: bad(good, *arguments, **named)):
                yield

        VARIANTS[bad.__name__] = Variant({"troubles": frozenset(troubles)} | world, applied)
        return bad

    return register


# ---------------------------------------------------------------- push


@variant(push.dispatcher, "idempotency_key", Trouble.LANGBOT)
def reuse_the_key_after_a_503(_: Any, message_id: str, history: AttemptHistory) -> str:
    return f"{message_id}.0"


@variant(AttemptHistory, "after", Trouble.NETWORK)
def take_a_fresh_key_after_an_unknown_outcome(
    good: Any, self: AttemptHistory, *outcome: Any
) -> AttemptHistory:
    after: AttemptHistory = good(self, *outcome)
    return replace(after, keys_used=self.keys_used + 1, outcome_unknown=False)


@variant(AttemptHistory, "after", Trouble.PROXY, messages=24)
def take_a_fresh_key_after_any_refusal(
    good: Any, self: AttemptHistory, outcome: Outcome, *more: Any
) -> AttemptHistory:
    after: AttemptHistory = good(self, outcome, *more)
    refused = outcome.verdict is Verdict.REFUSED and not self.outcome_unknown
    return replace(after, keys_used=self.keys_used + 1) if refused else after


@variant(relay.sender, "classify", Trouble.PROXY, messages=24)
def trust_a_bare_409(good: Any, action: Any, response: attempt.Response, *more: Any) -> Outcome:
    if response.status == 409:
        return Outcome(Verdict.ACCEPTED, "answered 409")
    outcome: Outcome = good(action, response, *more)
    return outcome


@variant(relay.sender, "classify", Trouble.PROXY, messages=24)
def park_on_a_400_of_a_proxy(good: Any, action: Any, response: attempt.Response, *more: Any) -> Outcome:
    outcome: Outcome = good(action, response, *more)
    if response.status == 400:
        return replace(outcome, verdict=Verdict.REFUSED, permanent=True)
    return outcome


@variant(push.dispatcher, "conclude", Trouble.LANGBOT, Trouble.NETWORK)
def park_before_the_time_is_up(good: Any, delivery: Any, tried: Any, now: float, policy: retry.Policy) -> Any:
    return good(delivery, tried, now, replace(policy, retry_for=20))


@variant(
    QueuedMessage,
    "must_leave_at",
    Trouble.DOWN,
    messages=24,
    sessions=1,
    storm=60,
    retry_for=3600,
    queue_retention=SHORT_RETENTION,
)
def try_a_message_until_the_queue_deletes_it(*_: Any) -> float:
    return inf


@variant(Dispatcher, "deliver", Trouble.NETWORK, messages=24)
def take_a_failed_message_off_the_queue(good: Any, *arguments: Any) -> bool:
    good(*arguments)
    return False


@variant(MessagesTable, "write", Trouble.SERVICES)
def swallow_an_error_of_the_table(good: Any, *arguments: Any, **named: Any) -> Any:
    try:
        return good(*arguments, **named)
    except AWS_ERRORS:
        return True


@variant(MessagesTable, "write", Trouble.DUPLICATES)
def overwrite_a_record_that_has_ended(_: Any, self: Any, record: Any, if_new: bool = False) -> bool:
    return _put(self, record, "", {})


@variant(MessagesTable, "write", Trouble.DUPLICATES, Trouble.LANGBOT)
def let_a_late_copy_give_back_a_key(_: Any, self: Any, record: Any, if_new: bool = False) -> bool:
    condition, values = "attribute_not_exists(#session) OR #state = :retrying", {":retrying": "retrying"}
    return _put(self, record, condition, values)


def _put(self: Any, record: Any, condition: str, values: Any) -> bool:
    without_body = {name: value for name, value in record.items() if name != "body"}
    path = message_path(record["message_id"])
    entry = OverflowingItem(record, without_body, record["body"].encode(), path)
    return put_item(self._table, self._bucket, entry, condition, values)


@variant(retry, "accepted_record", Trouble.SILENCE, messages=24, answer_deadline=900, day=5)
def let_a_record_expire_while_its_message_waits(good: Any, *arguments: Any) -> Any:
    record = good(*arguments)
    *_, now, keep_days, _ = arguments
    return record | {"expires_at": days_after(now, keep_days)}


@variant(retry, "retrying_record", Trouble.DOWN, messages=24, retry_for=3600, day=1)
def let_a_record_expire_while_its_message_is_queued(good: Any, *arguments: Any) -> Any:
    *_, now, keep_days = arguments
    return good(*arguments) | {"expires_at": days_after(now, keep_days)}


@variant(admission, "decide", burst=True, messages=24, sessions=12, max_in_flight=3)
def admit_every_message(_: Any, *state: Any) -> Decision:
    return Decision.GO


@variant(admission, "free_slots", burst=True, messages=24, sessions=12, max_in_flight=3)
def count_the_index_as_consistent(_: Any, most: int, in_flight: int, *state: Any) -> int:
    return max(0, most - in_flight)


@variant(AdmissionControl, "acquire", burst=True, messages=24, sessions=12, max_in_flight=3)
def send_to_a_full_bot(good: Any, self: Any, bot: str, *more: Any, **named: Any) -> Any:
    permit = good(self, bot, *more, **named)
    full = isinstance(permit, Deferred) and permit.full
    return Permit(bot, self._state(bot)) if full else permit


@variant(KeptLease, "slots_for", burst=True, messages=60, sessions=60, bots=1, max_in_flight=12)
def use_slots_that_were_not_taken(good: Any, self: Any, *when: Any) -> int | None:
    return None if good(self, *when) is None else 1


@variant(
    admission,
    "free_lease",
    Trouble.NETWORK,
    burst=True,
    messages=24,
    sessions=12,
    bots=1,
    max_in_flight=50,
    releases=("4.10.6",),
)
def let_one_bot_have_all_leases(good: Any, state: Any, _: int, now: float, is_sync: bool) -> Any:
    return good(state, 100, now, is_sync=False)


@variant(AdmissionControl, "release", Trouble.NETWORK, burst=True, messages=24, sessions=12)
def forget_that_a_bot_failed(good: Any, self: Any, permit: Permit, outcome: Outcome) -> None:
    good(self, permit, replace(outcome, verdict=Verdict.ACCEPTED))


@variant(MessagesTable, "write", Trouble.NETWORK, messages=24)
def write_no_record_of_a_failed_attempt(good: Any, self: Any, record: Any, if_new: bool = False) -> Any:
    return record["state"] == "retrying" or good(self, record, if_new)


@variant(AdmissionControl, "in_flight")
def count_no_message_in_flight(_: Any, *bot: Any) -> int:
    return 0


@variant(BotRegistry, "get", Trouble.SERVICES)
def take_a_secret_that_cannot_be_read_for_none(good: Any, self: Any, name: str) -> Any:
    try:
        return good(self, name)
    except AWS_ERRORS:
        raise UnknownBot(f"no bot {name!r}") from None


@variant(MessagesTable, "mark_resent", Trouble.OPERATORS, Trouble.SILENCE, messages=4)
def let_each_copy_of_a_resend_through(good: Any, self: Any, original: Any, *resend: Any) -> Any:
    return self.read(original) or good(self, original, *resend)


@variant(MessagesTable, "mark_resent", Trouble.OPERATORS, Trouble.SILENCE, messages=24, max_resends=2)
def take_what_another_has_just_marked_as_resent_for_a_fault(good: Any, self: Any, *resend: Any) -> Any:
    original, resent_as, _ = resend
    record = self.read(original)
    if record and record.get("resent_as") == resent_as:
        raise InvalidState("the original message is resent")
    return good(self, *resend)


@variant(
    Messages,
    "handle",
    *(Trouble.OPERATORS, Trouble.SILENCE, Trouble.INVALID, Trouble.ODD_TURNS),
    messages=24,
    sessions=1,
    bots=1,
    answer_deadline=60,
    storm=400,
)
def resend_many_as_they_were_parked(
    good: Any, self: Any, keys: Any, selection: Any, action: Any
) -> Iterator[Handled]:
    for key in keys:
        yield from good(self, [key], selection, action)


@variant(admission, "cancelled_messages", Trouble.OPERATORS, Trouble.DOWN, messages=24, sessions=1)
def send_what_is_cancelled(*_: Any) -> set[str]:
    return set()


@variant(
    relay.client.messages,
    "is_under_way",
    Trouble.OPERATORS,
    Trouble.ACTIONS,
    Trouble.SILENCE,
    Trouble.ODD_TURNS,
    messages=24,
    sessions=12,
)
def confirm_a_cancellation_while_the_message_is_being_sent(*_: Any) -> bool:
    return False


@variant(LangBotClient, "post", Trouble.ROTATIONS, messages=24)
def sign_with_the_newest_secret_only(good: Any, self: Any, bot: Bot, *more: Any) -> attempt.Response:
    response: attempt.Response = good(self, replace(bot, inbound_secrets=bot.inbound_secrets[:1]), *more)
    return response


@variant(Sender, "_post")
def log_what_is_sent(good: Any, self: Any, bot: Any, action: Any, body: bytes, *more: Any) -> Any:
    logging.getLogger("relay.sender").info("posts", extra={"body": body.decode()})
    return good(self, bot, action, body, *more)


@variant(OverflowBucket, "get", Trouble.OPERATORS, Trouble.SILENCE, Trouble.ODD_TURNS, messages=24)
def read_nothing_from_the_bucket(*_: Any) -> bytes:
    return b""


# ---------------------------------------------------------------- callback


@variant(RepliesTable, "store", Trouble.ODD_TURNS)
def deduplicate_on_session_reply_and_sequence(good: Any, self: Any, item: Any, raw: bytes) -> Any:
    same = ("reply_to", "sequence")
    known = self.parts_after(item["session"], "")
    return not any(all(one[name] == item[name] for name in same) for one in known) and good(self, item, raw)


@variant(RepliesTable, "store", Trouble.ODD_TURNS)
def drop_what_comes_after_the_first_final(good: Any, self: Any, item: Any, raw: bytes) -> Any:
    known = self.parts_after(item["session"], "")
    ended = any(one["is_final"] and one["reply_to"] == item["reply_to"] != "" for one in known)
    return not ended and good(self, item, raw)


@variant(Receiver, "receive", Trouble.ATTACKERS)
def parse_before_verifying(good: Any, self: Receiver, bot_name: str, headers: Any, raw: bytes) -> None:
    try:
        part.parse_part(raw)
    except Malformed:
        self.bucket.quarantine(bot_name, raw)
        raise
    good(self, bot_name, headers, raw)


@variant(Receiver, "_verify", Trouble.SERVICES)
def refuse_what_cannot_be_verified_yet(good: Any, *arguments: Any) -> Any:
    try:
        return good(*arguments)
    except NotVerified:
        raise NotAuthentic(Refusal.MISMATCH, "cannot be verified") from None


@variant(callback.receiver, "secret_used", Trouble.ATTACKERS)
def take_any_signature_for_good(_: Any, *arguments: Any) -> int:
    return 0


@variant(callback.receiver, "secret_used", Trouble.ROTATIONS, messages=24)
def take_the_newest_secret_only(good: Any, secrets: tuple[str, ...], *more: Any) -> int | None:
    position: int | None = good(secrets[:1], *more)
    return position


@variant(BotRegistry, "refresh", Trouble.ROTATIONS, messages=24)
def read_no_secret_again_when_a_signature_does_not_match(_: Any, self: Any, name: str) -> Bot:
    bot: Bot = self.get(name)
    return bot


@variant(Lambda, "invoke", Trouble.SERVICES)
def answer_429_when_a_part_cannot_be_kept(good: Any, self: Any, function: str, given: Any) -> Any:
    response = good(self, function, given)
    return response | {"statusCode": 429} if response.get("statusCode") == 503 else response


@variant(SpillQueue, "put", Trouble.SERVICES, Trouble.OUTAGES)
def answer_200_without_spilling(_: Any, *callback: Any) -> None:
    return None


@variant(callback.receiver, "reply_part", Trouble.SERVICES, Trouble.OUTAGES, Trouble.GATEWAY)
def order_parts_by_their_reception(good: Any, callback: Any, *body: Any) -> Any:
    item = good(callback, *body)
    stamp = Stamp(utc_text(callback.received_at).removesuffix("Z"))
    return item | {"part": part_key(stamp, item["sequence"], item["digest"])}


# ---------------------------------------------------------------- settle, publish


@variant(MessagesTable, "back_to_reply", Trouble.SILENCE)
def settle_the_first_open_message(_: Any, self: Any, session: str, reply_to: str) -> Any:
    return next((one for one in self.of_session(session) if one["state"] == "delivered"), None), []


@variant(Settler, "_settle_merged", Trouble.ODD_TURNS, burst=True, messages=24, sessions=2)
def leave_a_merged_message_open(*_: Any) -> None:
    return None


@variant(settle.due.DueItems, "_resend", Trouble.SILENCE, messages=24, max_resends=2)
def count_a_resend_without_a_send(_: Any, self: Any, record: Any, now: float) -> None:
    key = record_key(record["session"], record["message"])
    self.messages_table.mark_resent(key, message_key("1"), now)


@variant(
    Table,
    "query",
    Trouble.ODD_TURNS,
    messages=24,
    burst=True,
    sessions=1,
    bots=1,
    releases=("4.11.2",),
    page_bytes=SMALL_PAGE_BYTES,
)
def read_the_first_page_only(
    good: Any, self: Any, condition: str, values: Any, max_pages: Any = None, **more: Any
) -> Any:
    return good(self, condition, values, 1, **more)


@variant(messages_table, "current", Trouble.UPGRADE, Trouble.LANGBOT)
def read_only_the_names_of_today(good: Any, item: Any) -> Any:
    return item


@variant(relay.domain.record, "carried", Trouble.SILENCE)
def keep_no_context_in_the_record(good: Any, *message: Any) -> dict[str, str]:
    return {name: value for name, value in good(*message).items() if name != "context"}


@variant(task, "_ending", burst=True, messages=24, sessions=2)
def end_a_task_while_its_message_only_looks_merged(good: Any, record: Any) -> Any:
    return good({name: value for name, value in record.items() if name != "awaiting"})


@variant(WorkflowTasks, "_end", Trouble.SERVICES, Trouble.SILENCE, messages=60, storm=900)
def forget_a_task_that_could_not_be_ended(good: Any, _: Any, send: Any) -> None:
    with suppress(*AWS_ERRORS):
        good(send)


@variant(EventBus, "publish", Trouble.SERVICES)
def forget_the_events_that_the_bus_refused(good: Any, *arguments: Any) -> set[str]:
    good(*arguments)
    return set()


@variant(event, "_event", Trouble.DUPLICATES)
def give_each_copy_of_an_event_its_own_id(good: Any, *arguments: Any, **named: Any) -> event.Event:
    made: event.Event = good(*arguments, **named)
    give_each_copy_of_an_event_its_own_id.number += 1  # type: ignore[attr-defined]
    return replace(made, id=UUID(int=give_each_copy_of_an_event_its_own_id.number).hex)  # type: ignore[attr-defined]


give_each_copy_of_an_event_its_own_id.number = 0  # type: ignore[attr-defined]


# ---------------------------------------------------------------- relay erase


ERASED: dict[str, Any] = {"messages": 24, "sessions": 1, "bots": 1}


@variant(Table, "delete_many", Trouble.ERASURES, Trouble.SILENCE, answer_deadline=1800, **ERASED)
def leave_the_slot_of_an_erased_message_taken(good: Any, self: Any, keys: Any) -> None:
    waiting = [item for key in keys if "awaiting" in (item := self.get(key) or {})]
    good(self, keys)
    for item in waiting:
        self.put({name: item[name] for name in ("session", "message", "awaiting", "due_at")})


@variant(OverflowBucket, "delete", Trouble.ERASURES, **ERASED)
def leave_the_body_of_an_erased_message(*_: Any) -> None:
    return None


@variant(SessionEraser, "_erase_messages", Trouble.ERASURES, **ERASED)
def erase_the_items_before_their_bodies(_: Any, self: Any, records: Any, *more: Any) -> None:
    _, now, _ = more
    gone = [record for record in records if not may_be_queued(record, now)]
    self._records.delete_many([record_key(one["session"], one["message"]) for one in gone])
    self._bucket.delete([one["overflow"] for one in gone if "overflow" in one])


@variant(session_eraser, "may_be_queued", Trouble.ERASURES, Trouble.DOWN, storm=900, retry_for=3600, **ERASED)
def erase_what_push_retries(good: Any, record: Any, now: float) -> bool:
    return bool(record["state"] != "retrying" and good(record, now))


@variant(
    session_eraser,
    "may_be_queued",
    Trouble.ERASURES,
    Trouble.DEATHS,
    Trouble.DUPLICATES,
    storm=900,
    **ERASED,
)
def erase_what_push_may_get_again(_: Any, record: Any, now: float) -> bool:
    return bool(record["state"] == "retrying")


# ---------------------------------------------------------------- relay bots pause


CROWDED_STOP: dict[str, Any] = {"bots": 1, "messages": 60, "sessions": 12, "storm": 60, "max_in_flight": 50}


@variant(BotState, "pause_left", Trouble.STOPS)
def send_to_a_paused_bot(*_: Any) -> float:
    return 0


@variant(BotState, "excused_until", Trouble.STOPS, Trouble.DOWN, messages=24, storm=180, retry_for=300)
def let_the_time_to_retry_run_during_a_pause(*_: Any) -> float:
    return 0


@variant(BotAdmin, "open_messages", Trouble.STOPS, Trouble.SILENCE, **CROWDED_STOP)
def drain_a_bot_with_open_turns(*_: Any) -> list[Any]:
    return []


@variant(BotAdmin, "is_sending", Trouble.STOPS, Trouble.ACTIONS, **CROWDED_STOP)
def drain_a_bot_during_an_attempt(*_: Any) -> bool:
    return False


@variant(BotAdmin, "end_pause", Trouble.STOPS, Trouble.ROTATIONS, messages=24)
def resume_a_bot_after_its_rotation(good: Any, self: BotAdmin, bot: str) -> None:
    good(self, bot)
    self.resume(bot)


# ---------------------------------------------------------------- relay bots rotate


LONG_DRILL: dict[str, Any] = {"bots": 1, "messages": 60, "storm": 150, "answer_deadline": 60}


@variant(
    relay_cli.commands.bots.rotate, "may_sign_with_old", Trouble.ROTATIONS, Trouble.SILENCE, **LONG_DRILL
)
def take_the_old_secrets_out_at_once(*_: Any) -> bool:
    return False


@variant(LangBot, "save", Trouble.ROTATIONS, Trouble.LANGBOT, **LONG_DRILL)
def take_the_form_that_langbot_keeps_for_what_it_uses(
    _: Any, self: LangBot, *more: Any, **secrets: str
) -> bool:
    self.form |= secrets
    return True
