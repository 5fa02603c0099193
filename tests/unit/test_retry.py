from dataclasses import replace

import pytest

from relay.domain.attempt import AttemptHistory, classify
from relay.domain.message import LATE_AFTER, QUEUE_RETENTION, RETENTION_MARGIN
from relay.domain.retry import Policy, backoff, conclude
from relay.domain.states import State
from relay.domain.timestamps import DAY, utc_text
from support.responses import (
    ACCEPTED,
    BOT_NOT_FOUND,
    INTERNAL_ERROR,
    PERMANENT_REFUSALS,
    REFUSALS,
    TOO_MANY_REQUESTS,
    response,
)
from support.samples import NOW, attempt, delivery

HOURS = 6 * 3600
POLICY = Policy(retry_for=HOURS, answer_deadline=900, keep_days=90)


def concluded(given, action="push", history=None, queued_at=NOW, policy=POLICY):
    """Return what becomes of a message with `history` whose attempt got the response `given`."""
    tried = delivery(history, queued_at=queued_at)
    outcome = classify(action, given, tried.history, NOW)
    return conclude(tried, attempt(tried, outcome), NOW, policy)


def test_an_accepted_message_leaves_the_queue():
    conclusion = concluded(ACCEPTED)
    assert (conclusion.record["state"], conclusion.retry_in) == (State.DELIVERED, None)


@pytest.mark.parametrize("given", REFUSALS)
def test_a_message_that_langbot_or_the_network_refuses_is_tried_again(given):
    conclusion = concluded(given)
    assert (conclusion.record["state"], conclusion.retry_in) == (State.RETRYING, 2)
    assert conclusion.record["last_attempts"][0]["key"] == "id-1.0"


def test_a_message_that_is_tried_again_says_when_and_until_when():
    record = concluded(TOO_MANY_REQUESTS, history=AttemptHistory(attempts=2, first_failed_at=NOW - 6)).record
    assert (record["next_attempt_at"], record["retry_until"]) == (
        utc_text(NOW + 8),
        utc_text(NOW - 6 + HOURS),
    )


@pytest.mark.parametrize(
    ("excused_until", "state", "left"),
    [(NOW, State.RETRYING, HOURS), (NOW - 100, State.RETRYING, HOURS - 100), (NOW - HOURS, State.PARKED, 0)],
)
def test_the_time_to_retry_begins_again_after_a_pause(excused_until, state, left):
    tried = delivery(AttemptHistory(attempts=9, first_failed_at=NOW - 2 * HOURS), queued_at=NOW - 3 * HOURS)
    tried = replace(tried, excused_until=excused_until)
    outcome = classify("push", TOO_MANY_REQUESTS, tried.history, NOW)
    record = conclude(tried, attempt(tried, outcome), NOW, POLICY).record
    assert (record["state"], record.get("retry_until")) == (state, utc_text(NOW + left) if left else None)


def test_a_pause_does_not_keep_a_message_until_sqs_deletes_it():
    tried = replace(delivery(queued_at=NOW - QUEUE_RETENTION + RETENTION_MARGIN), excused_until=NOW)
    outcome = classify("push", TOO_MANY_REQUESTS, tried.history, NOW)
    assert conclude(tried, attempt(tried, outcome), NOW, POLICY).record["state"] == State.PARKED


@pytest.mark.parametrize(
    ("waited", "excused_for", "late"),
    [
        (LATE_AFTER, None, False),
        (LATE_AFTER + 1, None, True),
        (10 * DAY, 0, False),
        (10 * DAY, LATE_AFTER + 1, True),
        (12.5 * DAY, 0, False),
        (12.5 * DAY + 1, 0, True),
    ],
)
def test_a_paused_message_is_late_a_day_before_it_is_parked(waited, excused_for, late):
    excused_until = 0 if excused_for is None else NOW - excused_for
    assert delivery(queued_at=NOW - waited).queued.is_late(NOW, excused_until) is late


@pytest.mark.parametrize("given", PERMANENT_REFUSALS)
def test_a_message_that_is_itself_at_fault_is_parked_immediately(given):
    conclusion = concluded(given)
    assert (conclusion.record["state"], conclusion.retry_in) == (State.PARKED, None)
    assert conclusion.record["reason"].startswith(f"answered {given.status}")


def test_a_reset_that_langbot_cannot_do_is_parked_and_its_session_goes_on():
    assert concluded(INTERNAL_ERROR, "reset").record["state"] == State.PARKED


def test_backoff_doubles_up_to_its_cap():
    assert [backoff(n) for n in (1, 2, 3, 5, 6, 10_000)] == [2, 4, 8, 32, 60, 60]


@pytest.mark.parametrize(
    ("retry_after", "delay"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("Sun, 22 Nov 2026 13:01:48 GMT", 60),
        ("Sun, 22 Nov 2026 12:00:00 GMT", 2),
        ("0", 2),
        ("soon", 2),
        ("-5", 2),
        ("9" * 400, HOURS),
        (None, 2),
    ],
)
def test_retry_after_counts_if_it_is_longer_than_the_backoff(retry_after, delay):
    assert concluded(response(429, retry_after=retry_after)).retry_in == delay


def test_a_bot_that_langbot_reloads_is_tried_again_within_seconds():
    reloading = replace(BOT_NOT_FOUND, retry_after="60")
    conclusion = concluded(reloading, history=AttemptHistory(attempts=9, first_failed_at=NOW - 60))
    assert conclusion.retry_in == 10


def test_no_delay_is_longer_than_sqs_lets_a_message_be_invisible():
    days = replace(POLICY, retry_for=10 * 86_400)
    retry_in = concluded(response(503, retry_after=str(5 * 86_400)), policy=days).retry_in
    assert 11 * 3600 < retry_in < 12 * 3600


def test_a_message_is_parked_when_its_time_is_up():
    old = AttemptHistory(attempts=80, first_failed_at=NOW - HOURS)
    record = concluded(TOO_MANY_REQUESTS, history=old).record
    assert record["state"] == State.PARKED
    assert record["reason"] == f"tried for {HOURS} s, 81 times; at last {record['last_error']}"
    assert "429" in record["last_error"]


def test_the_last_attempt_is_made_when_the_time_is_up_and_not_later():
    nearly = AttemptHistory(attempts=80, first_failed_at=NOW - HOURS + 10)
    assert concluded(TOO_MANY_REQUESTS, history=nearly).retry_in == 10


def test_a_message_that_is_tried_again_is_invisible_for_at_least_a_second():
    nearly = AttemptHistory(attempts=80, first_failed_at=NOW - HOURS + 0.1)
    assert concluded(TOO_MANY_REQUESTS, history=nearly).retry_in == 1


def test_the_time_runs_from_the_first_failure_and_not_from_the_queue():
    conclusion = concluded(TOO_MANY_REQUESTS, queued_at=NOW - 2 * HOURS)
    assert conclusion.retry_in is not None
    assert conclusion.record["first_failed_at"] == utc_text(NOW)


def test_a_message_is_parked_before_the_queue_would_delete_it():
    queued_at = NOW - 13.5 * 86_400
    assert concluded(TOO_MANY_REQUESTS, queued_at=queued_at).record["state"] == State.PARKED
    assert concluded(TOO_MANY_REQUESTS, queued_at=queued_at + 1).record["state"] == State.RETRYING
