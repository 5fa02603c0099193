"""A message that looks merged may be the one that LangBot begins with next: it keeps its place a while."""

import time

import pytest
from batches import at, deliver, queued
from test_callback import body, post

from relay.rules.gate import MERGED_PLACE_TIME
from relay.rules.ledger import from_utc, key
from relay.rules.message import parse
from relay.rules.part import utc
from relay.rules.settling import Final
from relay.settle import Settler
from relay.sweep import Sweeper


def items(courier, messages):
    return [courier.ledger.read(key(message, parse(message.body))) for message in messages]


def ends(courier, item, later):
    """The item's turn ends so many seconds from now; when that is."""
    moment = time.time() + later
    at = utc(moment)
    settler = Settler(courier.ledger, courier.replies, None, 900)
    settler.settle(Final(item["session"], item["accepted_message_id"], at.removesuffix("Z"), at, at))
    return moment


def in_hand(courier, talk, moment):
    """The places that are taken at a moment."""
    return at(courier, moment).sender.gate._awaiting(talk.name, moment)


@pytest.fixture
def three(talk, courier):
    messages = [queued(talk, "SILENT") for _ in range(3)]
    deliver(courier, *messages)
    return messages


def test_a_message_that_looks_merged_keeps_its_place_for_a_while(talk, courier, three):
    ended = ends(courier, items(courier, three)[0], later=2)
    assert [item["state"] for item in items(courier, three)] == ["answered"] * 3
    assert in_hand(courier, talk, ended + 1) == 2
    assert in_hand(courier, talk, ended + MERGED_PLACE_TIME + 1) == 0


def test_it_keeps_it_from_the_end_of_the_last_turn_before_it(talk, courier, three):
    first, second, _ = items(courier, three)
    ends(courier, first, later=2)
    ended = ends(courier, second, later=20)
    third = items(courier, three)[2]
    assert (third["answered_by"], third["indirect"]) == (second["accepted_message_id"], True)
    assert in_hand(courier, talk, ended + MERGED_PLACE_TIME - 1) == 1


def test_turns_that_settle_in_another_order_give_the_same(talk, courier, three):
    first, second, _ = items(courier, three)
    ends(courier, second, later=20)
    ends(courier, first, later=2)
    assert items(courier, three)[2]["answered_by"] == second["accepted_message_id"]
    assert "indirect" not in items(courier, three)[1]


def test_the_sweep_takes_it_out_of_those_that_wait_and_leaves_it_answered(talk, courier, three, monkeypatch):
    monkeypatch.setattr("relay.edge.ledger.Ledger.bots", lambda _: [talk.name])
    ends(courier, items(courier, three)[0], later=2)
    later = at(courier, time.time() + 1000)
    assert Sweeper(courier.ledger, courier.replies, later.sender, 1, 900, later.clock).sweep(lambda: 60) == 0
    merged = items(courier, three)[1]
    assert (merged["state"], merged["indirect"]) == ("answered", True)
    assert not {"awaiting", "due_at"} & merged.keys()
    assert len(talk.bot.received) == 3


def test_a_reply_counts_that_came_long_before_its_message_was_known_to_be_delivered(talk, courier):
    message = queued(talk, "SILENT")
    deliver(courier, message)
    (item,) = items(courier, [message])
    stamp = utc(from_utc(item["delivered_at"]) - 590).removesuffix("Z")
    raw = body(talk, reply_to=item["accepted_message_id"], timestamp=stamp)
    assert post(talk, raw).status_code == 200
    (part,) = courier.replies.of_turn(item["session"], item["accepted_message_id"], item["delivered_at"])
    assert part["is_final"]
