"""What a message and a part cost in calls to AWS, counted at the client."""

import time
from collections import Counter
from pathlib import Path

import pytest
from batches import at, deliver, queued
from test_callback import body, headers, post

from conftest import OUT
from relay.edge.bots import Bots
from relay.edge.bus import Bus
from relay.edge.ledger import Ledger
from relay.edge.replies import Replies
from relay.edge.table import to_item
from relay.receive import Receiver
from relay.rules.ledger import key, message_key
from relay.rules.message import parse
from relay.rules.part import utc
from relay.rules.settling import Final
from relay.settle import Settler
from relay.sweep import Sweeper
from relay.tell import Change, Teller

COST = Path(__file__).parents[2] / "docs/cost.md"


@pytest.fixture
def units():
    """DynamoDB's own count of capacity units, by operation."""
    return Counter()


@pytest.fixture
def calls(monkeypatch, units):
    """The operations that were asked for, with the capacity units of all."""
    from botocore.client import BaseClient

    counted = Counter()
    call = BaseClient._make_api_call

    def counting(self, operation, parameters):
        if self.meta.service_model.service_name == "dynamodb":
            parameters = parameters | {"ReturnConsumedCapacity": "TOTAL"}
        counted[operation] += 1
        answer = call(self, operation, parameters)
        consumed = answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0)
        counted["units"] += consumed
        units[operation] += consumed
        return answer

    monkeypatch.setattr(BaseClient, "_make_api_call", counting)
    return counted


@pytest.fixture
def receiver(talk):
    deployed, stack = talk.deployed, talk.deployed.stack
    return Receiver(
        Bots(deployed.client("secretsmanager"), deployed.local.outputs["BotSecretPrefix"]),
        Replies(
            deployed.client("dynamodb"), stack.replies_table, deployed.client("s3"), stack.overflow_bucket
        ),
        spill=None,
        keep_days=1,
    )


def receive(talk, receiver, **fields):
    raw = body(talk, **fields)
    receiver.receive(talk.name, {name.lower(): value for name, value in headers(raw, OUT).items()}, raw)


def test_a_delivered_message_costs_two_writes_and_no_read(talk, courier, calls):
    deliver(courier, queued(talk))
    calls.clear()
    deliver(courier, queued(talk))
    # The place at the bot; the item, and its place in two indexes.
    assert calls == {"UpdateItem": 1, "PutItem": 1, "units": 4}


def test_a_part_costs_one_write_and_no_read(talk, receiver, calls):
    receive(talk, receiver)
    calls.clear()
    for sequence in range(2, 7):
        receive(talk, receiver, sequence=sequence)
    assert calls == {"PutItem": 5, "units": 5}


def documented():
    """The table of docs/cost.md: write and read units by step."""
    rows = [line.strip("| ").split(" | ") for line in COST.read_text("utf-8").splitlines() if "|" in line]
    return {row[0]: (float(row[2]), float(row[3])) for row in rows[2:] if len(row) == 4}


def test_a_message_of_five_parts_costs_what_the_document_says(talk, courier, receiver, calls, units):
    replies = receiver.replies
    settler = Settler(courier.ledger, replies, None, 900)
    teller = Teller(courier.ledger, replies, Bus(talk.deployed.client("events"), "default", "relay"))
    deliver(courier, queued(talk, "SILENT"))
    message, counted = queued(talk, "SILENT"), {}

    def count(step, writes=(), reads=("Query", "GetItem")):
        """Writes down what a step cost: all that was read, and what some operations wrote."""
        counted[step] = tuple(float(sum(units.pop(name, 0) for name in names)) for names in (writes, reads))

    units.clear()
    deliver(courier, message)
    count("a place at the bot", ["UpdateItem"])
    count("the ledger, with two indexes", ["PutItem"])
    item = courier.ledger.read(key(message, parse(message.body)))
    session, reply_to, now = item["session"], item["accepted_message_id"], utc(time.time())
    units.clear()
    # Settled first: the deployed function settles, too, once there is a final part.
    settler.settle(Final(session, reply_to, now.removesuffix("Z"), now, now))
    count("to settle", ["UpdateItem"])
    for number in range(1, 6):
        receive(talk, receiver, reply_to=reply_to, sequence=number, is_final=number == 5)
    count("five parts", ["PutItem"])
    last = talk.conversation().parts()[-1]
    units.clear()
    assert teller.tell([Change("1", {}, last, time.time())]) == []
    count("to tell", ["PutItem", "UpdateItem"])
    counted["in all"] = tuple(map(sum, zip(*counted.values(), strict=True)))
    assert counted == documented()


