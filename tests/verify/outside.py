"""What must work through the outside of a deployed relay: queue, callback, tables, events and command.

`make verify-aws` runs this file. The bot is bot/app.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from relay import Conversation, Messages, PushQueue
from relay.domain.keys import message_key
from support.waiting import eventually
from verify.verified import Verified

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def verified():
    return Verified.from_env()


@pytest.fixture(scope="session")
def stack(verified):
    return verified.open_stack()


@pytest.fixture(scope="session")
def within(verified):
    return verified.within


@pytest.fixture
def session():
    return f"verify-{uuid4().hex[:8]}"


@pytest.fixture
def push(stack, session):
    def push(text, **more):
        return PushQueue(stack).push(session, text, **more)

    return push


@pytest.fixture
def reply(stack, session, within):
    def reply(sent):
        return Conversation(stack, session).wait(sent, within)

    return reply


@pytest.fixture
def record(stack, session, within):
    """Return the record of a message, once it is in a state."""

    def record(sent, state, within=within):
        def reached():
            found = Messages(stack).find(session, message_key(sent.sequence_number))
            return found if found and found["state"] == state else None

        return eventually(reached, within, f"{state} of {sent}")

    return record


@pytest.fixture(scope="session", autouse=True)
def silent(stack):
    """Return a message that gets no reply. The other tests run while its deadline comes."""
    return PushQueue(stack).push(f"verify-{uuid4().hex[:8]}", "SILENT")


@pytest.fixture
def relay(verified):
    def relay(*arguments):
        command = [sys.executable, "-m", "relay_cli.main", *arguments, *verified.relay_arguments()]
        paths = os.pathsep.join([f"{ROOT}/functions", f"{ROOT}/infra"])
        environment = os.environ | {"PYTHONPATH": paths}
        return subprocess.run(
            command, cwd=verified.folder, env=environment, capture_output=True, text=True, timeout=300
        )

    return relay


def test_doctor_finds_nothing_wrong(relay):
    found = [json.loads(line) for line in relay("doctor", "--json").stdout.splitlines()]
    assert found
    assert [finding for finding in found if finding["ok"] is False] == []


def test_message_is_answered(push, reply):
    assert reply(push("hello")).text == "echo: hello"


def test_streamed_reply_is_stored_once_and_in_order(push, reply):
    assert [part["sequence"] for part in reply(push("LONG:12")).parts] == list(range(1, 13))


def test_sync_call_is_answered_in_its_response(push, reply, record):
    sent = push("at once", action="sync")
    assert reply(sent).text == "echo: at once"
    assert record(sent, "answered")["attempts"] == 1


def test_messages_of_a_session_are_delivered_in_order(push, reply, stack, session):
    sent = [push(f"{number}") for number in range(8)]
    for one in sent:
        reply(one)
    delivered = [record["delivered_at"] for record in Messages(stack).of_session(session)]
    assert len(delivered) == 8
    assert delivered == sorted(delivered)


def test_message_over_an_item_is_delivered_and_kept_whole(push, reply, stack, session, record):
    sent = push("long " + "x" * 600_000)
    assert reply(sent).text.startswith("echo: long")
    assert len(Messages(stack).body(record(sent, "answered"))) > 600_000


def test_part_over_an_item_is_kept_whole(push, reply):
    assert reply(push("BIG:1500000")).text == "x" * 1_500_000


def test_refused_message_gets_a_fresh_key(push, record):
    keys = [attempt["key"] for attempt in record(push("BURN"), "answered")["last_attempts"]]
    assert [key.rpartition(".")[2] for key in keys] == ["0", "1"]


def test_invalid_message_is_parked_and_dropped_by_the_command(stack, session, relay, within):
    body = json.dumps({"session_id": session, "text": 7})
    stack.client("sqs").send_message(
        QueueUrl=stack.push_queue_url,
        MessageBody=body,
        MessageGroupId=f"default#{session}",
        MessageDeduplicationId=uuid4().hex,
    )
    parked = eventually(lambda: list(Messages(stack).of_session(session)), within)[0]
    assert parked["state"] == "parked"
    assert "text" in parked["reason"]
    dropped = relay("drop", session, parked["message_id"], "verified")
    assert dropped.returncode == 0, dropped.stderr
    assert [one["state"] for one in Messages(stack).of_session(session)] == ["dropped"]


@pytest.mark.parametrize("headers", [{}, {"X-LB-Timestamp": "1", "X-LB-Signature": "sha256=00"}])
def test_callback_that_is_not_authentic_is_refused(stack, session, headers):
    body = json.dumps({"session_id": session, "reply_to": "", "sequence": 1, "is_final": True, "message": []})
    response = requests.post(stack.callback_url("default"), body, headers=headers, timeout=30)
    assert response.status_code == 401
    assert list(Conversation(stack, session).parts()) == []


def test_events_of_a_reply_reach_a_rule(verified, stack, push, reply, session, within):
    sent = push("hello")
    reply(sent)
    sqs = stack.client("sqs")

    def published():
        received = sqs.receive_message(
            QueueUrl=verified.events_queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=2
        )
        events = [json.loads(message["Body"]) for message in received.get("Messages", [])]
        return [event for event in events if event["detail"]["data"].get("session_id") == session]

    event = eventually(published, within)[0]
    assert event["detail-type"] == "Reply Completed"
    assert event["detail"]["data"]["message_id"] == sent.message_id


def test_silent_message_is_unanswered_after_its_deadline(stack, silent):
    def unanswered():
        record = Messages(stack).find(silent.session_id, message_key(silent.sequence_number))
        return record if record and record["state"] == "unanswered" else None

    assert eventually(unanswered, within=300)["last_error"] == "no reply"
