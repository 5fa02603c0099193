"""What is left of a session that was erased, on the deployed stack."""

import json
import time

import pytest

from local.sample_bot import OVERLOADED
from relay import SessionEraser, environment
from relay.adapters.overflow_bucket import message_path, spill_path
from relay.domain.message import REDELIVERED_WITHIN
from support.callbacks import overflow_objects, part_body, post_part, reply
from support.tables import scan

LARGE = "x" * 500_000


@pytest.fixture
def eraser(talk, monkeypatch):
    """Erases the session as if it were some time later, when push cannot get its messages again."""
    now = time.time
    monkeypatch.setattr(environment, "now", lambda: now() + REDELIVERED_WITHIN)
    return SessionEraser(talk.deployed.stack, talk.session, talk.name)


def items(talk, session=None):
    """Return how many items both tables have of a session."""
    key = f"{talk.name}#{session or talk.session}"
    stack = talk.deployed.stack
    tables = (stack.messages_table, stack.replies_table)
    return [sum(item["session"] == key for item in scan(stack, table, "session")) for table in tables]


def large_bodies(talk, sent):
    """Return how many bodies the bucket has of a message, and of the bot's parts."""
    prefixes = (message_path(sent.message_id), f"parts/{talk.name}/")
    return [len(overflow_objects(talk.deployed, prefix)) for prefix in prefixes]


def found(erased):
    """Return the numbers above 0."""
    return {name: number for name, number in vars(erased).items() if number}


def answered(talk, text, **more):
    sent = talk.push(text, **more)
    talk.deployed.state(sent, "answered")
    return sent


def make_old(talk, workers, sent):
    """Let the record of a message be as old as it must be to be erased."""
    workers.overwrite({**talk.deployed.record(sent), "updated_at": "2026-11-22T13:00:48.000000Z"})


def test_a_session_is_erased_from_both_tables_and_the_bucket(talk, relay, workers):
    sent = answered(talk, LARGE)
    make_old(talk, workers, sent)
    for n in range(30):
        reply(talk, "in_of_langbot", text=f"part {n}", sequence=n)
    reply(talk, "in_of_langbot", sequence="7")  # a body that is stored as it was meant
    assert post_part(talk, part_body(talk, message="no list")).status_code == 400
    arguments = ("erase", "--bot", talk.name, talk.session)
    counted = "1 message, 32 parts, 4 bodies in the overflow bucket"
    asked = relay(*arguments)
    assert asked.stdout.startswith(f"there are   {counted}\ndo          `relay erase --yes")
    assert (items(talk), large_bodies(talk, sent)) == ([1, 32], [1, 2])
    assert relay(*arguments, "--yes").stdout.startswith(f"erased      {counted}\nremains ")
    assert (items(talk), large_bodies(talk, sent)) == ([0, 0], [0, 0])
    assert not overflow_objects(talk.deployed, f"quarantine/{talk.name}/")
    assert relay(*arguments, "--yes").stdout.startswith("erased      0 messages, 0 parts, 0 bodies")


def test_nothing_of_another_session_is_erased(talk, eraser):
    sent = answered(talk, LARGE, session="other")
    answered(talk, "hello")
    bodies = part_body(talk, session_id="other", message="no list"), b"no JSON"
    assert [post_part(talk, raw).status_code for raw in bodies] == [400, 400]
    assert found(eraser.erase()) == {"messages": 1, "parts": 1, "unreadable": 1}
    assert (items(talk), items(talk, "other"), large_bodies(talk, sent)) == ([0, 0], [1, 1], [1, 1])
    assert len(overflow_objects(talk.deployed, f"quarantine/{talk.name}/")) == 2


def test_a_reply_that_comes_after_the_erasure_is_stored_as_new(talk, eraser, workers):
    sent = talk.push("SILENT")
    record = talk.deployed.state(sent, "delivered")
    assert found(eraser.erase()) == {"messages": 1, "unanswered": 1}
    assert workers.admission_control().in_flight(talk.name, time.time()) == 0
    reply(talk, record["accepted_message_id"])
    assert found(eraser.count()) == {"parts": 1}
    assert found(eraser.erase()) == {"parts": 1}
    assert items(talk) == [0, 0]


def test_a_message_that_push_retries_stays_until_it_has_ended(talk, eraser):
    talk.bot.answer_with(OVERLOADED)
    sent = talk.push("hello")
    talk.deployed.state(sent, "retrying")
    assert found(eraser.erase()) == {"queued": 1}
    talk.deployed.state(sent, "answered")
    first, second = talk.keys()
    assert first.endswith(".0")
    assert second.endswith(".1")
    assert found(eraser.erase()) == {"messages": 1, "parts": 1}


def test_a_spilled_body_is_erased_once_no_queue_can_need_it(talk, eraser, workers, monkeypatch):
    for session in (talk.session, "other"):
        raw = part_body(talk, session_id=session)
        workers.bucket.put(spill_path(talk.name, raw), raw)
    assert found(eraser.erase()) == {"spilled": 1}
    later = time.time() + 14 * 86_400 + 60
    monkeypatch.setattr(environment, "now", lambda: later)
    assert found(eraser.erase()) == {"bodies": 1}
    (left,) = overflow_objects(talk.deployed, f"spill/{talk.name}/")
    assert json.loads(left)["session_id"] == "other"


def test_the_command_says_what_stays_and_until_when(talk, relay, workers):
    first, second = talk.push("SILENT"), talk.push("SILENT")
    for sent in (first, second):
        talk.deployed.state(sent, "delivered")
    make_old(talk, workers, first)
    arguments = ("erase", "--bot", talk.name, talk.session, "--yes")
    said = relay(*arguments).stdout.splitlines()
    assert said[1].startswith("stays       1 message that push may get again: ")
    assert said[2] == "stays       replies to 1 message, if they come: erase them then"
    assert [line.split()[0] for line in said] == ["erased", *["stays"] * 2, *["remains"] * 4]
    told = json.loads(relay(*arguments, "--json").stdout)
    assert (told["erased"], told["messages"]) == (True, 0)
    assert sorted(told["remains_until"]) == ["logs", "point_in_time_recovery", "queues"]
