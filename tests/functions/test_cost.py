"""What a message and a part cost in calls to AWS, counted at the client."""

import time
from collections import Counter

import pytest
from batches import deliver, queued
from test_callback import body, headers

from conftest import OUT
from relay.edge.bots import Bots
from relay.edge.ledger import Ledger
from relay.edge.replies import Replies
from relay.receive import Receiver
from relay.rules.ledger import key
from relay.rules.message import parse
from relay.rules.part import utc
from relay.rules.settling import Final
from relay.settle import Settler


@pytest.fixture
def calls(monkeypatch):
    """The operations that were asked for, with DynamoDB's own count of capacity units."""
    from botocore.client import BaseClient

    counted = Counter()
    call = BaseClient._make_api_call

    def counting(self, operation, parameters):
        if self.meta.service_model.service_name == "dynamodb":
            parameters = parameters | {"ReturnConsumedCapacity": "TOTAL"}
        counted[operation] += 1
        answer = call(self, operation, parameters)
        counted["units"] += answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0)
        return answer

    monkeypatch.setattr(BaseClient, "_make_api_call", counting)
    return counted


def test_a_delivered_message_costs_two_writes_and_no_read(talk, courier, calls):
    deliver(courier, queued(talk))
    calls.clear()
    deliver(courier, queued(talk))
    # The place at the gate; the item, and its place in two indexes.
    assert calls == {"UpdateItem": 1, "PutItem": 1, "units": 4}


def test_a_part_costs_one_write_and_no_read(talk, calls):
    deployed = talk.deployed
    receiver = Receiver(
        Bots(deployed.client("secretsmanager"), deployed.local.outputs["BotSecretPrefix"]),
        Replies(
            deployed.client("dynamodb"),
            deployed.stack.replies_table,
            deployed.client("s3"),
            deployed.stack.overflow_bucket,
        ),
        spill=None,
        keep_days=1,
    )

    def receive(**fields):
        raw = body(talk, **fields)
        receiver.receive(talk.name, {name.lower(): value for name, value in headers(raw, OUT).items()}, raw)

    receive()
    calls.clear()
    for sequence in range(2, 7):
        receive(sequence=sequence)
    assert calls == {"PutItem": 5, "units": 5}


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


@pytest.mark.parametrize("before", [0, 30])
def test_to_settle_costs_the_same_however_long_the_session_is(talk, courier, calls, before):
    deployed = talk.deployed
    settler = Settler(
        Ledger(deployed.client("dynamodb"), deployed.stack.messages_table),
        Replies(deployed.client("dynamodb"), deployed.stack.replies_table),
        None,
    )
    for _ in range(before):
        deliver(courier, queued(talk, "SILENT"))
    message = queued(talk, "SILENT")
    deliver(courier, message)
    item = courier.ledger.read(key(message, parse(message.body)))
    now = utc(time.time())
    calls.clear()
    settler.settle(Final(item["session"], item["accepted_message_id"], now.removesuffix("Z"), now, now))
    # Two reads of half a unit; one write, of the item and of its place among those that wait.
    assert calls == {"Query": 2, "UpdateItem": 1, "units": 3}
