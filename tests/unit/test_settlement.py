"""Which messages a final part answers: the rule on recorded traffic, and its parts on samples."""

import json

import pytest

from relay.domain.settlement import (
    RECHECK_DELAYS,
    FinalPart,
    merge_candidates,
    merged,
    pushes_since,
    unidentified,
)
from relay.domain.states import AnswerKind, State
from relay.domain.timestamps import utc_text
from support.recordings import RECORDINGS
from support.samples import NOW, message_record, received_part


def settled(recording):
    """Return each text that LangBot accepted in a recording with the text whose turn answered it, or None."""
    path = next(path for path in RECORDINGS if path.stem == recording)
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    calls = [row for row in rows if row["kind"] == "callback"]
    # The recording's clock starts at 0; signatures have whole seconds of the real one.
    start = max(float(dict(row["headers"])["X-LB-Timestamp"]) - row["t"] for row in calls)
    messages, texts, turns_with_parts = [], {}, set()
    for row in rows:
        if row["kind"] == "request" and row["status"] == 202:
            accepted = json.loads(row["resp_body"])["data"]
            texts[accepted["accepted_message_id"]] = json.loads(row["req_body"])["message"][-1]["text"]
            messages.append(
                accepted | {"state": "delivered", "delivered_at": utc_text(start + row["t"] + row["dt"])}
            )
    for row in sorted(calls, key=lambda row: row["t"]):
        signed_at = float(dict(row["headers"])["X-LB-Timestamp"])
        part = received_part(row["raw_body"].encode(), signed_at)
        turns_with_parts.add(part["reply_to"])
        own = next((m for m in messages if m["accepted_message_id"] == part["reply_to"]), None)
        if not part["is_final"] or own is None:
            continue
        final = FinalPart.of(part)
        own |= {"state": "answered", "answered_by": final.reply_to}
        later = [m for m in messages if m["session_id"] == own["session_id"]]
        candidates = merge_candidates(final, later[later.index(own) + 1 :])
        for message in merged(candidates, turns_with_parts):
            message |= {"state": "answered", "answered_by": final.reply_to, "answer_kind": "merged"}
    return [(texts[m["accepted_message_id"]], texts.get(m.get("answered_by"))) for m in messages]


# ---------------------------------------------------------------- pushes


def pushed(*segments, **fields):
    body = {"session_id": "s-1", "reply_to": "", "sequence": 1, "is_final": True, "message": list(segments)}
    return received_part(json.dumps(body | fields).encode(), fields.pop("signed_at", NOW))


@pytest.mark.parametrize(
    ("segments", "quoted"),
    [
        ([{"type": "Quote", "id": "in_1"}, {"type": "Plain", "text": "hi"}], "in_1"),
        ([{"type": "At", "target": "u1"}, {"type": "Quote", "id": "in_1"}], "in_1"),
        ([{"type": "Plain", "text": "hi", "id": "in_1"}], ""),
        ([{"type": "Quote"}], ""),
        ([{"type": "Quote", "id": 7}], ""),
        ([{"type": "Quote", "id": "x" * 2000}], ""),
    ],
)
def test_a_final_part_knows_the_message_that_it_quotes(segments, quoted):
    assert FinalPart.of(pushed(*segments)).quoted == quoted


def test_a_part_whose_body_is_elsewhere_quotes_nothing():
    part = pushed({"type": "Quote", "id": "in_1"})
    del part["message"]
    assert FinalPart.of(part).quoted == ""


def test_pushes_are_counted_from_the_delivery_on():
    parts = [
        pushed(signed_at=NOW - 2),
        pushed(signed_at=NOW),
        pushed(signed_at=NOW + 5),
        pushed(reply_to="in_1", signed_at=NOW + 5),
    ]
    assert pushes_since(utc_text(NOW + 0.5), parts) == 2


def test_a_push_of_the_second_before_the_delivery_is_not_counted():
    assert pushes_since(utc_text(NOW + 1), [pushed(signed_at=NOW)]) == 0
    assert pushes_since(utc_text(NOW + 0.999), [pushed(signed_at=NOW)]) == 1


# ---------------------------------------------------------------- on recorded traffic


def test_merged_messages_are_answered_by_the_turn_they_were_merged_into():
    answers = settled("c_aggregation_on")
    assert len(answers) == 3
    assert {by for _, by in answers} == {answers[0][0]}


