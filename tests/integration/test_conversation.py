"""Conversation reads the parts that it needs, in this process, on the real tables."""

import time
from dataclasses import replace
from itertools import islice

import pytest

from relay import ReplyTimeout, SentMessage, environment
from relay.adapters.overflow_bucket import part_path
from relay.adapters.replies_table import RepliesTable
from relay.domain.settlement import FinalPart
from relay.domain.timestamps import unix_seconds, utc_text
from support.api_calls import counted_calls
from support.callbacks import lower_case, part_body, signed_headers
from support.queued_messages import deliver, queued


@pytest.fixture
def store(talk, workers):
    """Store a part that LangBot stamped so many seconds after a minute ago."""
    receiver, a_minute_ago = workers.receiver(), time.time() - 60

    def store(after, text="hi", **fields):
        message = [{"type": "Plain", "text": text}]
        timestamp = utc_text(a_minute_ago + after).removesuffix("Z")
        raw = part_body(talk, message=message, timestamp=timestamp, **fields)
        receiver.receive(talk.name, lower_case(signed_headers(raw)), raw)

    return store


def texts(parts, count):
    return [part["text"] for part in islice(parts, count)]


def test_following_begins_with_the_last_ten_parts(talk, store):
    for number in range(12):
        store(number, f"{number}")
    assert texts(talk.conversation().follow(), 10) == [f"{number}" for number in range(2, 12)]


def test_following_returns_a_part_that_comes_after_nine_later_ones(talk, store):
    for number in range(11):
        store(number, f"{number}")
    parts = talk.conversation().follow()
    texts(parts, 10)
    store(1.5, "late")
    store(11, "11")
    assert texts(parts, 2) == ["late", "11"]


def test_following_returns_a_late_first_part_of_a_short_session(talk, store):
    store(2, "2")
    parts = talk.conversation().follow()
    texts(parts, 1)
    store(1, "late")
    store(3, "3")
    assert texts(parts, 2) == ["late", "3"]


def test_each_part_is_read_with_its_text_however_it_was_stored(talk, workers, store):
    store(1, "It", is_final=False)
    store(2, "It is", is_final=False, stream=False)
    store(3, "It is 5.")
    table, conversation = workers.replies_table, talk.conversation()
    stored = table.newest(f"{talk.name}#{talk.session}", 3)
    assert [part.get("text") for part in stored] == [None, "It is", "It is 5."]
    for read in (conversation.parts(), conversation.follow(), conversation.turns()[0].parts):
        assert texts(read, 3) == ["It", "It is", "It is 5."]


def test_a_part_whose_body_cannot_be_read_keeps_its_place(talk, workers, store):
    store(1, "x" * 500_000)
    store(2, "next")
    first, _ = workers.replies_table.newest(f"{talk.name}#{talk.session}", 2)
    bucket = talk.deployed.stack.overflow_bucket
    path = part_path(first["bot"], first["digest"])
    talk.deployed.client("s3").put_object(Bucket=bucket, Key=path, Body=b"[")
    assert texts(talk.parts(), 2) == ["", "next"]


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr(environment, "current", replace(environment.current, sleep=lambda _: None))


def test_following_shows_what_a_host_stamps_after_a_move_to_another_zone(talk, store, no_waiting):
    for number in range(20):
        store(number, f"{number}")
    parts = talk.conversation().follow()
    texts(parts, 10)
    store(21 - 8 * 3600, "first in the new zone")
    assert texts(parts, 1) == ["first in the new zone"]
    store(22 - 8 * 3600, "second")
    store(23, "23")
    assert sorted(texts(parts, 2)) == ["23", "second"]


def test_following_returns_each_part_once_however_long_it_goes_on(talk, store, no_waiting, monkeypatch):
    monkeypatch.setattr("relay.client.conversation._LATE_EVERY", 0)
    for number in range(30):
        store(number, f"{number}")
    polls = talk.conversation().polls()
    assert len(next(polls)) == 10
    assert [next(polls) for _ in range(5)] == [[]] * 5


def test_following_reads_a_body_from_the_bucket_once(talk, store):
    store(1, "x" * 500_000)
    parts = talk.conversation().follow()
    assert len(next(parts)["text"]) == 500_000
    store(2, "2")
    with counted_calls(talk.deployed, "s3") as counted:
        assert next(parts)["text"] == "2"
    assert counted.calls == {}


@pytest.fixture
def deliver_one(talk, workers, dispatcher):
    """Deliver a message; return what `push` would have returned, and its record."""

    def deliver_one(text="SILENT", **more):
        message = queued(talk, text, **more)
        deliver(dispatcher, message)
        sent = SentMessage(talk.name, talk.session, message.message_id, message.sequence_number)
        return sent, workers.record(message)

    return deliver_one


def test_a_reply_is_found_behind_any_number_of_later_parts(talk, workers, deliver_one, store):
    sent, record = deliver_one()
    store(1, "its own", reply_to=record["accepted_message_id"])
    (own,) = talk.parts()
    for number in range(12):
        store(2 + number, reply_to="in_other", is_final=False)
    workers.settler().settle(FinalPart.of(own))
    assert talk.conversation().wait(sent, timeout=0).text == "its own"


def test_the_reply_of_a_sync_call_is_found_behind_later_parts(talk, deliver_one, store):
    sent, _ = deliver_one("hello", action="sync")
    for number in range(12):
        store(90 + number, reply_to="in_other", is_final=False)
    assert talk.conversation().wait(sent, timeout=0).text == "echo: hello"


def test_a_merged_message_gets_a_turn_from_its_beginning(talk, workers, deliver_one, store):
    _, first = deliver_one()
    long_ago = utc_text(time.time() - 1000)
    workers.overwrite(first | {"queued_at": long_ago, "delivered_at": long_ago})
    store(-900, "begun, ", stream=False, is_final=False, reply_to=first["accepted_message_id"])
    merged, record = deliver_one()
    store(60, "and ended", stream=False, reply_to=first["accepted_message_id"])
    final = FinalPart.of(talk.parts()[-1])
    workers.settler().settle(replace(final, sent_at=unix_seconds(record["delivered_at"]) + 1))
    assert talk.conversation().wait(merged, timeout=0).text == "begun, and ended"


def test_a_wait_ends_although_the_first_part_comes_at_that_moment(talk, deliver_one, store, monkeypatch):
    sent, _ = deliver_one()
    parts_since = RepliesTable.parts_since

    def after_a_part_came(table, session, since):
        store(60, reply_to="in_another", is_final=False)
        return parts_since(table, session, since)

    monkeypatch.setattr(RepliesTable, "parts_since", after_a_part_came)
    with pytest.raises(ReplyTimeout):
        talk.conversation().wait(sent, timeout=0)
