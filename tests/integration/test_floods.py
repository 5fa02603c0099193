"""A flood of one bot or session leaves time for the others: what is read, and when it ends."""

import time
from dataclasses import dataclass, field, replace

import pytest
from botocore.exceptions import ClientError

from publish.publisher import MAX_BODIES, MAX_BODY_BYTES, StreamRecord
from relay.adapters.awaiting_index import AwaitingIndex
from relay.adapters.dynamodb import to_item
from relay.adapters.messages_table import MessagesTable
from relay.adapters.replies_table import MAX_PAGES, RepliesTable
from relay.domain.event import Event
from relay.domain.keys import message_key, part_key
from relay.domain.settlement import FinalPart
from relay.domain.timestamps import Stamp, unix_seconds, utc_text
from settle import due
from support.api_calls import counted_calls
from support.callbacks import lower_case, part_body, reply, signed_headers
from support.deployed import new_bot
from support.due_items import no_schedule
from support.environment_variables import VARIABLES
from support.queued_messages import deliver, queued
from support.workers import final_part

DEADLINE = 900


# ---------------------------------------------------------------- one bot's overdue messages


@pytest.fixture
def other(talk, deployed, monkeypatch):
    """A second bot. Only the test handles what is due, and only of these two bots."""
    with new_bot(deployed) as other, no_schedule(deployed):
        items = [{"message": name} for name in (talk.name, other.name)]
        monkeypatch.setattr(MessagesTable, "bot_items", lambda _: items)
        monkeypatch.setattr(due, "SETTLE", f"settle-of-{talk.name}")
        yield other


def silent(talk, dispatcher, count=1):
    """Deliver messages that get no reply, each in a session of its own."""
    messages = [
        queued(replace(talk, session=f"{talk.session}-{number}"), "SILENT") for number in range(count)
    ]
    assert deliver(dispatcher, *messages) == []
    return messages


def due_in(workers, seconds):
    return workers.at(time.time() + seconds).due_items()


def states(workers, messages):
    return [record["state"] for record in workers.records(*messages)]


def time_for(messages):
    """Return what tells the seconds left of a run that has time for so many messages."""
    left = iter([60] * messages)
    return lambda: next(left, 0)


@pytest.mark.parametrize("minute", [0, 1])
def test_a_flood_of_one_bot_leaves_time_for_another(talk, other, workers, dispatcher, minute):
    flood, single = silent(talk, dispatcher, 6), silent(other, dispatcher)
    assert due_in(workers, DEADLINE + 1 + 60 * minute).handle(time_for(messages=3)) == 3
    assert states(workers, single) == ["unanswered"]
    assert states(workers, flood).count("unanswered") == 2


def test_the_next_minute_handles_what_there_was_no_time_for(talk, other, workers, dispatcher):
    flood = silent(talk, dispatcher, 3)
    assert due_in(workers, DEADLINE + 1).handle(time_for(messages=2)) == 2
    assert due_in(workers, DEADLINE + 61).handle(time_for(messages=2)) == 1
    assert states(workers, flood) == ["unanswered"] * 3


@dataclass
class UnreadableIndex:
    """The index, of which the overdue messages of one bot cannot be read."""

    awaiting_index: AwaitingIndex
    bot: str

    def overdue(self, bot, now):
        if bot == self.bot:
            throttled = {"Error": {"Code": "ThrottlingException", "Message": "slow down"}}
            raise ClientError(throttled, "Query")
            yield
        yield from self.awaiting_index.overdue(bot, now)

    def __getattr__(self, name):
        return getattr(self.awaiting_index, name)


def test_a_bot_whose_messages_cannot_be_read_holds_up_no_other(talk, other, workers, dispatcher):
    single = silent(other, dispatcher)
    due_items = due_in(workers, DEADLINE + 1)
    index = UnreadableIndex(due_items.awaiting_index, talk.name)
    assert replace(due_items, awaiting_index=index).handle(lambda: 60) == 1
    assert states(workers, single) == ["unanswered"]


# ---------------------------------------------------------------- one session's parts


