"""250 messages at a bot that holds 100, as LangBot does. `pytest -s` shows the figures."""

import json
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from functools import partial
from uuid import uuid4

import pytest

from local.local_stack import local_stack
from local.sample_bot import SampleBot
from push.dispatcher import MAX_PARALLEL_PER_BOT
from relay import BotAdmin, Stack
from relay.domain.keys import group_id, session_key
from support.deployed import Deployed, new_bot
from support.tables import scan
from support.waiting import eventually

pytestmark = pytest.mark.timeout(1200)

MESSAGES = 250
HOLDS = 100
MAX_IN_FLIGHT = 50
LIMIT = MAX_IN_FLIGHT + MAX_PARALLEL_PER_BOT
"""An attempt that lasts longer than SLOT_COUNT_TTL is not counted until its record is written."""


@contextmanager
def loaded_bot(folder, sessions, **parameters):
    """Start a stack of its own, and a bot that says nothing while 250 messages of `sessions` come.

    Yield it, and the seconds in which it answered a message before that.
    """
    # In the emulator each callback at the same time has a process of its own, and to start one takes long.
    kind = partial(SampleBot, max_parallel_callbacks=4)
    with local_stack(folder=folder, parameters=parameters) as local:
        deployed = Deployed(local, Stack.from_file(folder / "outputs.json"))
        with new_bot(deployed, kind) as talk:
            seconds_to_answer(talk)  # each function starts
            usual = seconds_to_answer(talk)
            talk.bot.received.clear()
            talk.bot.emitted.clear()
            talk.bot.awake.clear()
            send(talk, sessions)
            yield talk, usual


def seconds_to_answer(talk):
    began = time.monotonic()
    talk.conversation().wait(talk.push("hello"), timeout=300)
    return time.monotonic() - began


def send(talk, sessions):
    """Send to each session in turn. The bot's turns differ in length, so that not all end at once."""
    entries = [entry(talk, number, f"load-{number % sessions}") for number in range(MESSAGES)]
    for first in range(0, MESSAGES, 10):
        talk.deployed.client("sqs").send_message_batch(
            QueueUrl=talk.deployed.stack.push_queue_url, Entries=entries[first : first + 10]
        )


def entry(talk, number, session):
    text = f"{number:03} SLEEP:{0.2 + number % 11 / 50}"
    return {
        "Id": str(number),
        "MessageGroupId": group_id(session_key(talk.name, session)),
        "MessageDeduplicationId": uuid4().hex,
        "MessageBody": json.dumps({"bot": talk.name, "session_id": session, "text": text}),
    }


def accepted(talk):
    return [request for request in talk.bot.received if request.status == 202]


def records(talk, *names):
    """Return the attributes `names` of the records of the load."""
    read = scan(talk.deployed.stack, talk.deployed.stack.messages_table, "session", *names)
    return [record for record in read if record["session"].startswith(session_key(talk.name, "load-"))]


def are_in(talk, **states):
    """Tell whether so many messages are in each of `states`, and none in any other.

    Most calls only count in the index, since to read all records takes long.
    """
    if len(BotAdmin(talk.deployed.stack).open_messages(talk.name)) != states.get("delivered", 0):
        return False
    return Counter(record["state"] for record in records(talk, "state")) == states


def test_without_flow_control_langbot_silently_drops_the_oldest(tmp_path):
    with loaded_bot(tmp_path, sessions=MESSAGES, MaxInFlight="0") as (talk, _):
        began = time.monotonic()
        eventually(lambda: len(accepted(talk)) == MESSAGES, within=600, what="all accepted messages")
        print(f"\ncontrol off: {MESSAGES} messages accepted within {time.monotonic() - began:.0f} s")
        talk.bot.awake.set()
        eventually(
            lambda: are_in(talk, answered=HOLDS, delivered=MESSAGES - HOLDS), within=300, what="100 answers"
        )
        found = records(talk, "state", "accepted_message_id")
        lost = {record["accepted_message_id"] for record in found if record["state"] == "delivered"}
        assert lost == set(talk.bot.dropped)


def test_flow_control_answers_all_in_order_and_other_bots_do_not_wait(tmp_path):
    with loaded_bot(tmp_path, sessions=50) as (talk, usual):
        eventually(lambda: len(accepted(talk)) >= MAX_IN_FLIGHT, within=300, what="a bot at its limit")
        with new_bot(talk.deployed) as other:
            took = seconds_to_answer(other)
            print(f"\ncontrol on: another bot answers within {took:.1f} s, without load {usual:.1f} s")
            assert took < max(30, 20 * usual)
        eventually(lambda: are_in(talk, delivered=len(accepted(talk))), within=300, what="all records")
        assert len(accepted(talk)) <= LIMIT

        began = time.monotonic()
        talk.bot.awake.set()
        eventually(lambda: len(talk.bot.emitted) == MESSAGES, within=900, what="all replies")
        eventually(lambda: are_in(talk, answered=MESSAGES), within=300, what="all answered messages")
        print(f"control on: {MESSAGES} answered within {time.monotonic() - began:.0f} s")
        assert talk.bot.dropped == []
        assert talk.bot.most_in_hand <= LIMIT
        assert {record["attempts"] for record in records(talk, "attempts")} == {1}
        numbers = defaultdict(list)
        for request in accepted(talk):
            body = json.loads(request.body)
            numbers[body["session_id"]].append(int(body["message"][0]["text"][:3]))
        assert {
            session: in_order for session, in_order in numbers.items() if in_order != sorted(in_order)
        } == {}
