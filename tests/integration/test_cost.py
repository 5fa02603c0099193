"""What a message and a part cost in calls to AWS, counted at the client."""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from publish.publisher import StreamRecord
from relay import SentMessage
from relay.adapters import awaiting_index
from relay.adapters.bot_registry import BotRegistry
from relay.adapters.dynamodb import to_item
from relay.adapters.messages_table import MessagesTable
from relay.domain.keys import message_key
from relay.domain.signing import NotAuthentic
from relay.domain.timestamps import utc_text
from settle import due
from support.api_calls import counted_calls
from support.callbacks import lower_case, part_body, reply, signed_headers
from support.deployed import OUT, new_bot
from support.queued_messages import deliver, queued
from support.workers import final_part

COST = Path(__file__).parents[2] / "docs/cost.md"


@pytest.fixture
def counted(deployed):
    with counted_calls(deployed, "dynamodb", "secretsmanager", "s3", "sqs", "events") as counted:
        yield counted


def receive(talk, receiver, secret=OUT, **fields):
    raw = part_body(talk, **fields)
    receiver.receive(talk.name, lower_case(signed_headers(raw, secret)), raw)


def test_a_delivered_message_costs_two_writes_and_no_read(talk, workers, counted):
    # Within a second, or the slots would be counted again.
    dispatcher = workers.at(time.time()).dispatcher()
    deliver(dispatcher, queued(talk))
    counted.clear()
    deliver(dispatcher, queued(talk))
    assert counted.calls == {"UpdateItem": 1, "PutItem": 1}
    # The slot and the lease at the bot; the record, and its entries in two indexes.
    assert counted.units == {"UpdateItem": 1, "PutItem": 3}


def test_a_part_costs_one_write_and_no_read(talk, workers, counted):
    receiver = workers.receiver()
    receive(talk, receiver)
    counted.clear()
    for sequence in range(2, 7):
        receive(talk, receiver, sequence=sequence)
    assert counted.calls == {"PutItem": 5}
    assert counted.units.total() == 5


@pytest.mark.parametrize(
    ("kilobytes", "sentence"),
    [(1.7, "take {:g} write units if the text grows to 1.7 KB"), (4, "{:g} if it grows to 4 KB")],
)
def test_a_streamed_turn_costs_what_the_document_says(talk, workers, counted, kilobytes, sentence):
    receiver, grown = workers.receiver(), kilobytes * 1024
    receive(talk, receiver)
    counted.clear()
    for number in range(1, 101):
        message = [{"type": "Plain", "text": "x" * int(grown * number / 100)}]
        receive(talk, receiver, sequence=number, is_final=number == 100, message=message)
    assert counted.calls == {"PutItem": 100}
    assert sentence.format(counted.units.total()) in " ".join(COST.read_text("utf-8").split())


def documented():
    """Return the write and read units by step, from the table of docs/cost.md."""
    table = COST.read_text("utf-8").partition("| step |")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return {name: (float(writes), float(reads)) for name, _, writes, reads in rows}


def test_a_message_of_five_parts_costs_what_the_document_says(talk, workers, dispatcher, counted):
    deliver(dispatcher, queued(talk, "SILENT"))
    receiver, steps = workers.receiver(), {}

    def count(step, writes=(), reads=("Query", "GetItem")):
        """Add what a step cost: all that was read, and what some operations wrote."""
        steps[step] = tuple(
            float(sum(counted.units.pop(name, 0) for name in names)) for names in (writes, reads)
        )

    counted.clear()
    message = queued(talk, "SILENT")
    deliver(dispatcher, message)
    count("admission", ["UpdateItem"])
    count("the record, with two indexes", ["PutItem"])
    reply_to = workers.record(message)["accepted_message_id"]
    counted.clear()
    # Settled first: the deployed function settles, too, once there is a final part.
    workers.settler().settle(final_part(talk, reply_to))
    count("settling", ["UpdateItem"])
    for number in range(1, 6):
        receive(talk, receiver, reply_to=reply_to, sequence=number, is_final=number == 5)
    count("five parts", ["PutItem"])
    last = talk.parts()[-1]
    counted.clear()
    assert workers.publisher().publish([StreamRecord("1", {}, last, time.time())], lambda: 60) == []
    count("publishing", ["PutItem", "UpdateItem"])
    steps["in all"] = tuple(map(sum, zip(*steps.values(), strict=True)))
    assert steps == documented()


