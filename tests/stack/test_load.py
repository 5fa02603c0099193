"""1,000 messages at a bot that holds 100, as LangBot does. `pytest -s` shows the figures."""

import json
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from uuid import uuid4

import pytest

from conftest import Deployed, eventually, new_bot
from local.stack import local_stack
from relay import Stack
from relay.client import group_id
from relay.edge.table import from_item

pytestmark = pytest.mark.timeout(600)

MESSAGES = 1000
HOLDS = 100
MAX_AWAITING = 50


@contextmanager
def loaded(folder, sessions, **parameters):
    """A stack of its own, and a bot that says nothing while 1,000 messages of so many sessions come."""
    with local_stack(folder=folder, parameters=parameters) as local:
        deployed = Deployed(local, Stack.from_file(folder / "outputs.json"))
        with new_bot(deployed) as talk:
            warm_up(talk)
            talk.bot.awake.clear()
            send(talk, sessions)
            yield talk


def warm_up(talk):
    """Has each function started as often as the load needs it: a start takes this machine some time."""
    for sent in [talk.push("SLEEP:1", session=f"warm-{n}") for n in range(8)]:
        talk.deployed.state(sent, "answered", within=60)
    talk.bot.received.clear()
    talk.bot.emitted.clear()


def send(talk, sessions):
    """In turn to each session; a turn lasts a second, more or less, so that not all end at once."""
    sqs = talk.deployed.client("sqs")
    entries = [
        {
            "Id": str(n % 10),
            "MessageGroupId": group_id(talk.name, f"s-{n % sessions}"),
            "MessageDeduplicationId": uuid4().hex,
            "MessageBody": json.dumps(
                {
                    "bot": talk.name,
                    "session_id": f"s-{n % sessions}",
                    "text": f"{n:03} SLEEP:{0.5 + n % 11 / 10}",
                }
            ),
        }
        for n in range(MESSAGES)
    ]
    for first in range(0, MESSAGES, 10):
        sqs.send_message_batch(
            QueueUrl=talk.deployed.stack.push_queue_url, Entries=entries[first : first + 10]
        )


def items(talk):
    """What the ledger holds of the load."""
    pages = (
        talk.deployed.client("dynamodb")
        .get_paginator("scan")
        .paginate(TableName=talk.deployed.stack.messages_table)
    )
    found = [from_item(item) for page in pages for item in page["Items"]]
    return [item for item in found if item.get("bot") == talk.name and item["session_id"].startswith("s-")]


def states(talk):
    return Counter(item["state"] for item in items(talk))


def come_to(talk, **expected):
    """Waits for these states; not in haste, for to look at all messages keeps the emulator from its work."""

    def look():
        time.sleep(1)
        return states(talk) == expected

    eventually(look, within=90, what=f"{expected} instead of {dict(states(talk))}")


def accepted(talk):
    return [request for request in talk.bot.received if request.status == 202]


def test_without_flow_control_the_oldest_are_dropped_without_a_word(tmp_path):
    with loaded(tmp_path, sessions=MESSAGES, MaxAwaiting="0") as talk:
        began = time.monotonic()
        eventually(lambda: len(accepted(talk)) == MESSAGES, within=150, what="1,000 accepted messages")
        print(f"\ncontrol off: {MESSAGES} messages accepted within {time.monotonic() - began:.0f} s")
        talk.bot.awake.set()
        come_to(talk, answered=HOLDS, delivered=MESSAGES - HOLDS)
        lost = {item["accepted_message_id"] for item in items(talk) if item["state"] == "delivered"}
        assert lost == set(talk.bot.dropped)


def test_with_flow_control_all_are_answered_in_order_and_other_bots_do_not_wait(tmp_path):
    with loaded(tmp_path, sessions=50) as talk:
        eventually(lambda: len(accepted(talk)) == MAX_AWAITING, within=60, what="a bot at its limit")
        began = time.monotonic()
        with new_bot(talk.deployed) as other:
            other.conversation().wait(other.push("hello"))
            print(f"\ncontrol on: another bot answers within {time.monotonic() - began:.1f} s")
            assert time.monotonic() - began < 30
        come_to(talk, delivered=MAX_AWAITING)
        assert len(accepted(talk)) == MAX_AWAITING

        began = time.monotonic()
        talk.bot.awake.set()
        eventually(lambda: len(talk.bot.emitted) == MESSAGES, within=400, what="1,000 replies")
        come_to(talk, answered=MESSAGES)
        print(f"control on: {MESSAGES} answered within {time.monotonic() - began:.0f} s")
        assert talk.bot.dropped == []
        assert talk.bot.most_in_hand <= MAX_AWAITING
        assert {item["attempts"] for item in items(talk)} == {1}
        numbers = defaultdict(list)
        for request in accepted(talk):
            body = json.loads(request.body)
            numbers[body["session_id"]].append(int(body["message"][0]["text"][:3]))
        assert {
            session: in_order for session, in_order in numbers.items() if in_order != sorted(in_order)
        } == {}