@pytest.fixture
def flooded(talk, workers, dispatcher, deployed):
    """The records of two messages of a session in which more parts came than are read, and the last part.

    The last part is the final one of the first message's reply. In the table it is not final, or the deployed
    settle would settle it.
    """
    messages = [queued(talk, "SILENT") for _ in range(2)]
    deliver(dispatcher, *messages)
    records = workers.records(*messages)
    began, session = unix_seconds(records[1]["delivered_at"]), records[0]["session"]
    for number in range(3 * MAX_PAGES):
        sent_at = utc_text(began + 1 + number)
        last = {
            "session": session,
            "part": part_key(Stamp(sent_at[:-1]), 1, f"{number:064}"),
            "bot": talk.name,
            "session_id": talk.session,
            "reply_to": "in_other",
            "is_final": False,
            "stream": False,
            "message": [{"type": "Plain", "text": "x" * 390_000}],
            "text": "",
            "created_at": sent_at,
            "sent_at": sent_at,
            "received_at": sent_at,
        }
        if number == 3 * MAX_PAGES - 1:
            last |= {"reply_to": records[0]["accepted_message_id"]}
        deployed.client("dynamodb").put_item(TableName=deployed.stack.replies_table, Item=to_item(last))
    return records, last | {"is_final": True}


def test_settle_reads_no_more_of_a_session_than_sixteen_pages(deployed, workers, flooded):
    records, last = flooded
    with counted_calls(deployed, "dynamodb") as counted:
        workers.settler().settle(FinalPart.of(last))
    # The session's last messages.
    assert counted.calls["Query"] == 1 + MAX_PAGES
    first, second = (workers.messages_table.read(_key(record)) for record in records)
    # Whether the second one has a part of its own is not known, so nothing is guessed.
    assert (first["state"], second["state"]) == ("answered", "delivered")


def test_a_batch_reads_the_parts_of_a_session_once(deployed, workers, flooded):
    _, last = flooded
    settler = workers.settler()
    batch = replace(settler, replies_table=settler.replies_table.once_for_all())
    with counted_calls(deployed, "dynamodb") as counted:
        for _ in range(3):
            batch.settle(FinalPart.of(last))
    assert counted.calls["Query"] == 3 + MAX_PAGES


def test_what_a_batch_has_read_of_a_session_is_what_the_table_has(talk, workers):
    for number in range(3):
        reply(talk, f"in_{number}", sequence=number)
    parts = talk.parts()
    session, keys = parts[0]["session"], [part["part"] for part in parts]
    once = workers.replies_table.once_for_all()
    for since in (keys[1], " ", keys[0], keys[2]):
        assert once.parts_since(session, since) == workers.replies_table.parts_since(session, since)


def _key(record):
    return {"session": record["session"], "message": record["message"]}


@pytest.mark.usefixtures("only_this_bot")
def test_a_deadline_reads_no_more_of_a_session_than_sixteen_pages(talk, deployed, workers, flooded):
    records, _ = flooded
    due_items = replace(due_in(workers, DEADLINE + 1), max_resends=1)
    with counted_calls(deployed, "dynamodb") as counted:
        assert due_items.handle(lambda: 60) == 2
    # The number of parked messages, what is due of settle and of the bot; then for each message the newest
    # part, and the parts since.
    assert counted.calls["Query"] == 3 + 2 * (1 + MAX_PAGES)
    unanswered = workers.messages_table.read(_key(records[1]))
    assert unanswered["last_error"] == "its session has too many parts to find its reply"
    assert len(talk.bot.received) == 2


@pytest.mark.usefixtures("only_this_bot")
def test_a_deadline_looks_up_only_turns_that_may_be_a_messages(talk, deployed, workers, dispatcher):
    message = queued(talk, "SILENT")
    deliver(dispatcher, message)
    record = workers.record(message)
    del record["accepted_message_id"]
    workers.overwrite(record)
    for number in range(9):
        reply(talk, f"in_{number}")
    with counted_calls(deployed, "dynamodb") as counted:
        assert due_in(workers, DEADLINE + 1).handle(lambda: 60) == 0
    # The parked messages, what is due of settle and of the bot; the newest part and the parts since; the
    # session's messages, and again for the first turn.
    assert counted.calls["Query"] == 3 + 2 + 2
    assert workers.record(message)["state"] == "answered"


def test_a_push_reads_two_of_the_messages_that_wait_in_its_session(talk, deployed, workers, dispatcher):
    deliver(dispatcher, *(queued(talk, "SILENT") for _ in range(9)))
    push = final_part(talk, "", time.time() + 1)
    with counted_calls(deployed, "dynamodb") as counted:
        workers.settler().settle(push, checks=1)
    assert counted.calls == {"Query": 1, "GetItem": 2}