def dollars(heading):
    """Return the rows of a table of prices: name, arithmetic and dollars."""
    table = COST.read_text("utf-8").partition(heading)[2].partition("\n\n")[0]
    return [line.strip("| ").split("|") for line in table.splitlines()[2:]]


@pytest.mark.parametrize("heading", ["| per million messages", "| each month |", "| each hour |"])
def test_the_dollars_are_what_their_arithmetic_says(heading):
    *rows, (total, _, in_all) = dollars(heading)
    assert total.strip() == "in all"
    for name, arithmetic, price in rows:
        if expression := re.sub(r"[^\d.+×/()]", "", arithmetic).replace("×", "*"):
            computed = eval(expression)  # noqa: S307 - figures and operators of our own document
            assert computed == pytest.approx(float(price), abs=0.0051), name
    assert sum(float(price) for *_, price in rows) == pytest.approx(float(in_all), abs=0.005)


def test_the_dollars_are_those_of_the_units_counted():
    units = dict(zip(("DynamoDB writes", "DynamoDB reads"), documented()["in all"], strict=True))
    prices = {name.strip(): arithmetic for name, arithmetic, _ in dollars("| per million messages")}
    assert {name: float(prices[name].split("×")[0]) for name in units} == units


def test_a_bot_that_was_quiet_for_a_second_costs_two_reads(talk, workers, counted):
    deliver(workers.dispatcher(), queued(talk))
    counted.clear()
    deliver(workers.at(time.time() + 2).dispatcher(), queued(talk))
    assert (counted.calls["GetItem"], counted.calls["Query"]) == (1, 1)
    assert (counted.units["GetItem"], counted.units["Query"]) == (1, 0.5)


@pytest.mark.parametrize(("characters", "record", "settling"), [(200, 3, 2), (350, 3, 3), (500, 4, 3)])
def test_a_longer_text_costs_units_as_the_document_says(talk, workers, counted, characters, record, settling):
    dispatcher = workers.dispatcher()
    message = queued(talk, "SILENT".ljust(characters, "."))
    deliver(dispatcher, message)
    assert counted.units["PutItem"] == record
    counted.clear()
    workers.settler().settle(final_part(talk, workers.record(message)["accepted_message_id"]))
    assert counted.units["UpdateItem"] == settling


def test_a_secret_is_read_every_five_minutes_however_often_it_is_used(talk, counted):
    now, prefix = [0], talk.deployed.local.outputs["BotSecretPrefix"]
    registry = BotRegistry(talk.deployed.client("secretsmanager"), prefix, clock=lambda: now[0])
    for second in range(600):
        now[0] = second
        registry.get(talk.name)
    assert counted.calls["GetSecretValue"] == 2


def test_a_post_to_the_bot_has_the_bytes_that_the_document_says(talk, dispatcher):
    deliver(dispatcher, queued(talk, "x" * 100))
    request = talk.bot.received[0]
    head = len(f"POST {request.path} HTTP/1.1\r\n\r\n") + sum(
        len(f"{name}: {value}\r\n") for name, value in request.headers.items()
    )
    assert 500 < head + len(request.body) < 700


