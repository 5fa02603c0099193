import json
from dataclasses import replace

import pytest

from relay.domain.attempt import (
    AttemptHistory,
    Delivery,
    Outcome,
    Response,
    Verdict,
    classify,
    with_attempt,
)
from relay.domain.bot import Bot
from relay.domain.message import parse_message
from relay.domain.record import (
    MAX_REASON,
    accepted_record,
    current,
    dropped_record,
    history_of,
    key_of,
    may_be_queued,
    parked_record,
    retrying_record,
    without_secrets,
)
from relay.domain.states import AnswerKind, State
from relay.domain.timestamps import unix_seconds, utc_text
from support.responses import ACCEPTED
from support.samples import MESSAGE_KEY, NOW, SESSION, attempt, delivery, message_record, queued_message

KEEP_DAYS, ANSWER_DEADLINE = 90, 900
ACCEPTED_PUSH = classify("push", ACCEPTED, AttemptHistory(), NOW)
ID_NOT_KNOWN = Outcome(Verdict.ACCEPTED)
FAILED_TWICE = AttemptHistory(
    attempts=2,
    keys_used=1,
    outcome_unknown=True,
    first_failed_at=NOW - 60,
    last_response=Response(502, b"bad gateway").excerpt(),
    entries=with_attempt((), Outcome(Verdict.UNKNOWN, "answered 502"), "id-1.1", NOW - 60),
)

COMMON = {
    "session": SESSION,
    "message": MESSAGE_KEY,
    "message_id": "id-1",
    "bot": "default",
    "session_id": "s-1",
    "action": "push",
    "attempts": 2,
    "body": queued_message().body,
    "queued_at": utc_text(NOW - 5),
    "queued_on": "2026-11-22",
    "updated_at": utc_text(NOW),
    "expires_at": int(NOW) + KEEP_DAYS * 86_400,
}
FAILED = COMMON | {
    "keys_used": 1,
    "outcome_unknown": True,
    "first_failed_at": utc_text(NOW - 60),
    "last_error": "answered 502",
    "last_response": {"status": 502, "body": "bad gateway"},
    "last_attempts": [
        {"at": utc_text(NOW - 60), "verdict": "unknown", "ms": 0, "key": "id-1.1", "error": "answered 502"}
    ],
}


def accepted(outcome=ACCEPTED_PUSH, action="push", expects_reply=True, history=None):
    """Return the record of a message with `history` whose attempt came to `outcome`."""
    tried = delivery(history, body=json.dumps({"session_id": "s-1", "text": "hi", "action": action}))
    return accepted_record(tried, attempt(tried, outcome, expects_reply), NOW, KEEP_DAYS, ANSWER_DEADLINE)


@pytest.mark.parametrize("text", ['"hi"', "5"])
def test_every_record_has_the_context_of_its_message(text):
    queued = queued_message(body=f'{{"session_id": "s-1", "text": {text}, "context": {{"order": 17}}}}')
    message = parse_message(queued.body) if text != "5" else None
    tried = Delivery(queued, message)
    made = [parked_record(tried, "", "", NOW, KEEP_DAYS), retrying_record(tried, "", NOW, KEEP_DAYS)]
    made.append(dropped_record(tried, "", NOW, KEEP_DAYS))
    assert [record["context"] for record in made] == ['{"order": 17}'] * 3
    assert "context" not in parked_record(delivery(), "", "", NOW, KEEP_DAYS)


def test_people_see_a_record_without_the_token_of_its_task():
    body = '{"session_id": "s-1", "text": "hi", "reply_to_task": "TOKEN"}'
    made = parked_record(delivery(body=body), "", "", NOW, KEEP_DAYS)
    assert made["reply_to_task"] == "TOKEN"
    assert "TOKEN" not in str(without_secrets(made))
    assert without_secrets(COMMON) == COMMON


def test_a_reason_is_cut_so_that_no_peer_can_fill_a_record():
    made = [
        parked_record(delivery(), "e" * 5000, "r" * 5000, NOW, keep_days=1),
        dropped_record(delivery(), "d" * 5000, NOW, keep_days=1),
    ]
    texts = [made[0]["last_error"], made[0]["reason"], made[1]["drop_reason"]]
    assert [len(text) for text in texts] == [MAX_REASON] * 3


