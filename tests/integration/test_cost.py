"""What a message and a part cost in calls to AWS, counted at the clients."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from publish.publisher import StreamRecord
from relay.adapters.bot_registry import BotRegistry
from relay.adapters.dynamodb import to_item
from relay.domain.keys import message_key
from relay.domain.signing import NotAuthentic
from relay.domain.timestamps import utc_text
from support.api_calls import counted_calls
from support.callbacks import lower_case, part_body, post_part, signed_headers
from support.queued_messages import deliver, queued
from support.workers import final_part

COST = Path(__file__).parents[2] / "docs/cost.md"


@pytest.fixture
def counted(deployed):
    """The calls of the workers in this process, and their capacity units."""
    with counted_calls(deployed, "dynamodb", "secretsmanager", "events", "s3", "sqs") as counted:
        yield counted


@pytest.fixture
def receiver(workers):
    return workers.receiver()


def receive(talk, receiver, **fields):
    raw = part_body(talk, **fields)
    receiver.receive(talk.name, lower_case(signed_headers(raw)), raw)


def test_a_delivered_message_costs_two_writes_and_no_read(talk, dispatcher, counted):
    deliver(dispatcher, queued(talk))
    counted.clear()
    deliver(dispatcher, queued(talk))
    assert counted.calls == {"UpdateItem": 1, "PutItem": 1}
    # The slot at the bot; the record, and its place in two indexes.
    assert counted.units.total() == 4


def test_a_part_costs_one_write_and_no_read(talk, receiver, counted):
    receive(talk, receiver)
    counted.clear()
    for sequence in range(2, 7):
        receive(talk, receiver, sequence=sequence)
    assert counted.calls == {"PutItem": 5}
    assert counted.units.total() == 5


def documented():
    """Return the table of docs/cost.md: write and read units by step."""
    rows = [line.strip("| ").split(" | ") for line in COST.read_text("utf-8").splitlines() if "|" in line]
    return {row[0]: (float(row[2]), float(row[3])) for row in rows[2:] if len(row) == 4}


def test_a_message_of_five_parts_costs_what_the_document_says(talk, workers, dispatcher, receiver, counted):
    deliver(dispatcher, queued(talk, "SILENT"))
    message, steps = queued(talk, "SILENT"), {}

    def note(step, writes=(), reads=("Query", "GetItem")):
        """Note what a step cost: all that was read, and what some operations wrote."""
        units = counted.units
        steps[step] = tuple(float(sum(units.pop(name, 0) for name in names)) for names in (writes, reads))

    counted.clear()
    deliver(dispatcher, message)
    note("admission", ["UpdateItem"])
    note("the record, with two indexes", ["PutItem"])
    reply_to = workers.record(message)["accepted_message_id"]
    counted.clear()
    # It is settled first: the deployed settle settles it too, when there is a final part.
    workers.settler().settle(final_part(talk, reply_to))
    note("settling", ["UpdateItem"])
    for number in range(1, 6):
        receive(talk, receiver, reply_to=reply_to, sequence=number, is_final=number == 5)
    note("five parts", ["PutItem"])
    last = talk.conversation().parts()[-1]
    counted.clear()
    assert workers.publisher().publish([StreamRecord("1", {}, last, time.time())]) == []
    note("publishing", ["PutItem", "UpdateItem"])
    steps["in all"] = tuple(map(sum, zip(*steps.values(), strict=True)))
    assert steps == documented()


def test_a_bad_request_does_not_read_a_secret_each_time(talk, workers, counted):
    prefix = talk.deployed.local.outputs["BotSecretPrefix"]
    # Time stands still: nothing that is cached gets old.
    bot_registry = BotRegistry(talk.deployed.client("secretsmanager"), prefix, clock=lambda: 0.0)
    receiver = workers.receiver(bot_registry)
    bot_registry.get(talk.name)
    counted.clear()
    for bot in [talk.name] * 20 + ["missing"] * 20 + ["NO BOT"] * 20:
        raw = part_body(talk)
        with pytest.raises(NotAuthentic):
            receiver.receive(bot, lower_case(signed_headers(raw, "wrong")), raw)
    for late in ("inf", str(int(time.time()) - 400)):
        with pytest.raises(NotAuthentic):
            receiver.receive("another", {"x-lb-timestamp": late, "x-lb-signature": "sha256=0"}, b"{}")
    assert counted.calls["GetSecretValue"] == 2  # once for the bot, once for "missing"


def fill(talk, messages):
    """Make a session of so many messages, each answered by a part, an hour ago."""
    dynamodb, stack = talk.deployed.client("dynamodb"), talk.deployed.stack
    session, stamp = f"{talk.name}#{talk.session}", utc_text(time.time() - 3600)
    common = {"session": session, "text": "x" * 300}

    def items(number):
        record = {"message": message_key(str(number)), "state": "answered", "awaited_reply": f"in_{number}"}
        part = {"part": f"{stamp[:-1]}#{number:06}#0", "reply_to": f"in_{number}"}
        times = {"created_at": stamp, "sent_at": stamp, "received_at": stamp}
        return common | record, common | part | times

    def write(begin):
        pairs = [items(number) for number in range(begin, min(begin + 12, messages))]
        requests = {
            table: [{"PutRequest": {"Item": to_item(pair[n])}} for pair in pairs]
            for n, table in enumerate((stack.messages_table, stack.replies_table))
        }
        assert not dynamodb.batch_write_item(RequestItems=requests)["UnprocessedItems"]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(0, messages, 12)))


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("only_this_bot")
@pytest.mark.parametrize("messages", [10, 10_000])
def test_to_settle_and_to_sweep_cost_the_same_in_any_session(talk, workers, dispatcher, counted, messages):
    fill(talk, messages)
    answered, overdue = queued(talk, "SILENT"), queued(talk, "SILENT")
    deliver(dispatcher, answered)
    reply_to = workers.record(answered)["accepted_message_id"]
    counted.clear()
    workers.settler().settle(final_part(talk, reply_to))
    # Two reads of half a unit; one write, of the record and of its place among those that wait.
    assert counted.calls == {"Query": 2, "UpdateItem": 1}
    assert counted.units.total() == 3

    deliver(dispatcher, overdue)
    counted.clear()
    assert workers.at(time.time() + 901).sweeper().sweep(lambda: 60) == 1
    # What is overdue, the record, LangBot's clock, the parts since; then the write, as above.
    assert counted.calls == {"Query": 3, "GetItem": 1, "UpdateItem": 1}
    assert counted.units.total() == 4.5


@pytest.mark.parametrize("before", [0, 30])
def test_to_publish_a_turn_costs_the_same_in_any_session(talk, workers, counted, before):
    old = time.time() - 1200
    for number in range(before):
        stamp = utc_text(old + number).removesuffix("Z")
        assert post_part(talk, part_body(talk, reply_to=f"in_{number}", timestamp=stamp)).status_code == 200
    sent = talk.push("LONG:5:20")
    talk.conversation().wait(sent)
    last = talk.conversation().parts()[-1]
    publisher = workers.publisher()
    counted.clear()
    assert publisher.publish([StreamRecord("1", {}, last, time.time())]) == []
    # The message by its reply, half a unit; its record, and the five parts, one each, read consistently.
    assert counted.calls == {"Query": 2, "GetItem": 1, "PutEvents": 1}
    assert counted.units.total() == 2.5