def test_a_bad_request_does_not_ask_secrets_manager(talk, workers, counted):
    prefix = talk.deployed.local.outputs["BotSecretPrefix"]
    registry = BotRegistry(talk.deployed.client("secretsmanager"), prefix, clock=lambda: 0)
    receiver = workers.receiver(registry)
    registry.get(talk.name)
    counted.clear()
    for bot in [talk.name] * 20 + ["unknown"] * 20 + ["NO BOT"] * 20:
        with pytest.raises(NotAuthentic):
            receive(replace(talk, name=bot), receiver, secret="wrong")
    for not_now in ("inf", str(int(time.time()) - 400)):
        with pytest.raises(NotAuthentic):
            receiver.receive("another", {"x-lb-timestamp": not_now, "x-lb-signature": "sha256=0"}, b"{}")
    assert counted.calls["GetSecretValue"] == 2  # once for the bot, once for "unknown"


def fill(talk, messages):
    """Make a session of so many messages, each answered by a part, an hour ago."""
    dynamodb, stack = talk.deployed.client("dynamodb"), talk.deployed.stack
    session, sent_at = f"{talk.name}#{talk.session}", utc_text(time.time() - 3600)

    def put(numbers):
        records, parts = [], []
        for number in numbers:
            record = {"session": session, "message": message_key(str(number)), "state": "answered"}
            records.append(record | {"body": "x" * 3_000, "accepted_message_id": f"in_{number}"})
            part = {"session": session, "part": f"{sent_at[:-1]}#{number:06}#0", "text": "x" * 3_000}
            times = {"created_at": sent_at, "sent_at": sent_at}
            parts.append(part | {"reply_to": f"in_{number}"} | times)
        requests = {
            stack.messages_table: [{"PutRequest": {"Item": to_item(record)}} for record in records],
            stack.replies_table: [{"PutRequest": {"Item": to_item(part)}} for part in parts],
        }
        assert not dynamodb.batch_write_item(RequestItems=requests)["UnprocessedItems"]

    with ThreadPoolExecutor(4) as threads:
        # A call takes 25 items.
        list(threads.map(put, batched(range(messages), 12)))


def batched(numbers, size):
    return (numbers[begin : begin + size] for begin in range(0, len(numbers), size))


@pytest.fixture(scope="module", params=[10, 1_000])
def long_session(deployed, request):
    """A bot, and a session with it of so many messages, of 3 KB each: a page of a query has 1 MB."""
    with new_bot(deployed) as talk:
        fill(talk, request.param)
        yield talk


@pytest.fixture
def waiting(long_session, workers):
    """A message of that session that waits for its reply."""
    message = queued(long_session, "SILENT")
    deliver(workers.dispatcher(), message)
    return workers.record(message)


def test_settling_costs_the_same_however_long_the_session_is(long_session, workers, waiting, counted):
    settler = workers.settler()
    counted.clear()
    settler.settle(final_part(long_session, waiting["accepted_message_id"]))
    # The last messages of the session; one write, of the record and of its entry among those that wait.
    assert counted.calls == {"Query": 1, "UpdateItem": 1}
    assert counted.units == {"Query": 1, "UpdateItem": 2}


@pytest.fixture
def due_items(long_session, workers, monkeypatch):
    """What is due of this bot a deadline later, and nothing of other tests."""
    monkeypatch.setattr(MessagesTable, "bot_items", lambda _: [{"message": long_session.name}])
    for module, name in ((awaiting_index, "OPERATOR"), (due, "SETTLE")):
        monkeypatch.setattr(module, name, f"{name}-of-{long_session.name}")
    return workers.at(time.time() + 901).due_items()


@pytest.mark.usefixtures("waiting")
def test_giving_up_costs_the_same_however_long_the_session_is(due_items, counted):
    counted.clear()
    assert due_items.handle(lambda: 60) == 1
    # Each minute: the number of parked messages, what is due of settle, and of each bot. Of the message: its
    # record, LangBot's clock, the parts since; then the record is written, and its entry moves in the index.
    assert counted.calls == {"Query": 3 + 2, "GetItem": 1, "UpdateItem": 1}
    assert counted.units == {"Query": 2.5, "GetItem": 1, "UpdateItem": 3}


