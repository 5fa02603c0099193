"""The rule of settling on recorded traffic: what was merged, what was lost, what answered itself."""

import json

import pytest

from recordings import RECORDINGS
from relay.rules.part import parse, part, utc
from relay.rules.settling import Final, may_be_merged, merged


def settled(recording):
    """For each text that LangBot accepted in a recording: the text whose turn answered it, or None."""
    path = next(path for path in RECORDINGS if path.stem == recording)
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    calls = [row for row in rows if row["kind"] == "callback"]
    # The recording's clock starts at 0; signatures have whole seconds of the real one.
    start = max(float(dict(row["headers"])["X-LB-Timestamp"]) - row["t"] for row in calls)
    messages, texts, begun = [], {}, set()
    for row in rows:
        if row["kind"] == "request" and row["status"] == 202:
            accepted = json.loads(row["resp_body"])["data"]
            texts[accepted["accepted_message_id"]] = json.loads(row["req_body"])["message"][-1]["text"]
            messages.append(
                accepted | {"state": "delivered", "delivered_at": utc(start + row["t"] + row["dt"])}
            )
    for row in sorted(calls, key=lambda row: row["t"]):
        raw = row["raw_body"].encode()
        signed_at = float(dict(row["headers"])["X-LB-Timestamp"])
        item = part("default", raw, parse(raw), signed_at, signed_at, 1).item
        begun.add(item["reply_to"])
        own = next((m for m in messages if m["accepted_message_id"] == item["reply_to"]), None)
        if not item["is_final"] or own is None:
            continue
        final = Final.of(item)
        own |= {"state": "answered", "answered_by": final.reply_to, "indirect": False}
        later = [m for m in messages if m["session_id"] == own["session_id"]]
        candidates = may_be_merged(final, later[later.index(own) + 1 :])
        for message in merged(candidates, begun):
            message |= {"state": "answered", "answered_by": final.reply_to, "indirect": True}
    return [(texts[m["accepted_message_id"]], texts.get(m.get("answered_by"))) for m in messages]


def test_merged_messages_are_answered_by_the_turn_they_were_merged_into():
    answers = settled("c_aggregation_on")
    assert len(answers) == 3
    assert {by for _, by in answers} == {answers[0][0]}


def test_steered_messages_are_answered_by_the_turn_that_took_them_in():
    assert settled("n_steering_runner") == [
        ("LONG:40:60 q1", "LONG:40:60 q1"),
        ("LONG:40:60 q2", "LONG:40:60 q1"),
        ("LONG:40:60 q3", "LONG:40:60 q1"),
    ]


def test_a_turn_that_broke_midway_is_not_hidden_by_the_next_one():
    assert settled("l_midstream_failure") == [("LONG:60:20 MIDFAIL", None), ("next turn", "next turn")]


@pytest.mark.parametrize("recording", ["d_aggregation_off_session1", "i_group", "l_image", "e_idempotency"])
def test_messages_that_have_replies_of_their_own_are_answered_by_those(recording):
    answers = settled(recording)
    assert answers
    assert all(by == text for text, by in answers)
