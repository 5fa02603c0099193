"""What the console reads of the stack while somebody looks, counted at its clients."""

import json
import re
import threading
import time
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from pathlib import Path

import pytest

from local.local_stack import local_stack
from relay import Stack
from relay.adapters.messages_table import MessagesTable
from relay.domain.timestamps import utc_text
from relay_console import poller, session_feed
from relay_console.overview import Overview
from relay_console.session_feed import SessionFeed
from support.api_calls import counted_calls
from support.callbacks import part_body, post_part, reply, signed_headers
from support.console_server import serve_console
from support.deployed import Deployed, new_bot
from support.parked_messages import park
from support.waiting import eventually

COST = Path(__file__).parents[2] / "docs/cost.md"


@pytest.fixture
def reads(deployed):
    with counted_calls(deployed, "dynamodb", "sqs", "logs") as counted:
        yield counted


@pytest.fixture
def session(talk):
    return f"{talk.name}#{talk.session}"


class Time:
    """A clock that a test moves."""

    now = time.time()

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Time()


def minute(source, clock, interval):
    """Poll a source as a watch does for a minute."""
    end = clock.now + 60
    while clock.now < end:
        source.poll()
        clock.now += interval


def caught_up(source):
    source.poll()
    while source.has_more:
        source.poll()
    return source


@pytest.fixture
def lone(tmp_path):
    """A bot on a stack of its own: the others of the tests' stack would cost more."""
    outputs = tmp_path / "outputs.json"
    with local_stack(folder=tmp_path) as local, new_bot(Deployed(local, Stack.from_file(outputs))) as talk:
        yield talk


@pytest.mark.timeout(300)
def test_a_minute_of_looking_reads_what_the_document_says(lone, clock):
    stack, found = lone.deployed.stack, {}
    for text in ("LONG:5:1", "SILENT"):
        lone.deployed.state(lone.push(text), "answered", "delivered")
    watched = [
        caught_up(Overview(stack, clock)),
        caught_up(SessionFeed(stack, f"{lone.name}#{lone.session}", clock)),
    ]
    with counted_calls(lone.deployed, "dynamodb") as reads:
        for name in ("busy_interval", "idle_interval"):
            reads.clear()
            for source in watched:
                minute(source, clock, getattr(source, name))
            found[name] = reads.units.total()
            # The emulator reports no units of BatchGetItem: half a unit for each record, of four at the most.
            assert 2 * reads.calls["BatchGetItem"] <= 45
    document = re.search(r"about (\d+) read units a minute .* and (\d+) when", COST.read_text("utf-8"))
    assert list(found.values()) == pytest.approx([int(units) for units in document.groups()], abs=10)


def test_the_overview_reads_no_record_that_has_ended_again(deployed, talk, reads, clock):
    talk.deployed.state(talk.push("hello"), "answered")
    source = caught_up(Overview(deployed.stack, clock))
    reads.clear()
    items = source.poll()
    assert items[f"session:{talk.name}#{talk.session}"]["states"] == {"answered": 1}
    assert reads.calls["Scan"] == 0
    assert reads.calls["Query"] <= 4 + len(items)


def test_the_clock_skew_of_a_bot_is_found_once_it_has_replied(deployed, talk, clock):
    sent = talk.push("SILENT")
    reply_to = deployed.state(sent, "delivered")["accepted_message_id"]
    source = caught_up(Overview(deployed.stack, clock))
    assert source.poll()[f"bot:{talk.name}"]["skew"] is None
    reply(talk, reply_to)
    clock.now += 61
    assert 0 <= source.poll()[f"bot:{talk.name}"]["skew"] < 60


def test_a_message_that_changes_later_is_seen_to_change(deployed, talk, session, clock):
    sent, _ = park(talk)
    source = caught_up(Overview(deployed.stack, clock))
    assert source.poll()[f"session:{session}"]["states"] == {"parked": 1}
    record = deployed.record(sent)
    deployed.stack.open_messages_table().drop(record, "x", time.time())
    eventually(lambda: source.poll()[f"session:{session}"]["states"] == {"dropped": 1}, within=60)


def test_a_message_that_enters_the_index_behind_newer_ones_is_found(deployed, talk, workers, clock):
    record = deployed.state(talk.push("hello"), "answered")
    source = caught_up(Overview(deployed.stack, clock))
    earlier = "2" + record["queued_at"][1:-8] + "000000Z"
    late = {**record, "session": f"{talk.name}#late", "message": "1", "queued_at": earlier}
    workers.messages_table.write(late)
    clock.now += 31
    assert f"session:{talk.name}#late" in source.poll()


def test_refused_callbacks_of_the_last_hour_are_counted_by_bot_and_reason(deployed, talk, clock):
    raw = part_body(talk)
    assert post_part(talk, raw, signed_headers(raw, secret="forged")).status_code == 401

    def refused():
        counted = Overview(deployed.stack, clock).poll()["refused"]["counts"]
        return {"bot": talk.name, "reason": "signature_mismatch", "n": 1} in counted

    eventually(refused, within=60)


def test_a_first_reading_that_breaks_off_begins_again(deployed, talk, session, clock, monkeypatch):
    talk.deployed.state(talk.push("hello"), "answered")
    source = Overview(deployed.stack, clock)

    def fail(*_):
        raise ConnectionError

    with monkeypatch.context() as broken:
        broken.setattr(MessagesTable, "read_many", fail)
        with pytest.raises(ConnectionError):
            source.poll()
    assert f"session:{session}" in caught_up(source).poll()


