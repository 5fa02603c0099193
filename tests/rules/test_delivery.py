import json

import pytest

from relay.rules.delivery import (
    BACKOFF_CAP,
    Answer,
    History,
    Outcome,
    Park,
    Retry,
    Verdict,
    backoff,
    classify,
    idempotency_key,
    lost_at,
    next_step,
)

NOW = 1_795_352_448.0
FRESH = History()
OPEN = History(attempts=1, unknown=True, first_failed_at=NOW)
HOURS = 6 * 3600
LATER = NOW + 14 * 86_400


def answer(status, code=None, msg="", data=None, retry_after=None):
    return Answer(status, json.dumps({"code": code, "msg": msg, "data": data}).encode(), retry_after)


ACCEPTED = answer(202, 0, "accepted", {"accepted_message_id": "in_1", "aggregating": True})
BURNED = answer(503, 50301, "too many inbound messages are already being processed")
FULL = answer(503, 50301, "idempotency capacity reached; retry later")
BUSY = answer(429, "blocking_work_capacity_exceeded")
SEEN = answer(409, 40901, "idempotency key already accepted")
IN_FLIGHT = answer(409, 40901, "a sync request is already in flight for this session")
UNSIGNED = answer(401, 40101, "invalid signature: signature_mismatch")
NO_BOT = Answer(404, b'{"error":"Bot not found"}')
UNPARSED = answer(400, 40001, "failed to parse message: x")
TOO_LARGE = answer(413, 41301, "message too large")
BROKEN = answer(500, "internal_error", "Internal server error")
HTML = Answer(405, b"<!doctype html>\n<title>405 Method Not Allowed</title>")


def test_202_is_accepted_under_the_id_that_langbot_gives():
    outcome = classify("push", ACCEPTED, FRESH, NOW)
    assert (outcome.verdict, outcome.accepted_message_id) == (Verdict.ACCEPTED, "in_1")


@pytest.mark.parametrize(
    "given", [BURNED, FULL, BUSY, SEEN, UNSIGNED, NO_BOT, HTML, Answer(403, b""), Answer(301, b"")]
)
def test_what_langbot_or_the_network_refuses_is_tried_again(given):
    outcome = classify("push", given, FRESH, NOW)
    assert (outcome.verdict, outcome.messages_fault) == (Verdict.REFUSED, False)
    assert isinstance(next_step(outcome, FRESH, NOW, HOURS, LATER), Retry)


@pytest.mark.parametrize("given", [UNPARSED, TOO_LARGE])
def test_what_is_the_messages_own_fault_is_parked_at_once(given):
    step = next_step(classify("push", given, FRESH, NOW), FRESH, NOW, HOURS, LATER)
    assert isinstance(step, Park)
    assert step.reason.startswith(f"answered {given.status}")


@pytest.mark.parametrize(
    "given",
    [
        BROKEN,
        Answer(502, b"<html>bad gateway"),
        Answer(504, b""),
        Answer(202, b"not JSON"),
        Answer(202, b"{}"),
        Answer(202, b'{"data": {"accepted_message_id": 7}}'),
        Answer(202, b'{"data": {"accepted_message_id": ""}}'),
        Answer(202, b'{"data": {"accepted_message_id": "%s"}}' % (b"x" * 1025)),
        Answer(202, ACCEPTED.body[:40]),
        Answer(200, b"<html>some other site"),
        Answer(204, b""),
    ],
)
def test_an_answer_that_proves_nothing_is_unknown(given):
    assert classify("push", given, FRESH, NOW).verdict is Verdict.UNKNOWN


def after(*outcomes, history=FRESH):
    for one in outcomes:
        history = history.after(one, NOW)
    return history


UNKNOWN = Outcome(Verdict.UNKNOWN)


@pytest.mark.parametrize("given", [BURNED, FULL, BUSY, SEEN, UNSIGNED, NO_BOT])
def test_refused_message_gets_a_fresh_key(given):
    refused = classify("push", given, FRESH, NOW)
    assert idempotency_key("m", after(refused)) != idempotency_key("m", FRESH)


def test_unknown_message_keeps_its_key():
    assert idempotency_key("m", after(UNKNOWN, UNKNOWN)) == idempotency_key("m", FRESH)


@pytest.mark.parametrize("given", [BUSY, UNSIGNED, NO_BOT, HTML, Answer(503, b"from a proxy")])
def test_a_refusal_from_before_the_check_of_the_key_leaves_unknown_open(given):
    history = after(UNKNOWN, classify("push", given, OPEN, NOW))
    assert history.unknown
    assert idempotency_key("m", history) == idempotency_key("m", FRESH)