def test_a_turn_is_looked_for_among_the_last_hundred_messages(talk, deployed, workers, dispatcher):
    message = queued(talk, "SILENT")
    deliver(dispatcher, message)
    record = workers.record(message)
    for number in range(100):
        later = message_key(str(int(record["message"]) + 1 + number))
        workers.overwrite(record | {"message": later, "accepted_message_id": f"in_{number}"})
    with counted_calls(deployed, "dynamodb") as counted:
        assert workers.settler().settle(final_part(talk, record["accepted_message_id"]))
    # The last five messages and the others, and what is checked again.
    assert counted.calls == {"Query": 2, "PutItem": 1}


@dataclass
class Bus:
    """In place of the event bus: the events that were published."""

    events: list[Event] = field(default_factory=list)

    def publish(self, events):
        self.events += events
        return set()


def test_publish_reads_no_more_of_a_session_than_sixteen_pages(deployed, workers, flooded):
    records, last = flooded
    bus = Bus()
    publisher = replace(workers.publisher(), event_bus=bus)
    with counted_calls(deployed, "dynamodb") as counted:
        assert publisher.publish([StreamRecord("1", {}, last, time.time())], lambda: 60) == []
    # The session's last messages.
    assert counted.calls["Query"] == 1 + MAX_PAGES
    data = bus.events[0].data
    assert "message" not in data
    assert (data["read"]["last"], data["message_id"]) == (last["part"], records[0]["message_id"])


def test_publish_reads_no_more_than_ten_bodies_of_a_turn(talk, deployed, workers):
    receiver = workers.receiver()
    nested = [{"type": "Plain", "text": "x", "nested": None}]
    for _ in range(40):
        nested[0]["nested"] = [nested[0]["nested"]]
    for number in range(MAX_BODIES + 2):
        raw = part_body(talk, message=nested, sequence=number, is_final=number == MAX_BODIES + 1)
        receiver.receive(talk.name, lower_case(signed_headers(raw)), raw)
    last = talk.parts()[-1]
    assert "overflow" in last
    bus = Bus()
    with counted_calls(deployed, "s3") as counted:
        replace(workers.publisher(), event_bus=bus).publish([StreamRecord("1", {}, last, 0)], lambda: 60)
    assert counted.calls == {"GetObject": MAX_BODIES}
    assert "message" not in bus.events[0].data


def test_publish_does_not_parse_a_body_that_is_too_large_for_an_event(talk, workers):
    raw = part_body(talk, further="x" * MAX_BODY_BYTES)
    workers.receiver().receive(talk.name, lower_case(signed_headers(raw)), raw)
    (part,) = talk.parts()
    bus = Bus()
    replace(workers.publisher(), event_bus=bus).publish([StreamRecord("1", {}, part, 0)], lambda: 60)
    assert "message" not in bus.events[0].data


def test_publish_leaves_changes_that_it_has_no_time_for_to_the_next_time(talk, workers):
    reply(talk, "in_1")
    (part,) = talk.parts()
    records = [StreamRecord(str(number), {}, part, time.time()) for number in range(3)]
    publisher = replace(workers.publisher(), event_bus=Bus())
    assert publisher.publish(records, time_for(messages=1)) == ["1", "2"]


@dataclass
class Settler:
    """In place of settle's Settler: the final parts that it was given. Each takes ten seconds."""

    replies_table: RepliesTable
    settled: list[FinalPart] = field(default_factory=list)

    def settle(self, final):
        self.settled.append(final)

    def get_remaining_time_in_millis(self):
        return 30_000 - 10_000 * len(self.settled)


def test_settle_leaves_parts_that_it_has_no_time_for_to_the_next_time(talk, workers, monkeypatch):
    for name, value in (VARIABLES | {"AWS_DEFAULT_REGION": "us-east-1"}).items():
        monkeypatch.setenv(name, value)
    from settle import app

    settler = Settler(workers.replies_table)
    monkeypatch.setattr(app, "settler", settler)
    reply(talk, "in_1")
    (part,) = talk.parts()
    image = {"NewImage": to_item(part)}
    records = [{"dynamodb": image | {"SequenceNumber": str(number)}} for number in range(4)]
    failures = app.handler({"Records": records}, settler)["batchItemFailures"]
    assert failures == [{"itemIdentifier": "2"}, {"itemIdentifier": "3"}]
