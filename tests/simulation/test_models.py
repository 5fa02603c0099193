"""The relay's adapters see the same on the models as on the emulator of the local stack.

What AWS itself does is in tests/beliefs.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from operator import itemgetter
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from relay.adapters.admission_control import AdmissionControl, Permit
from relay.adapters.awaiting_index import AwaitingIndex, Recheck
from relay.adapters.dynamodb import Table
from relay.adapters.messages_table import MessagesTable
from relay.adapters.overflow_bucket import OverflowBucket
from relay.adapters.replies_table import RepliesTable
from relay.domain.attempt import Outcome, Verdict
from relay.domain.keys import SETTLE, RecordKey, message_key, record_key
from relay.domain.part import VerifiedCallback, parse_part, reply_part, sync_reply_body
from relay.domain.settlement import FinalPart
from relay.domain.states import AnswerKind, State
from relay.domain.timestamps import utc_text
from relay.errors import InvalidState
from simulation.checker import Findings
from simulation.deployed_relay import queue_of, table_of
from simulation.faults import Faults, Scenario
from simulation.model_aws import Client, Service
from simulation.model_dynamodb import MAX_ITEM_BYTES, Dynamodb
from simulation.model_lambda import matches
from simulation.model_stores import S3
from simulation.simulation import simulate
from simulation.template_facts import event_sources
from simulation.world import START, Process, World
from support.deployed import Deployed, Talk

NOW = 1_795_352_448.0
Clients = Callable[[str], Any]


def in_a_world(clients: Callable[[World], list[Service]], observe: Callable[[Clients], Any]) -> Any:
    """Return what is observed of the models."""
    world = World(0)
    scenario = Scenario.of(0)
    faults = Faults(world, scenario)
    world.now = START + scenario.storm
    services = {service.name: Client(world, faults, service) for service in clients(world)}
    process = Process("test", runs_relay=True)
    task = world.spawn(process, lambda: observe(services.__getitem__))
    world.run(START + 10_000)
    return task.result()


def message_of(session: str, number: int, state: State, **more: Any) -> Any:
    return {
        "session": session,
        "message": message_key(str(number)),
        "message_id": f"{session}-{number}",
        "state": state,
        "attempts": 1,
        "body": "{}",
        "queued_at": utc_text(NOW),
        "updated_at": utc_text(NOW),
        "expires_at": int(NOW) + 86_400,
        **more,
    }


def part_of(session: str, reply_to: str, text: str) -> tuple[Any, bytes]:
    session_id = session.partition("#")[2]
    raw = sync_reply_body(
        session_id, reply_to, [{"type": "Plain", "text": text}], "2026-11-22T13:00:48.000001"
    )
    callback = VerifiedCallback("model", raw, NOW, NOW, None, 0)
    return reply_part(callback, parse_part(raw), 1), raw


def outcome(action: Callable[[], Any]) -> Any:
    """Return what an action returns, or the error that it raises."""
    try:
        return action()
    except InvalidState as error:
        return str(error)
    except ClientError as error:
        return error.response["Error"]["Code"]


def test_records_change_alike(deployed: Deployed) -> None:
    session = f"model#{uuid4().hex}"
    reply_to = f"in_{uuid4().hex}"
    delivered_fields = {"delivered_at": utc_text(NOW), "awaiting": "model", "due_at": utc_text(NOW + 60)}

    def observe(clients: Clients, table: str, bucket: str) -> list[Any]:
        messages = MessagesTable(Table(clients("dynamodb"), table), OverflowBucket(clients("s3"), bucket))
        retrying = message_of(session, 1, State.RETRYING, keys_used=1, outcome_unknown=False)
        delivered = message_of(session, 1, State.DELIVERED, accepted_message_id=reply_to, **delivered_fields)
        parked, merged, silent = (
            message_of(session, number, state, **delivered_fields)
            for number, state in ((2, State.PARKED), (3, State.DELIVERED), (4, State.DELIVERED))
        )
        final = FinalPart.of(part_of(session, reply_to, "hello")[0])
        return [
            messages.write(retrying),
            messages.write(retrying, if_new=True),
            messages.write(retrying | {"keys_used": 0}),
            messages.write(delivered),
            messages.write(retrying),
            messages.give_up(delivered, NOW + 61, "no reply"),
            messages.answer(delivered, final),
            messages.answer(delivered, final),
            messages.drop(_key(delivered), "late", NOW),
            outcome(lambda: messages.mark_resent(_key(delivered), message_key("5"), NOW)),
            messages.write(parked),
            outcome(lambda: messages.mark_resent(_key(parked), message_key("5"), NOW)),
            outcome(lambda: messages.mark_resent(_key(parked), message_key("5"), NOW)),
            outcome(lambda: messages.mark_resent(_key(parked), message_key("6"), NOW)),
            messages.write(merged),
            outcome(lambda: messages.merge(merged, final, NOW + 60)),
            messages.identify(merged, "in_late"),
            messages.answer(merged, final, AnswerKind.PUSH),
            outcome(lambda: messages.stop_awaiting(merged)),
            messages.write(silent),
            messages.identify(silent, "in_late"),
            messages.identify(silent, "in_later"),
            messages.give_up(silent, NOW + 61, "no reply"),
            messages.drop(_key(silent), "late", NOW),
            messages.write(message_of(session, 7, State.RETRYING, body="x" * MAX_ITEM_BYTES, keys_used=0)),
            list(messages.of_session(session)),
            messages.back_to_reply(session, reply_to),
        ]

    def models(world: World) -> list[Service]:
        return [Dynamodb([table_of(world, "MessagesTable")]), S3(world)]

    expected = observe(deployed.client, deployed.stack.messages_table, deployed.stack.overflow_bucket)
    assert in_a_world(models, lambda clients: observe(clients, "messages", "bucket")) == expected


def _key(record: Any) -> RecordKey:
    return record_key(record["session"], record["message"])


def test_what_awaits_is_counted_and_removed_alike(deployed: Deployed) -> None:
    part = f"2026-11-22T13:00:48.000001#000001#{uuid4().hex[:12]}"
    # Two bots can post the same body.
    final = FinalPart.of(part_of("model#s", "in_1", "hello")[0])
    finals = [replace(final, part=part, session=f"{bot}#s") for bot in ("model", "other")]
    worlds: list[World] = []

    def observe(dynamodb: Any, table: str) -> list[Any]:
        awaiting = AwaitingIndex(Table(dynamodb, table))
        for final in finals:
            awaiting.add_recheck(Recheck(final, 1), NOW)
        for world in worlds:
            world.sleep(1)
        overdue = awaiting.overdue(SETTLE, NOW + 1)
        keys = sorted((key for key in overdue if key["message"].startswith(part)), key=itemgetter("message"))
        seen = [awaiting.count(SETTLE, 1), *map(awaiting.recheck, keys)]
        for key in keys * 2:
            awaiting.remove_recheck(key)
        return [*seen, *map(awaiting.recheck, keys)]

    expected = observe(deployed.client("dynamodb"), deployed.stack.messages_table)
    assert expected == [1, *(Recheck(final, 1) for final in finals), None, None]

    def models(world: World) -> list[Service]:
        worlds.append(world)
        return [Dynamodb([table_of(world, "MessagesTable")])]

    assert in_a_world(models, lambda clients: observe(clients("dynamodb"), "messages")) == expected


def test_parts_are_stored_alike(deployed: Deployed) -> None:
    session = f"model#{uuid4().hex}"

    def observe(clients: Clients, table: str, bucket: str) -> list[Any]:
        replies = RepliesTable(Table(clients("dynamodb"), table), OverflowBucket(clients("s3"), bucket))
        first, second = part_of(session, "in_1", "hello"), part_of(session, "in_2", "x" * MAX_ITEM_BYTES)
        stored = [replies.store(*first), replies.store(*second), replies.store(*first)]
        return [*stored, list(replies.parts_after(session, "")), replies.clock_offset(session)]

    def models(world: World) -> list[Service]:
        return [Dynamodb([table_of(world, "RepliesTable")]), S3(world)]

    expected = observe(deployed.client, deployed.stack.replies_table, deployed.stack.overflow_bucket)
    assert in_a_world(models, lambda clients: observe(clients, "replies", "bucket")) == expected


def test_a_bot_is_admitted_alike(deployed: Deployed) -> None:
    bot = f"model-{uuid4().hex[:12]}"

    def observe(clients: Clients, table: str) -> list[str]:
        control = AdmissionControl(Table(clients("dynamodb"), table), 2, 900, clock=lambda: NOW)
        seen = []
        for needs_slot, is_sync in (
            (True, True),
            (True, False),
            (True, False),
            (False, True),
            (False, False),
        ):
            admitted = control.acquire(bot, "id", needs_slot, max_duration=12, is_sync=is_sync)
            seen.append(type(admitted).__name__)
            if isinstance(admitted, Permit) and not needs_slot:
                control.release(admitted, Outcome(Verdict.UNKNOWN, "answered 502"))
                seen.append(type(control.acquire(bot, "id", False, 12, False)).__name__)
        return seen

    expected = observe(deployed.client, deployed.stack.messages_table)
    assert expected == ["Permit", "Permit", "Deferred", "Deferred", "Permit", "Deferred"]

    def models(world: World) -> list[Service]:
        return [Dynamodb([table_of(world, "MessagesTable")])]

    assert in_a_world(models, lambda clients: observe(clients, "messages")) == expected


def test_a_fifo_queue_hands_out_no_more_messages_than_can_be_in_flight() -> None:
    queue = queue_of(World(0), "PushQueue", limit=3)
    for group in "aaaabc":
        fields = {"MessageBody": group, "MessageGroupId": group, "MessageDeduplicationId": uuid4().hex}
        queue.send(fields)
    # It finds no other group behind the first three messages.
    assert [[message.group for message in queue.receive(10)] for _ in range(2)] == [["a", "a", "a"], []]


def test_a_message_and_its_reply_leave_the_same(talk: Talk) -> None:
    sent = talk.push("hello")
    talk.conversation().wait(sent)
    record = talk.deployed.state(sent, "answered")
    (part,) = talk.parts()
    found = Findings(simulate(replace(Scenario.of(0), troubles=frozenset(), messages=1, bots=1)))
    (simulated,) = found.records.values()
    assert set(simulated) == set(record)
    assert {name for parts in found.parts.values() for one in parts for name in one} == set(part)
    assert simulated["state"] == "answered"
    assert "Reply Completed" in found.events


@pytest.mark.parametrize("state", ["answered", "dropped"])
def test_publish_gets_such_a_message_only_if_a_task_waits_for_it(state: str) -> None:
    (filters,) = (
        [json.loads(one["Pattern"]) for one in mapping["FilterCriteria"]["Filters"]]
        for source, mapping in event_sources("PublishFunction")
        if source == "MessagesTable"
    )
    image = {"state": {"S": state}, "answer_kind": {"S": "own"}}
    images = [image, image | {"reply_to_task": {"S": "TOKEN"}}]
    passes = [any(matches(one, {"dynamodb": {"NewImage": new}}) for one in filters) for new in images]
    assert passes == [False, True]