def test_a_stack_that_was_made_anew_leaves_nothing_of_the_old_one(deployed, talk, session, clock):
    record = deployed.state(talk.push("hello"), "answered")
    part = talk.parts()[0]
    overview = caught_up(Overview(deployed.stack, clock))
    feed = caught_up(SessionFeed(deployed.stack, session, clock))
    for source in (overview, feed):
        clock.now += 31
        source.poll()
    table = deployed.client("dynamodb").delete_item
    table(TableName=deployed.stack.messages_table, Key={k: {"S": record[k]} for k in ("session", "message")})
    table(TableName=deployed.stack.replies_table, Key={k: {"S": part[k]} for k in ("session", "part")})
    clock.now += 31
    overview.poll()
    assert f"session:{session}" not in caught_up(overview).poll()
    assert list(feed.poll()) == ["earlier"]


def test_a_part_that_is_stored_behind_later_ones_is_found(deployed, talk, session, clock):
    now = time.time()
    reply(talk, "in_1", timestamp=utc_text(now))
    source = caught_up(SessionFeed(deployed.stack, session, clock))
    reply(talk, "in_1", timestamp=utc_text(now - 60))
    clock.now += 31
    assert len([item for item in source.poll().values() if item["kind"] == "part"]) == 2


def test_parts_of_a_host_that_moved_to_another_zone_are_found(deployed, talk, session, clock):
    now = time.time()
    for number in range(12):
        reply(talk, "in_1", timestamp=utc_text(now + number).removesuffix("Z"))
    source = caught_up(SessionFeed(deployed.stack, session, clock))
    reply(talk, "in_2", timestamp=utc_text(now - 8 * 3600).removesuffix("Z"))
    clock.now += 31
    assert len([item for item in source.poll().values() if item["kind"] == "part"]) == 13


def test_a_session_of_any_length_is_read_in_bounded_steps(
    deployed, talk, session, workers, reads, monkeypatch
):
    monkeypatch.setattr(session_feed, "_MESSAGES", 10)
    record = deployed.state(talk.push("hello"), "answered")
    for number in range(40):
        workers.messages_table.write(
            {**record, "message": f"{10**9 + number:039}", "message_id": f"id {number}"}
        )
    source = SessionFeed(deployed.stack, session)

    def messages():
        items = source.poll()
        return len([item for item in items.values() if item["kind"] == "message"]), items["earlier"]["more"]

    assert messages() == (10, True)
    reads.clear()
    for expected in ((20, True), (30, True), (40, True), (41, False)):
        source.load_earlier()
        assert messages() == expected
    assert reads.calls["Scan"] == 0


def test_of_large_parts_the_newest_are_read_and_the_others_on_request(
    deployed, talk, session, clock, monkeypatch
):
    monkeypatch.setattr(session_feed, "_LARGE", 2)
    source = SessionFeed(deployed.stack, session, clock)

    def shown():
        turns = [item for item in source.poll().values() if item["kind"] == "turn"]
        turns.sort(key=itemgetter("order"))
        return [turn["bubbles"][0]["segments"] is not None for turn in turns]

    many = [{"type": "Plain", "text": "x"}] * 6_000
    for expected in ([True], [True, True], [False, True, True]):
        at = utc_text(time.time())
        assert post_part(talk, part_body(talk, reply_to="", message=many, timestamp=at)).ok
        assert shown() == expected
    first = next(iter(source.parts))
    assert len(source.whole_part(first)["message"]) == len(many)


@pytest.mark.parametrize("last", [10, 1])
def test_a_parked_message_is_seen_to_change_at_once(deployed, talk, session, clock, monkeypatch, last):
    monkeypatch.setattr(session_feed, "_LAST", last)
    _, record = park(talk)
    deployed.state(talk.push("hello"), "answered")
    source = caught_up(SessionFeed(deployed.stack, session, clock))
    source.poll()
    key = {"session": session, "message": record["message"]}
    deployed.stack.open_messages_table().drop(key, "x", time.time())
    if last == 1:  # as the console does for a message before the last ones
        source.recheck()
    assert source.poll()[f"message:{record['message']}"]["state"] == "dropped"


@contextmanager
def follow(console, path):
    """Watch a path as a page does; yield the changes so far."""
    changes, browser = [], console.browser()
    response = browser.get(console.url + path, stream=True, timeout=60)

    def read():
        try:
            for line in response.iter_lines():
                changes.append(json.loads(line))
        except Exception:
            return  # it was closed

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield changes
    finally:
        response.raw.shutdown()  # which ends the thread's read; to close waits for it
        response.close()


def test_five_pages_are_polled_once_and_no_page_costs_nothing(deployed, talk, reads, monkeypatch):
    poll, under_way, most = Overview.poll, [], []

    def counted_poll(source):
        under_way.append(source)
        most.append(len(under_way))
        time.sleep(0.2)  # so that two pollers would meet
        try:
            return poll(source)
        finally:
            under_way.pop()

    monkeypatch.setattr(Overview, "poll", counted_poll)
    monkeypatch.setattr(Overview, "busy_interval", 0.1)
    monkeypatch.setattr(Overview, "idle_interval", 0.1)
    monkeypatch.setattr(poller, "KEEP_ALIVE", 0.5)
    with serve_console(deployed.stack) as console:
        with ExitStack() as pages:
            followed = [pages.enter_context(follow(console, "/api/changes")) for _ in range(5)]
            eventually(lambda: all(followed))
            polls = len(most)
            eventually(lambda: len(most) > polls + 10)
        assert max(most) == 1

        def no_poll():
            polls = len(most)
            time.sleep(1)
            return len(most) == polls

        eventually(no_poll, within=60)
