"""Which changes of items are events, and with which data."""

import json
from uuid import uuid4

import pytest

from relay.domain.event import (
    MAX_EVENT_REPLY_BYTES,
    begins_after,
    event_of_change,
    json_bytes,
    reply_completed,
)
from relay.domain.message import MAX_CONTEXT_BYTES
from relay.domain.settlement import LOOK_BACK, FinalPart
from support.samples import message_record

RECORD = message_record(
    last_error="no reply",
    queued_at="2026-11-23T12:00:00.000000Z",
    delivered_at="2026-11-23T12:00:01.000000Z",
    unanswered_at="2026-11-23T12:15:01.000000Z",
    parked_at="2026-11-23T18:00:00.000000Z",
    reason="answered 413",
)
BOT = {"session": "bots", "message": "default", "failures": 5}
UNREACHABLE = BOT | {"unreachable_since": "2026-11-23T12:00:00.000000Z"}
NOON = 1_795_435_200


def in_state(state):
    return RECORD | {"state": state}


def event_type(old, new):
    event = event_of_change(old, new, NOON)
    return event and event.type


# ---------------------------------------------------------------- MessagesTable


@pytest.mark.parametrize("old", [{}, in_state("retrying"), in_state("delivered")])
@pytest.mark.parametrize(
    ("new", "published"), [("unanswered", "Message Unanswered"), ("parked", "Message Parked")]
)
def test_a_message_that_becomes_unanswered_or_parked_is_an_event(old, new, published):
    assert event_type(old, in_state(new)) == published


@pytest.mark.parametrize("state", ["retrying", "delivered", "answered"])
def test_a_message_on_its_way_is_no_event(state):
    assert event_type({}, in_state(state)) is None
    assert event_type(in_state("unanswered"), in_state(state)) is None


@pytest.mark.parametrize("state", ["unanswered", "parked"])
def test_a_record_that_is_written_again_in_its_state_is_no_event(state):
    assert event_type(in_state(state), in_state(state) | {"touched": True, "parked_at": "2026-11-24"}) is None


@pytest.mark.parametrize("item", [in_state("unanswered"), in_state("parked"), UNREACHABLE])
def test_an_item_that_is_deleted_is_no_event(item):
    assert event_type(item, {}) is None


@pytest.mark.parametrize(
    ("old", "new", "published"),
    [
        ({}, BOT, None),
        (BOT, BOT, None),
        ({}, UNREACHABLE, "Bot Unreachable"),
        (BOT, UNREACHABLE, "Bot Unreachable"),
        (UNREACHABLE, UNREACHABLE | {"failures": 6}, None),
        (UNREACHABLE, BOT, "Bot Recovered"),
    ],
)
def test_a_bot_that_becomes_unreachable_or_recovers_is_an_event(old, new, published):
    assert event_type(old, new) == published


def test_the_same_change_has_the_same_id_and_another_change_another():
    changes = [
        ({}, in_state("unanswered")),
        ({}, in_state("parked")),
        ({}, in_state("parked") | {"parked_at": "2026-11-24T00:00:00.000000Z"}),
        ({}, in_state("parked") | {"session": "other#s-1"}),
        (BOT, UNREACHABLE),
        (UNREACHABLE, BOT),
        (BOT, UNREACHABLE | {"unreachable_since": "2026-11-24T00:00:00.000000Z"}),
        (BOT, UNREACHABLE | {"message": "other"}),
    ]
    ids = [event_of_change(old, new, NOON).id for old, new in changes]
    assert len(set(ids)) == len(changes)
    assert [event_of_change(old, new, NOON + 1).id for old, new in changes] == ids


@pytest.mark.parametrize("state", ["unanswered", "parked"])
def test_the_event_of_a_message_does_not_quote_the_message(state):
    event = event_of_change({}, in_state(state), NOON)
    assert "private words" not in event.detail("relay")
    assert event.data["key"] == {"session": RECORD["session"], "message": RECORD["message"]}
    assert event.time == RECORD[f"{state}_at"]


def test_a_message_that_could_not_be_read_is_an_event_with_its_key():
    parked = in_state("parked")
    unread = {name: parked[name] for name in ("session", "message", "message_id", "state", "reason")}
    event = event_of_change({}, unread | {"session": "#group", "parked_at": RECORD["parked_at"]}, NOON)
    assert (event.subject, event.data["key"]["session"]) == ("#group", "#group")
    assert "bot" not in event.data


# ---------------------------------------------------------------- RepliesTable


def part(number, reply_to="in_1", final=False):
    emitted_at = f"2026-11-23T20:00:{number:02}.000000"
    return {
        "session": "default#s-1",
        "part": f"{emitted_at}#000001#0123456789ab",
        "bot": "default",
        "session_id": "s-1",
        "reply_to": reply_to,
        "is_final": final,
        "created_at": f"2026-11-23T12:00:{number:02}.000000Z",
        "sent_at": f"2026-11-23T12:00:{number:02}.000000Z",
        "received_at": f"2026-11-23T12:00:{number:02}.000000Z",
    }