def test_users_read_these_states():
    states = ["retrying", "delivered", "answered", "unanswered", "parked", "resent", "dropped"]
    assert list(State) == states


# ---------------------------------------------------------------- accepted


def test_an_accepted_message_is_delivered_and_waits_for_its_reply():
    tried = delivery(AttemptHistory(attempts=1))
    record = accepted_record(tried, attempt(tried, ACCEPTED_PUSH), NOW, KEEP_DAYS, ANSWER_DEADLINE)
    assert record == COMMON | {
        "state": State.DELIVERED,
        "delivered_at": utc_text(NOW),
        "expect_reply": True,
        "accepted_message_id": "in_1",
        "awaiting": "default",
        "due_at": utc_text(NOW + ANSWER_DEADLINE),
        "expires_at": int(NOW) + 2 * ANSWER_DEADLINE + KEEP_DAYS * 86_400,
        "last_attempts": [
            {"at": utc_text(NOW), "verdict": "accepted", "ms": 0, "key": "id-1.0", "status": 202}
        ],
    }


def test_a_message_whose_id_is_not_known_says_how_many_keys_it_used():
    record = accepted(ID_NOT_KNOWN, history=FAILED_TWICE)
    assert "accepted_message_id" not in record
    assert record["keys_used"] == 1


def test_a_message_to_a_bot_that_replies_by_push_says_so():
    tried = delivery()
    made = replace(attempt(tried, ACCEPTED_PUSH), bot=Bot("default", replies_by_push=True))
    record = accepted_record(tried, made, NOW, KEEP_DAYS, ANSWER_DEADLINE)
    assert record["replies"] == "push"


def test_the_attempts_before_the_accepted_one_stay_in_the_record():
    entries = accepted(history=FAILED_TWICE)["last_attempts"]
    assert [(entry["verdict"], entry["key"]) for entry in entries] == [
        ("unknown", "id-1.1"),
        ("accepted", "id-1.1"),
    ]


def test_a_message_that_expects_no_reply_has_no_deadline_but_takes_a_reply():
    record = accepted(expects_reply=False)
    assert (record["expect_reply"], record["accepted_message_id"]) == (False, "in_1")
    assert not {"awaiting", "due_at"} & record.keys()


def test_a_message_whose_reply_came_with_the_response_is_answered():
    reply = [{"type": "Plain", "text": "hello"}]
    record = accepted(replace(ACCEPTED_PUSH, reply=reply), action="sync")
    assert (record["state"], record["answered_by"]) == (State.ANSWERED, "in_1")
    assert record["answer_kind"] is AnswerKind.OWN
    assert record["answered_at"] == record["delivered_at"] == utc_text(NOW)
    assert not {"awaiting", "due_at"} & record.keys()


def test_a_sync_call_with_an_empty_reply_waits_for_a_callback():
    record = accepted(replace(ACCEPTED_PUSH, reply=[]), action="sync")
    assert (record["state"], record["awaiting"]) == (State.DELIVERED, "default")


# ---------------------------------------------------------------- not accepted


def test_a_message_that_is_tried_again_keeps_what_the_next_attempt_needs():
    record = retrying_record(delivery(FAILED_TWICE), "answered 502", NOW, KEEP_DAYS)
    # As long as SQS can keep the message, and KeepDays.
    expires_at = int(unix_seconds(FAILED["queued_at"]) + 13.5 * 86_400) + KEEP_DAYS * 86_400
    assert record == FAILED | {"state": State.RETRYING, "expires_at": expires_at}


def test_a_parked_message_waits_for_an_operator():
    record = parked_record(delivery(FAILED_TWICE), "answered 502", "tried for 60 s", NOW, KEEP_DAYS)
    assert record == FAILED | {
        "state": State.PARKED,
        "reason": "tried for 60 s",
        "parked_at": utc_text(NOW),
        "awaiting": "#operator",
        "due_at": utc_text(NOW),
    }


def test_a_dropped_message_waits_for_nothing():
    record = dropped_record(delivery(AttemptHistory(attempts=2)), "was resent before", NOW, KEEP_DAYS)
    assert record == COMMON | {
        "state": State.DROPPED,
        "dropped_at": utc_text(NOW),
        "drop_reason": "was resent before",
    }


