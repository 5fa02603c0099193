"""What a message costs is the same however much there was before it. The models count calls and units."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from relay.adapters.dynamodb import to_item
from relay.domain.keys import BOTS, OPERATOR, message_key
from relay.domain.timestamps import utc_text
from simulation.dynamodb_expressions import Item
from simulation.model_langbot import Turn
from simulation.planned_world import BOT, CALM, SESSION, PlannedLangBot, PlannedWorld
from simulation.simulation import opened
from simulation.world import START

CALLS = {
    # The bot got no message within the last second: its state is read, and what waits is counted.
    ("push", "get_item"): 1,
    ("push", "query"): 1,
    ("push", "update_item"): 1,
    ("push", "put_item"): 1,
    ("callback", "put_item"): 5,
    ("settle", "query"): 1,
    ("settle", "update_item"): 1,
    ("publish", "query"): 2,
    # `Conversation.wait`
    ("user", "get_item"): 1,
    ("user", "query"): 2,
}
"""DynamoDB's calls for a message of five parts, and the units that they take."""
UNITS = {
    ("push", "write"): 4,
    ("push", "read"): 1.5,
    ("callback", "write"): 5,
    ("settle", "write"): 2,
    ("settle", "read"): 1,
    ("publish", "read"): 2,
    ("user", "read"): 3,
}
Fill = Callable[[PlannedWorld, int], None]
LONG_AGO = utc_text(START - 3600)


def put(world: PlannedWorld, table: str, items: Iterable[Item]) -> None:
    """Write items of long ago, whose changes the functions have handled."""
    into = world.deployment.tables[table]
    handlers, into.on_change = into.on_change, []
    for item in items:
        into.put(into.key_of(item), item)
    into.on_change = handlers


def fill_session(world: PlannedWorld, messages: int, session: str = SESSION) -> None:
    """Make a session of so many messages, each answered by a part."""
    same = {"session": f"{BOT}#{session}", "bot": BOT, "session_id": session}
    texts = {"body": "x" * 300, "text": "x" * 300}
    times = {"delivered_at": LONG_AGO, "queued_on": LONG_AGO[:10]}
    record = to_item(same | {"state": "answered"} | times | texts)
    part = to_item(same | {"created_at": LONG_AGO, "sent_at": LONG_AGO, "is_final": True} | texts)
    ids = [(number, {"S": f"in_{number}"}) for number in range(messages)]
    records = (record | {"message": {"S": message_key(str(n))}, "accepted_message_id": id_} for n, id_ in ids)
    parts = (part | {"part": {"S": f"{LONG_AGO[:-1]}#{n:06}#{n:012}"}, "reply_to": id_} for n, id_ in ids)
    put(world, "MessagesTable", records)
    put(world, "RepliesTable", parts)


def fill_sessions(world: PlannedWorld, sessions: int) -> None:
    for number in range(sessions):
        fill_session(world, 10, f"s-{number}")


def fill_bots(world: PlannedWorld, bots: int) -> None:
    """Make more bots that messages have been sent to."""
    item = {"session": BOTS, "slots": 50, "slots_taken": 1, "slots_expire_at": LONG_AGO, "lease_4": "x" * 61}
    put(world, "MessagesTable", (to_item(item | {"message": f"other-{number}"}) for number in range(bots)))


def fill_parked(world: PlannedWorld, messages: int) -> None:
    item = {"session": f"{BOT}#{SESSION}", "awaiting": OPERATOR, "due_at": LONG_AGO}
    put(world, "MessagesTable", (to_item(item | {"message": message_key(str(n))}) for n in range(messages)))


def fill_queue(world: PlannedWorld, messages: int) -> None:
    """Let so many messages of a paused bot wait on PushQueue."""
    world.pause("bot1")
    body = json.dumps({"bot": "bot1", "session_id": "s", "text": "hi"})
    for number in range(messages):
        message = {"MessageGroupId": "bot1#s", "MessageDeduplicationId": str(number)}
        world.deployment.queues["PushQueue"].send(message | {"MessageBody": body})


@pytest.mark.parametrize(
    ("fill", "size"),
    [
        (fill_session, 10),
        (fill_session, 100_000),
        (fill_sessions, 1_000),
        (fill_bots, 100),
        (fill_queue, 100_000),
    ],
)
def test_a_message_costs_the_same_however_much_there_is(fill: Fill, size: int) -> None:
    with opened(replace(CALM, releases=("4.11.2", "4.11.2")), PlannedLangBot) as outcome:
        world = PlannedWorld(outcome)
        fill_session(world, 10)
        fill(world, size)
        settle_down(world)
        sent = world.say(turn=Turn(replies=(5,)))
        world.run(5)
        world.reply_to(sent)
        assert calls(world) == CALLS
        assert world.deployment.dynamodb.units == UNITS


@pytest.mark.parametrize(
    ("fill", "size", "units"),
    [(fill_bots, 1, 2), (fill_bots, 100, 53), (fill_parked, 1_000, 14.5), (fill_parked, 10_000, 14.5)],
)
def test_each_minute_costs_by_bots_and_by_parked_messages(fill: Fill, size: int, units: float) -> None:
    with opened(CALM, PlannedLangBot) as outcome:
        world = PlannedWorld(outcome)
        fill(world, size)
        settle_down(world)
        world.invoke("settle", {})
        assert world.deployment.dynamodb.units == {("settle", "read"): units}


def settle_down(world: PlannedWorld) -> None:
    """Let the indexes and the queue become what they will be, and begin to count."""
    world.run(2)
    world.faults.calls.clear()
    world.deployment.dynamodb.units.clear()


def calls(world: PlannedWorld) -> Counter[tuple[str, str]]:
    """Return how many calls each program has made of each operation of DynamoDB."""
    made = ((who.partition(".")[0], call.partition(".")) for who, call in world.faults.calls)
    return Counter((program, operation) for program, (service, _, operation) in made if service == "dynamodb")