def segments(text):
    return [{"type": "Plain", "text": text}]


def completed(last, first=None, record=None, reply=None, merged=()):
    known = [record, *merged] if record else []
    return reply_completed(last, (first or last)["part"], 1, reply, known, "replies")


def in_context(size, **fields):
    """Return a record whose context has so many bytes."""
    context = {"private": ""}
    context["private"] = "x" * (size - json_bytes(context))
    return RECORD | {"context": json.dumps(context)} | fields


def test_each_revision_of_a_turn_has_an_id_and_says_where_to_read_it():
    first, second, third = part(1), part(2, final=True), part(4, final=True)
    early = reply_completed(second, first["part"], 1, segments("hi"), [RECORD], "replies")
    late = reply_completed(third, first["part"], 2, segments("hi"), [RECORD], "replies")
    assert (early.data["revision"], late.data["revision"]) == (1, 2)
    assert early.id != late.id
    assert late.data["read"] == {
        "table": "replies",
        "session": "default#s-1",
        "first": first["part"],
        "last": third["part"],
    }


def test_a_turn_that_is_published_again_has_its_id_though_more_is_known():
    last = part(2, final=True)
    assert completed(last, part(1), RECORD, segments("hi")).id == completed(last).id


@pytest.mark.parametrize(
    "text",
    [
        "x" * (MAX_EVENT_REPLY_BYTES - 100),
        "ü" * (MAX_EVENT_REPLY_BYTES // 2 - 100),
        "\x01" * (MAX_EVENT_REPLY_BYTES // 6 - 100),
    ],
)
def test_the_largest_event_fits_into_a_call_of_the_bus(text):
    session_id = "\x01" * 2000
    longest = {"session": f"default#{session_id}", "session_id": session_id}
    reply = segments(text)
    assert MAX_EVENT_REPLY_BYTES - 1000 < json_bytes(reply) <= MAX_EVENT_REPLY_BYTES
    record = in_context(MAX_CONTEXT_BYTES) | longest
    merged = [in_context(MAX_CONTEXT_BYTES, message_id=str(uuid4()))] * LOOK_BACK
    event = completed(part(1, final=True) | longest, record=record, reply=reply, merged=merged)
    assert len(event.data["merged"]) == LOOK_BACK
    assert len(event.detail("relay").encode()) < 255 * 1024


def test_an_event_has_the_contexts_of_merged_messages_until_they_are_too_many():
    large = [in_context(MAX_CONTEXT_BYTES, message_id=str(number)) for number in range(5)]
    small = in_context(20, message_id="small")
    data = completed(part(1, final=True), record=RECORD, merged=[*large, small]).data
    assert [one["message_id"] for one in data["merged"]] == [*"01234", "small"]
    assert [one["message_id"] for one in data["merged"] if "context" in one] == [*"0123"]


def test_a_text_is_left_out_before_a_context_is():
    reply = segments("x" * 100_000)
    assert "text" in completed(part(1, final=True), record=in_context(4000), reply=reply).data
    data = completed(part(1, final=True), record=in_context(MAX_CONTEXT_BYTES), reply=reply).data
    assert {"text", "message", "context"} & data.keys() == {"message", "context"}


@pytest.mark.parametrize("state", ["unanswered", "parked"])
def test_a_context_is_an_object_in_the_event_of_its_message(state):
    record = in_state(state) | {"context": '{"order": 17, "deep": [{"exact": 1.5}]}'}
    data = event_of_change({}, record, NOON).data
    assert data["context"] == {"order": 17, "deep": [{"exact": 1.5}]}
    assert "context" not in event_of_change({}, in_state(state), NOON).data


def test_an_event_has_the_text_beside_the_segments_if_both_fit():
    def data_of(length):
        return completed(part(1, final=True), reply=segments("x" * length)).data

    assert data_of(100_000)["text"] == "x" * 100_000
    assert "text" not in data_of(103_000)
    assert data_of(103_000)["message"] == segments("x" * 103_000)


def test_a_turn_is_read_from_its_messages_arrival_on_the_clock_of_the_host():
    final = FinalPart.of(part(30))
    assert begins_after(final, RECORD) == "2026-11-23T19:55:00.000000Z"
    assert begins_after(final, None) == "2026-11-23T19:00:30.000000Z"


def test_a_turn_is_read_from_its_messages_delivery_if_that_was_much_later():
    final = FinalPart.of(part(30))
    record = RECORD | {"delivered_at": "2026-11-23T12:10:20.000000Z"}
    # Ten minutes for LangBot to have accepted it before, and five for its clock.
    assert begins_after(final, record) == "2026-11-23T19:55:20.000000Z"


def test_a_turn_is_never_read_from_after_its_end():
    final = FinalPart.of(part(30))
    later = RECORD | {"queued_at": "2026-11-24T12:00:00.000000Z"}
    assert begins_after(final, later) <= part(30)["part"]