def test_steered_messages_are_answered_by_the_turn_that_absorbed_them():
    assert settled("n_steering_runner") == [
        ("LONG:40:60 q1", "LONG:40:60 q1"),
        ("LONG:40:60 q2", "LONG:40:60 q1"),
        ("LONG:40:60 q3", "LONG:40:60 q1"),
    ]


def test_a_turn_that_broke_off_is_not_hidden_by_the_next_one():
    assert settled("l_midstream_failure") == [("LONG:60:20 MIDFAIL", None), ("next turn", "next turn")]


@pytest.mark.parametrize("recording", ["d_aggregation_off_session1", "i_group", "l_image", "e_idempotency"])
def test_messages_with_replies_of_their_own_are_answered_by_those(recording):
    answers = settled(recording)
    assert answers
    assert all(by == text for text, by in answers)


# ---------------------------------------------------------------- on samples

BODY = {"session_id": "s-1", "reply_to": "in_1", "sequence": 1, "is_final": True, "message": []}


def final_part(timestamp="2026-11-22T13:00:47.5"):
    """Make a final part that was signed at NOW."""
    return FinalPart.of(received_part(json.dumps(BODY | {"timestamp": timestamp}).encode()))


def test_a_final_part_has_the_key_of_its_item():
    part = received_part(json.dumps(BODY).encode())
    assert FinalPart.of(part).part == part["part"]


def test_a_final_part_has_its_times_in_unix_seconds():
    final = final_part()
    assert (final.session, final.reply_to, final.stamp) == (
        "default#s-1",
        "in_1",
        "2026-11-22T13:00:47.500000",
    )
    assert (final.clock_offset, final.sent_at, final.received_at) == (0, NOW, NOW + 1)


def test_a_part_was_sent_before_the_end_of_its_signed_second():
    assert final_part().sent_before == NOW + 1


def test_a_time_is_compared_with_stamps_on_the_clock_of_the_host():
    final = final_part("2026-11-22T21:00:47.5")
    assert final.on_host_clock(NOW) == "2026-11-22T21:00:48.000000Z"


@pytest.mark.parametrize(
    ("fields", "may_be_absorbed"),
    [
        ({}, True),
        ({"state": State.UNANSWERED}, True),
        ({"state": State.ANSWERED, "answer_kind": AnswerKind.MERGED}, True),
        ({"state": State.ANSWERED, "answer_kind": AnswerKind.OWN}, False),
        ({"state": State.DROPPED}, False),
        ({"state": State.PARKED}, False),
        ({"delivered_at": utc_text(NOW + 1)}, False),
    ],
)
def test_a_turn_may_absorb_messages_accepted_before_it_without_a_reply(fields, may_be_absorbed):
    assert merge_candidates(final_part(), [message_record(**fields)]) == (
        [message_record(**fields)] if may_be_absorbed else []
    )


def test_a_message_that_was_not_delivered_was_not_absorbed():
    record = message_record()
    del record["delivered_at"]
    assert merge_candidates(final_part(), [record]) == []


def test_a_candidate_with_a_part_of_its_own_was_not_merged():
    own, without = (message_record(accepted_message_id=reply_to) for reply_to in ("in_2", "in_3"))
    assert merged([own, without], {"in_1", "in_2"}) == [without]


def test_a_candidate_whose_id_is_not_known_counts_as_merged():
    assert merged([message_record()], {"in_1"}) == [message_record()]


def test_the_last_check_comes_after_the_next_delivery_if_push_died():
    visibility_timeout = 120
    assert RECHECK_DELAYS[-1] > visibility_timeout


@pytest.mark.parametrize(
    ("fields", "may_have_begun"),
    [
        ({}, True),
        ({"state": "unanswered"}, True),
        ({"state": "answered"}, False),
        ({"action": "sync"}, True),
        ({"action": "reset"}, False),
        ({"accepted_message_id": "in_2"}, False),
        ({"queued_at": utc_text(NOW + 0.9)}, True),
        ({"queued_at": utc_text(NOW + 1)}, False),
    ],
)
def test_a_turn_may_be_of_a_message_whose_id_is_not_known(fields, may_have_begun):
    record = message_record(**fields)
    assert unidentified(final_part(), [record]) == (record if may_have_begun else None)


def test_a_turn_is_of_the_first_message_whose_id_is_not_known():
    first, second = message_record(message_id="first"), message_record(message_id="second")
    assert unidentified(final_part(), [second, first]) is first