def test_a_bad_request_does_not_ask_secrets_manager(talk, calls):
    from relay.rules.signing import NotAuthentic

    deployed = talk.deployed
    bots = Bots(deployed.client("secretsmanager"), deployed.local.outputs["BotSecretPrefix"], lambda: 0)
    receiver = Receiver(bots, None, None, keep_days=1)
    bots.get(talk.name)
    calls.clear()
    for bot in [talk.name] * 20 + ["nobody"] * 20 + ["NO BOT"] * 20:
        raw = body(talk)
        with pytest.raises(NotAuthentic):
            receiver.receive(bot, {n.lower(): v for n, v in headers(raw, "wrong").items()}, raw)
    for late in ("inf", str(int(time.time()) - 400)):
        with pytest.raises(NotAuthentic):
            receiver.receive("somebody", {"x-lb-timestamp": late, "x-lb-signature": "sha256=0"}, b"{}")
    assert calls["GetSecretValue"] == 2  # once for the bot, once for "nobody"


def fill(talk, messages):
    """Makes a session of so many messages, each answered by a part, an hour ago."""
    dynamodb, stack, session = (
        talk.deployed.client("dynamodb"),
        talk.deployed.stack,
        f"{talk.name}#{talk.session}",
    )
    puts = []
    for number in range(messages):
        item = {
            "session": session,
            "message": message_key(str(number)),
            "state": "answered",
            "body": "x" * 300,
        }
        puts.append((stack.messages_table, item | {"awaited_reply": f"in_{number}"}))
        at = utc(time.time() - 3600)
        item = {"session": session, "part": f"{at[:-1]}#{number:06}#0", "text": "x" * 300}
        puts.append(
            (stack.replies_table, item | {"reply_to": f"in_{number}", "created_at": at, "sent_at": at})
        )
    for some in batched(puts, 24):
        requests = {
            table: [{"PutRequest": {"Item": to_item(item)}} for its, item in some if its == table]
            for table in (stack.messages_table, stack.replies_table)
        }
        assert not dynamodb.batch_write_item(RequestItems=requests)["UnprocessedItems"]


def batched(things, size):
    return (things[at : at + size] for at in range(0, len(things), size))


@pytest.fixture(params=[10, 10_000])
def waiting(talk, courier, request):
    """A message that waits for its reply, in a session of so many."""
    fill(talk, request.param)
    message = queued(talk, "SILENT")
    deliver(courier, message)
    return courier.ledger.read(key(message, parse(message.body)))


def test_to_settle_costs_the_same_however_long_the_session_is(talk, waiting, calls):
    deployed = talk.deployed
    settler = Settler(
        Ledger(deployed.client("dynamodb"), deployed.stack.messages_table),
        Replies(deployed.client("dynamodb"), deployed.stack.replies_table),
        None,
        900,
    )
    now = utc(time.time())
    calls.clear()
    settler.settle(Final(waiting["session"], waiting["accepted_message_id"], now.removesuffix("Z"), now, now))
    # Two reads of half a unit; one write, of the item and of its place among those that wait.
    assert calls == {"Query": 2, "UpdateItem": 1, "units": 3}


def test_to_sweep_costs_the_same_however_long_the_session_is(talk, courier, waiting, calls, monkeypatch):
    monkeypatch.setattr("relay.edge.ledger.Ledger.bots", lambda _: [talk.name])
    later = at(courier, time.time() + 901)
    calls.clear()
    assert Sweeper(courier.ledger, courier.replies, later.sender, 0, 900, later.clock).sweep(lambda: 60) == 1
    # What is overdue, the message, how LangBot's clock stands, the parts since; then the write, as above.
    assert calls == {"Query": 3, "GetItem": 1, "UpdateItem": 1, "units": 4.5}


@pytest.mark.parametrize("before", [0, 30])
def test_to_tell_of_a_turn_costs_the_same_however_long_the_session_is(talk, calls, before):
    deployed, stack = talk.deployed, talk.deployed.stack
    teller = Teller(
        Ledger(deployed.client("dynamodb"), stack.messages_table),
        Replies(
            deployed.client("dynamodb"), stack.replies_table, deployed.client("s3"), stack.overflow_bucket
        ),
        Bus(deployed.client("events"), "default", "relay"),
    )
    old = time.time() - 1200
    for number in range(before):
        stamp = utc(old + number).removesuffix("Z")
        assert post(talk, body(talk, reply_to=f"in_{number}", timestamp=stamp)).status_code == 200
    sent = talk.push("LONG:5:20")
    talk.conversation().wait(sent)
    last = talk.conversation().parts()[-1]
    calls.clear()
    assert teller.tell([Change("1", {}, last, time.time())]) == []
    # The message by its reply, half a unit; its item, and the five parts, one each, read consistently.
    assert calls == {"Query": 2, "GetItem": 1, "PutEvents": 1, "units": 2.5}