def test_waiting_costs_the_same_however_long_the_session_is(long_session, workers, waiting, counted):
    sent = SentMessage(waiting["bot"], waiting["session_id"], waiting["message_id"], waiting["message"])
    receive(long_session, workers.receiver(), reply_to=waiting["accepted_message_id"])
    counted.clear()
    assert long_session.conversation().wait(sent).text == "hi"
    # The record and the ten newest parts, which may be a moment old; then the turn.
    assert counted.calls == {"GetItem": 1, "Query": 2}
    assert counted.units.total() == 2


def test_parts_are_read_a_page_at_a_time(long_session, counted):
    parts = long_session.conversation().parts()
    assert counted.calls == {}
    next(parts)
    assert counted.calls == {"Query": 1}


def test_following_costs_the_same_however_long_the_session_is(long_session, workers, counted):
    parts = long_session.conversation().follow()
    counted.clear()
    assert len(list(islice(parts, 10))) == 10
    receive(long_session, workers.receiver(), reply_to="in_new")
    assert next(parts)["reply_to"] == "in_new"
    # The ten newest parts, the keys of what is late; then the new part, and the nine before it once more.
    assert (counted.calls["Query"], counted.units["Query"]) == (3, 2)


@pytest.mark.parametrize(("context", "queries"), [({}, 2), ({"context": {"order": 17}}, 3)])
def test_only_a_context_makes_publishing_look_for_merged_messages(talk, workers, counted, context, queries):
    dispatcher, first, later = workers.dispatcher(), queued(talk, "SILENT"), queued(talk, "SILENT", **context)
    deliver(dispatcher, first, later)
    reply_to = workers.record(first)["accepted_message_id"]
    receive(talk, workers.receiver(), reply_to=reply_to, is_final=True)
    last = talk.parts()[-1] | {"sent_at": utc_text(time.time() + 1)}
    counted.clear()
    assert workers.publisher().publish([StreamRecord("1", {}, last, time.time())], lambda: 60) == []
    assert counted.calls == {"Query": queries, "PutEvents": 1}


class Tasks:
    """The service whose calls are not counted here."""

    def succeed(self, token, output):
        self.output = json.loads(output)


def test_a_task_costs_the_part_that_answers_its_message_and_the_turn(talk, workers, counted):
    dispatcher, message = workers.dispatcher(), queued(talk, "SILENT")
    deliver(dispatcher, message)
    record = workers.record(message)
    receive(talk, workers.receiver(), reply_to=record["accepted_message_id"], is_final=True)
    (part,) = talk.parts()
    answered = record | {"state": "answered", "answer_part": part["part"], "reply_to_task": "TOKEN"}
    answered = {name: value for name, value in answered.items() if name != "awaiting"}
    tasks, change = Tasks(), StreamRecord("1", record, answered, time.time())
    counted.clear()
    assert replace(workers.publisher(), tasks=tasks).publish([change], lambda: 60) == []
    assert counted.calls == {"GetItem": 1, "Query": 2}
    assert tasks.output["text"] == "hi"


@pytest.mark.parametrize("before", [0, 30])
def test_publishing_a_turn_costs_the_same_however_long_the_session_is(talk, workers, counted, before):
    old = time.time() - 1200
    for number in range(before):
        reply(talk, f"in_{number}", timestamp=utc_text(old + number).removesuffix("Z"))
    talk.conversation().wait(talk.push("LONG:5:20"))
    last = talk.parts()[-1]
    publisher = workers.publisher()
    counted.clear()
    assert publisher.publish([StreamRecord("1", {}, last, time.time())], lambda: 60) == []
    # The session's last messages, and the five parts; one each, read consistently.
    assert counted.calls == {"Query": 2, "PutEvents": 1}
    assert counted.units == {"Query": 2}
