"""Which changes are told of, and as what."""

import pytest

from relay.rules.settling import Final
from relay.rules.telling import MOST, begins_after, change, reply_completed, size

KEY = {"session": "default#s-1", "message": "0" * 38 + "1"}
MESSAGE = KEY | {
    "message_id": "id-1",
    "bot": "default",
    "session_id": "s-1",
    "action": "push",
    "body": "private words",
    "attempts": 1,
    "last_error": "no reply",
    "queued_at": "2026-11-23T12:00:00.000000Z",
    "delivered_at": "2026-11-23T12:00:01.000000Z",
    "unanswered_at": "2026-11-23T12:15:01.000000Z",
    "parked_at": "2026-11-23T18:00:00.000000Z",
    "reason": "answered 413",
}
BOT = {"session": "bots", "message": "default", "failures": 5}
DOWN = BOT | {"unreachable_since": "2026-11-23T12:00:00.000000Z"}
NOON = 1_795_435_200


def state(name):
    return MESSAGE | {"state": name}


def kind(old, new):
    event = change(old, new, NOON)
    return event and event.type


@pytest.mark.parametrize("old", [{}, state("retrying"), state("delivered")])
@pytest.mark.parametrize(
    ("new", "told"), [("unanswered", "Message Unanswered"), ("parked", "Message Parked")]
)
def test_a_message_in_trouble_is_told_of(old, new, told):
    assert kind(old, state(new)) == told


@pytest.mark.parametrize("name", ["retrying", "delivered", "answered"])
def test_a_message_that_goes_its_way_is_not(name):
    assert kind({}, state(name)) is None
    assert kind(state("unanswered"), state(name)) is None


@pytest.mark.parametrize("name", ["unanswered", "parked"])
def test_a_message_that_is_written_again_as_it_was_is_not_told_of_again(name):
    assert kind(state(name), state(name) | {"touched": True, "parked_at": "2026-11-24"}) is None


@pytest.mark.parametrize("item", [state("unanswered"), state("parked"), DOWN])
def test_an_item_that_goes_is_not_told_of(item):
    assert kind(item, {}) is None


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({}, BOT, None),
        (BOT, BOT, None),
        ({}, DOWN, "Bot Unreachable"),
        (BOT, DOWN, "Bot Unreachable"),
        (DOWN, DOWN | {"failures": 6}, None),
        (DOWN, BOT, "Bot Recovered"),
    ],
)
def test_a_bot_is_told_of_when_it_goes_and_when_it_comes_back(old, new, told):
    assert kind(old, new) == told


def test_the_same_change_has_the_same_id_and_another_one_another():
    changes = [
        ({}, state("unanswered")),
        ({}, state("parked")),
        ({}, state("parked") | {"parked_at": "2026-11-24T00:00:00.000000Z"}),
        ({}, state("parked") | {"session": "other#s-1"}),
        (BOT, DOWN),
        (DOWN, BOT),
        (BOT, DOWN | {"unreachable_since": "2026-11-24T00:00:00.000000Z"}),
        (BOT, DOWN | {"message": "other"}),
    ]
    ids = [change(old, new, NOON).id for old, new in changes]
    assert len(set(ids)) == len(changes)
    assert [change(old, new, NOON + 1).id for old, new in changes] == ids


@pytest.mark.parametrize("name", ["unanswered", "parked"])
def test_a_message_is_told_of_without_what_it_says(name):
    event = change({}, state(name), NOON)
    assert "private words" not in event.detail("relay")
    assert event.data["key"] == KEY
    assert event.time == MESSAGE[f"{name}_at"]


def test_a_message_that_could_not_be_read_is_told_of_by_its_key():
    unread = {name: state("parked")[name] for name in ("session", "message", "message_id", "state", "reason")}
    event = change({}, unread | {"session": "#group", "parked_at": MESSAGE["parked_at"]}, NOON)
    assert (event.subject, event.data["key"]["session"]) == ("#group", "#group")
    assert "bot" not in event.data


def part(number, reply_to="in_1", final=False):
    at = f"2026-11-23T20:00:{number:02}.000000"
    return {
        "session": "default#s-1",
        "part": f"{at}#000001#0123456789ab",
        "bot": "default",
        "session_id": "s-1",
        "reply_to": reply_to,
        "is_final": final,
        "created_at": f"2026-11-23T12:00:{number:02}.000000Z",
        "sent_at": f"2026-11-23T12:00:{number:02}.000000Z",
        "received_at": f"2026-11-23T12:00:{number:02}.000000Z",
    }


def said(text):
    return [{"type": "Plain", "text": text}]


def test_a_revision_counts_the_finals_of_the_turn():
    parts = [part(1), part(2, final=True), part(3), part(4, final=True)]
    first, second = (reply_completed(parts[:end], MESSAGE, said("hi"), "replies") for end in (2, 4))
    assert (first.data["revision"], second.data["revision"]) == (1, 2)
    assert first.id != second.id
    assert second.data["read"] == {
        "table": "replies",
        "session": "default#s-1",
        "first": parts[0]["part"],
        "last": parts[3]["part"],
    }


def test_a_turn_that_is_told_of_again_has_its_id_though_more_is_known_by_then():
    last = part(2, final=True)
    early = reply_completed([last], None, None, "replies")
    assert reply_completed([part(1), last], MESSAGE, said("hi"), "replies").id == early.id


@pytest.mark.parametrize("text", ["x" * (MOST - 100), "ü" * (MOST // 2 - 100), "\x01" * (MOST // 6 - 100)])
def test_the_largest_event_fits_into_a_call_of_the_bus(text):
    session_id = "\x01" * 2000
    longest = {"session": f"default#{session_id}", "session_id": session_id}
    reply = said(text)
    assert MOST - 1000 < size(reply) <= MOST
    event = reply_completed([part(1, final=True) | longest], MESSAGE | longest, reply, "replies")
    assert len(event.detail("relay").encode()) < 255 * 1024


def test_a_text_is_beside_the_segments_while_both_have_room():
    def told(length):
        return reply_completed([part(1, final=True)], None, said("x" * length), "replies").data

    assert told(100_000)["text"] == "x" * 100_000
    assert "text" not in told(103_000)
    assert told(103_000)["message"] == said("x" * 103_000)


def test_a_turn_is_read_from_where_its_message_was_queued_on_the_clock_of_the_host():
    final = Final.of(part(30))
    assert begins_after(final, MESSAGE) == "2026-11-23T19:55:00.000000Z"
    assert begins_after(final, None) == "2026-11-23T19:00:30.000000Z"


def test_a_turn_is_never_read_from_after_its_end():
    final = Final.of(part(30))
    later = MESSAGE | {"queued_at": "2026-11-24T12:00:00.000000Z"}
    assert begins_after(final, later) <= part(30)["part"]
