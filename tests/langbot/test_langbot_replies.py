"""The replies of a real LangBot are in RepliesTable as it meant them."""

from base64 import b64decode
from itertools import pairwise

import pytest

from langbot.bridge import Bridge
from relay import MessageParked, Messages
from support.waiting import eventually

pytestmark = pytest.mark.timeout(1200)  # the first test boots LangBot

FORTY_WORDS = "".join(f"w{n:03} " for n in range(1, 41))


@pytest.mark.parametrize(
    ("text", "reply"),
    [("hello", "echo: hello"), ("REPLIES:1", "reply 1")],
    ids=["streaming", "not streaming"],
)
def test_plain_message_is_answered_in_one_turn(bridge: Bridge, session: str, text: str, reply: str) -> None:
    sent = bridge.push_queue.push(session, text)

    turn = bridge.conversation(session).wait(sent, timeout=180)

    assert turn.text == reply
    assert bridge.conversation(session).turns() == [turn]
    record = bridge.deployed.state(sent, "answered")
    assert record["accepted_message_id"] == record["answered_by"] == turn.reply_to


def test_streamed_reply_comes_in_parts_and_reads_as_the_last(bridge: Bridge, session: str) -> None:
    sent = bridge.push_queue.push(session, "LONG:40:20")

    turn = bridge.conversation(session).wait(sent, timeout=180)

    texts = [part["text"] for part in turn.parts]
    assert len(set(texts)) >= 5
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert turn.text == texts[-1] == FORTY_WORDS


def test_several_replies_of_one_turn_are_all_read(bridge: Bridge, session: str) -> None:
    bridge.push_queue.push(session, "REPLIES:3")

    parts = eventually(
        lambda: (p := list(bridge.conversation(session).parts()))[2:] and p, what="three parts"
    )

    assert [(part["sequence"], part["is_final"]) for part in parts] == [(1, True)] * 3
    (turn,) = bridge.conversation(session).turns()
    assert [segment["text"] for segment in turn.message] == ["reply 1", "reply 2", "reply 3"]


def test_merged_messages_are_answered_under_the_first_ones_id(bridge: Bridge, session: str) -> None:
    bridge.peer.reconfigure(aggregation=True, aggregation_delay=4)
    try:
        one, two, three = [bridge.push_queue.push(session, text) for text in ("one", "two", "three")]
        turn = bridge.conversation(session).wait(one, timeout=180)
    finally:
        bridge.peer.reconfigure(aggregation=False)

    assert turn.text == "echo: one\ntwo\nthree"
    records = [bridge.deployed.state(sent, "answered") for sent in (one, two, three)]
    assert turn.reply_to == records[0]["accepted_message_id"]
    assert [record["answered_by"] for record in records] == [turn.reply_to] * 3
    assert [record["answer_kind"] for record in records] == ["own", "merged", "merged"]
    assert bridge.conversation(session).wait(three, timeout=1) == turn
    assert bridge.conversation(session).turns() == [turn]


@pytest.mark.parametrize("kilobytes", [1, 600], ids=["that an item holds", "past DynamoDB's 400 KB"])
def test_image_arrives_whole(bridge: Bridge, session: str, kilobytes: int) -> None:
    sent = bridge.push_queue.push(session, f"IMAGE:{kilobytes}")

    turn = bridge.conversation(session).wait(sent, timeout=180)

    words, image = turn.message
    assert words == {"type": "Plain", "text": "here is a picture"}
    assert image["type"] == "Image"
    picture = b64decode(image["base64"].removeprefix("data:image/png;base64,"), validate=True)
    assert picture.startswith(b"\x89PNG")
    assert len(picture) == kilobytes * 1000
    (call,) = bridge.to_relay.of(session)
    assert image["base64"].encode() in call.body


def test_turn_that_breaks_off_stays_unfinished_and_the_next_is_answered(bridge: Bridge, session: str) -> None:
    broken = bridge.push_queue.push(session, "LONG:60:20 BREAK")
    after = bridge.push_queue.push(session, "and now?")

    assert bridge.conversation(session).wait(after, timeout=180).text == "echo: and now?"

    first, second = bridge.conversation(session).turns()
    assert first.reply_to == bridge.deployed.accepted(broken)["accepted_message_id"]
    assert first.parts[0]["text"].startswith("w001 ")
    assert [turn.finished for turn in (first, second)] == [False, True]


def test_push_is_the_probable_reply_until_the_own_reply_comes(bridge: Bridge, session: str) -> None:
    sent = bridge.push_queue.push(session, "HOLD it")
    eventually(lambda: "HOLD it" in bridge.model.held, what="LangBot is busy with it")
    bridge.deployed.state(sent, "delivered")
    bridge.peer.send_push(session, "one moment")
    assert bridge.deployed.state(sent, "answered")["answer_kind"] == "probable"
    assert bridge.conversation(session).wait(sent, timeout=1).text == "one moment"

    bridge.model.release()

    assert bridge.conversation(session).wait(sent, timeout=180).text == "echo: HOLD it"
    eventually(lambda: bridge.deployed.state(sent, "answered")["answer_kind"] == "own")


@pytest.mark.since("4.10.9")  # earlier releases have no test console
def test_reply_to_langbots_own_console_is_kept_and_answers_nothing(bridge: Bridge) -> None:
    session = bridge.peer.talk_in_console("hello")

    assert session.startswith("wizard-")
    conversation = bridge.conversation(session)
    (turn,) = eventually(lambda: [t for t in conversation.turns() if t.finished], what="the reply")
    assert turn.text == "echo: hello"
    assert {call.status for call in bridge.to_relay.of(session)} == {200}


def test_each_message_gets_its_own_reply_though_a_sync_call_follows(bridge: Bridge, session: str) -> None:
    long = bridge.push_queue.push(session, "LONG:40:50")
    second = bridge.push_queue.push(session, "and this?", action="sync")

    assert bridge.conversation(session).wait(second, timeout=180).text == "echo: and this?"
    assert bridge.conversation(session).wait(long, timeout=180).text == FORTY_WORDS
    for sent in (long, second):
        record = bridge.deployed.state(sent, "answered")
        assert record["answered_by"] == record["accepted_message_id"]


def test_sync_reply_is_kept_as_one_part_with_the_last_snapshot(bridge: Bridge, session: str) -> None:
    sent = bridge.push_queue.push(session, "LONG:40:20", action="sync")

    turn = bridge.conversation(session).wait(sent, timeout=180)

    assert [segment["text"] for segment in turn.message] == [FORTY_WORDS]
    assert len(turn.parts) == 1
    assert bridge.deployed.state(sent, "answered")["answered_by"] == turn.reply_to
    assert bridge.to_relay.of(session) == []


def test_reset_that_langbot_cannot_do_is_parked_and_the_session_goes_on(bridge: Bridge, session: str) -> None:
    reset = bridge.push_queue.push(session, action="reset")
    after = bridge.push_queue.push(session, "still there?")

    with pytest.raises(MessageParked, match="500"):
        bridge.conversation(session).wait(reset, timeout=180)
    assert bridge.conversation(session).wait(after, timeout=180).text == "echo: still there?"
    assert [exchange.status for exchange in bridge.to_bot.of(session)] == [500, 202]
    # What waits for an operator is a fault of the stack to `relay doctor`, in other tests too.
    Messages(bridge.deployed.stack).drop(bridge.deployed.state(reset, "parked"), "it was the test's own")