def test_a_503_after_unknown_proves_that_nothing_was_accepted():
    history = after(UNKNOWN, classify("push", BURNED, OPEN, NOW))
    assert not history.unknown
    assert idempotency_key("m", history) != idempotency_key("m", FRESH)


def test_409_after_unknown_is_delivered_with_its_id_not_known():
    outcome = classify("push", SEEN, OPEN, NOW)
    assert (outcome.verdict, outcome.accepted_message_id) == (Verdict.ACCEPTED, None)


def test_409_after_a_burned_key_never_counts_as_delivered():
    history = after(classify("push", BURNED, FRESH, NOW))
    assert classify("push", SEEN, history, NOW).verdict is Verdict.REFUSED


def test_a_409_that_is_not_langbots_is_never_delivered():
    assert classify("push", Answer(409, b"conflict"), OPEN, NOW).verdict is Verdict.REFUSED


def test_a_sync_call_beside_another_is_refused_and_its_key_is_burned():
    outcome = classify("sync", IN_FLIGHT, OPEN, NOW)
    assert outcome.verdict is Verdict.REFUSED
    assert idempotency_key("m", OPEN.after(outcome, NOW)) != idempotency_key("m", OPEN)


def test_a_sync_answer_brings_the_reply():
    given = answer(200, 0, "ok", {"reply_to": "in_2", "message": [{"type": "Plain", "text": "a"}]})
    outcome = classify("sync", given, FRESH, NOW)
    assert (outcome.verdict, outcome.accepted_message_id) == (Verdict.ACCEPTED, "in_2")
    assert outcome.reply == [{"type": "Plain", "text": "a"}]


def test_a_reset_that_langbot_cannot_do_is_parked_so_that_its_session_goes_on():
    assert isinstance(next_step(classify("reset", BROKEN, FRESH, NOW), FRESH, NOW, HOURS, LATER), Park)


def test_a_reset_that_worked_is_accepted():
    given = answer(200, 0, "reset", {"session_id": "s", "removed": True})
    assert classify("reset", given, FRESH, NOW).verdict is Verdict.ACCEPTED


def test_backoff_doubles_up_to_its_cap():
    assert [backoff(n) for n in (1, 2, 3, 5, 6, 10_000)] == [2, 4, 8, 32, BACKOFF_CAP, BACKOFF_CAP]


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
def test_retry_after_is_honoured_where_it_asks_for_more_than_the_backoff(retry_after, delay):
    outcome = classify("push", answer(429, retry_after=retry_after), FRESH, NOW)
    step = next_step(outcome, FRESH, NOW, HOURS, LATER)
    assert isinstance(step, Retry)
    assert step.delay == delay


def test_a_message_is_parked_when_its_time_is_up():
    old = History(attempts=80, first_failed_at=NOW - HOURS)
    step = next_step(classify("push", BUSY, old, NOW), old, NOW, HOURS, LATER)
    assert isinstance(step, Park)
    assert "81 times" in step.reason
    assert "429" in step.reason


def test_the_last_attempt_is_made_when_the_time_is_up_and_not_later():
    nearly = History(attempts=80, first_failed_at=NOW - HOURS + 10)
    step = next_step(classify("push", BUSY, nearly, NOW), nearly, NOW, HOURS, LATER)
    assert isinstance(step, Retry)
    assert step.delay == 10


def test_the_time_runs_from_the_first_failure_and_not_from_the_queue():
    step = next_step(classify("push", BUSY, FRESH, NOW), FRESH, NOW, HOURS, LATER)
    assert isinstance(step, Retry)
    assert step.history.first_failed_at == NOW


def test_a_message_is_parked_before_the_queue_drops_it():
    queued_at = NOW - 13.5 * 86_400
    busy = classify("push", BUSY, FRESH, NOW)
    assert isinstance(next_step(busy, FRESH, NOW, HOURS, lost_at(queued_at)), Park)
    assert isinstance(next_step(busy, FRESH, NOW, HOURS, lost_at(queued_at + 1)), Retry)


@pytest.mark.parametrize("given", [BURNED, BUSY, UNSIGNED, answer(502), SEEN])
def test_a_bot_that_cannot_take_messages_is_not_said_to_work(given):
    assert not classify("push", given, FRESH, NOW).bot_works


@pytest.mark.parametrize(
    ("action", "given"), [("push", ACCEPTED), ("push", answer(400)), ("sync", IN_FLIGHT)]
)
def test_a_bot_works_that_refuses_one_message_or_one_session(action, given):
    assert classify(action, given, FRESH, NOW).bot_works