def test_a_message_that_cannot_be_read_is_kept_under_its_message_group():
    unreadable = Delivery(queued_message(body="no JSON", group_id="group-1"))
    record = parked_record(unreadable, "not valid JSON", "not valid JSON", NOW, KEEP_DAYS)
    assert (record["session"], record["message"], record["body"]) == ("#group-1", MESSAGE_KEY, "no JSON")
    assert not {"bot", "session_id", "action"} & record.keys()


def test_an_invalid_message_is_kept_under_the_session_that_it_names():
    invalid = queued_message(body='{"session_id": "s-1", "bot": "sales", "text": 1}', group_id="group-1")
    record = parked_record(Delivery(invalid), "text must be string", "text must be string", NOW, KEEP_DAYS)
    assert (record["session"], record["bot"], record["session_id"]) == ("sales#s-1", "sales", "s-1")
    assert "action" not in record


def test_an_invalid_message_whose_bot_can_be_none_keeps_its_session():
    invalid = queued_message(body='{"session_id": "s-1", "bot": "No Bot", "text": "x"}', group_id="group-1")
    record = parked_record(Delivery(invalid), "bot", "bot", NOW, KEEP_DAYS)
    assert (record["session"], record["session_id"], "bot" in record) == ("#s-1", "s-1", False)


def test_a_resend_names_its_original_and_the_first_of_the_row():
    resend = delivery(resend_of="1" * 39, resends=2, original_message_id="id-0")
    record = retrying_record(resend, "answered 502", NOW, KEEP_DAYS)
    assert (record["resend_of"], record["resends"], record["original_message_id"]) == ("1" * 39, 2, "id-0")


# ---------------------------------------------------------------- key and history


def test_the_key_of_a_record_does_not_depend_on_the_message_group():
    queued = queued_message(group_id="another")
    assert key_of(queued, parse_message(queued.body)) == {"session": SESSION, "message": MESSAGE_KEY}


@pytest.mark.parametrize("history", [AttemptHistory(attempts=1, keys_used=1), FAILED_TWICE])
def test_the_history_is_read_from_a_record_as_it_was_written(history):
    record = retrying_record(delivery(history), "answered 502", NOW, KEEP_DAYS)
    assert history_of(queued_message(receive_count=2), record) == history


@pytest.mark.parametrize(("receive_count", "outcome_unknown"), [(1, False), (2, True), (30, True)])
def test_a_message_received_before_and_without_a_record_was_perhaps_sent(receive_count, outcome_unknown):
    history = history_of(queued_message(receive_count=receive_count), None)
    assert history == AttemptHistory(outcome_unknown=outcome_unknown)


# ---------------------------------------------------------------- records of an older version


def test_a_record_of_an_older_version_has_todays_names():
    former = {"refusals": 1, "unknown": True, "last_answer": {"status": 502, "body": ""}}
    assert current(former) == {
        "keys_used": 1,
        "outcome_unknown": True,
        "last_response": {"status": 502, "body": ""},
    }


@pytest.mark.parametrize(
    ("marks", "kind"),
    [
        ({}, AnswerKind.OWN),
        ({"indirect": True}, AnswerKind.MERGED),
        ({"probable": True}, AnswerKind.PROBABLE),
        ({"unfinished": True}, AnswerKind.UNFINISHED),
    ],
)
def test_an_answer_of_an_older_version_has_its_kind(marks, kind):
    assert current({"answered_at": utc_text(NOW)} | marks)["answer_kind"] == kind
    assert current({"answered_at": utc_text(NOW), "answer_kind": kind})["answer_kind"] == kind


@pytest.mark.parametrize(
    ("state", "seconds", "queued"),
    [
        (State.RETRYING, 0, True),
        (State.RETRYING, 14 * 86_400 - 1, True),
        (State.RETRYING, 14 * 86_400, False),
        (State.DELIVERED, 899, True),
        (State.DELIVERED, 900, False),
        (State.PARKED, 899, True),
        (State.PARKED, 900, False),
    ],
)
def test_a_message_can_be_queued_until_push_cannot_get_it_again(state, seconds, queued):
    record = message_record(state=state, queued_at=utc_text(NOW), updated_at=utc_text(NOW))
    assert may_be_queued(record, NOW + seconds) is queued
