"""With which outcome, and when, the task ends that waits for a message."""

import json

import pytest

from relay.domain.states import AnswerKind, State
from relay.domain.task import ERRORS, MAX_CAUSE, cause_of, ended
from support.samples import message_record

ENDINGS = (State.ANSWERED, *ERRORS)


def record(state, **fields):
    return message_record(state=state, reply_to_task="TOKEN", **fields)


@pytest.mark.parametrize("old", [{}, record(State.RETRYING), record(State.DELIVERED, awaiting="default")])
@pytest.mark.parametrize("state", State)
def test_a_task_ends_once_nothing_is_awaited_of_its_message(old, state):
    assert ended(old, record(state)) == (state if state in ENDINGS else None)


@pytest.mark.parametrize("state", State)
def test_a_message_without_a_task_ends_none(state):
    assert ended({}, message_record(state=state)) is None


def test_a_message_that_looks_merged_ends_its_task_when_its_own_reply_is_no_longer_awaited():
    merged = record(State.ANSWERED, answer_kind=AnswerKind.MERGED, awaiting="default")
    assert ended(record(State.DELIVERED, awaiting="default"), merged) is None
    assert ended(merged, record(State.ANSWERED, answer_kind=AnswerKind.MERGED)) == State.ANSWERED


@pytest.mark.parametrize("state", ENDINGS)
def test_a_record_that_is_written_again_or_deleted_ends_no_task(state):
    assert ended(record(state), record(state, last_error="other")) is None
    assert ended(record(state), {}) is None


def test_a_message_that_is_resent_leaves_its_task_to_its_resend():
    assert ended(record(State.DELIVERED), record(State.RESENT)) is None


def test_a_failure_says_what_the_event_says_and_not_the_token():
    parked = record(State.PARKED, reason="answered 413", context='{"order": 17}')
    cause = json.loads(cause_of(parked))
    assert (cause["message_id"], cause["reason"], cause["context"]) == ("id-1", "answered 413", {"order": 17})
    assert not {"body", "reply_to_task"} & cause.keys()


def test_a_failure_says_why_a_message_was_dropped():
    assert json.loads(cause_of(record(State.DROPPED, drop_reason="done")))["drop_reason"] == "done"


def test_the_longest_cause_fits_and_says_why():
    escaped = "\x01" * 2000
    longest = record(State.PARKED, session=f"default#{escaped}", session_id=escaped, reason="\x01" * 1024)
    cause = cause_of(longest | {"context": json.dumps({"n": "x" * 8000})})
    assert len(cause) <= MAX_CAUSE
    assert json.loads(cause) == {"message_id": "id-1", "reason": "\x01" * 1024}
