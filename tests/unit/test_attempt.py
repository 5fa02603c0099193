import math
from dataclasses import replace

import pytest

from relay.domain.attempt import (
    MAX_RELOAD_WAIT,
    MAX_RESPONSE_EXCERPT,
    AttemptHistory,
    Outcome,
    Response,
    Verdict,
    classify,
    idempotency_key,
    with_attempt,
)
from relay.domain.strict_json import MAX_VALUES
from relay.domain.timestamps import utc_text
from support.responses import (
    ACCEPTED,
    BAD_SIGNATURE,
    BOT_NOT_FOUND,
    HTML_PAGE,
    INTERNAL_ERROR,
    KEY_KNOWN,
    NO_ROOM_FOR_KEY,
    OVERLOADED,
    PERMANENT_REFUSALS,
    REFUSALS,
    SYNC_IN_FLIGHT,
    TOO_MANY_REQUESTS,
    UNPARSED,
    response,
)
from support.samples import NOW

NEW = AttemptHistory()
AFTER_UNKNOWN = AttemptHistory(attempts=1, outcome_unknown=True, first_failed_at=NOW)
UNKNOWN = Outcome(Verdict.UNKNOWN)


def classified(given, action="push", history=NEW):
    return classify(action, given, history, NOW)


def after(*outcomes):
    history = NEW
    for outcome in outcomes:
        history = history.after(outcome, "key", NOW)
    return history


def has_fresh_key(history, before=NEW):
    return idempotency_key("m", history) != idempotency_key("m", before)


# ---------------------------------------------------------------- what a response means


def test_202_is_accepted_under_the_id_that_langbot_gives():
    outcome = classified(ACCEPTED)
    assert (outcome.verdict, outcome.accepted_message_id) == (Verdict.ACCEPTED, "in_1")


@pytest.mark.parametrize("given", REFUSALS)
def test_a_refusal_by_langbot_or_the_network_is_not_permanent(given):
    outcome = classified(given)
    assert (outcome.verdict, outcome.permanent) == (Verdict.REFUSED, False)


@pytest.mark.parametrize(("status", "verdict"), [(299, "unknown"), (300, "refused"), (399, "refused")])
def test_a_redirect_of_any_kind_is_a_refusal(status, verdict):
    assert classified(Response(status, b"")).verdict == verdict


@pytest.mark.parametrize("given", PERMANENT_REFUSALS)
def test_a_refusal_of_the_message_itself_is_permanent(given):
    outcome = classified(given)
    assert (outcome.verdict, outcome.permanent) == (Verdict.REFUSED, True)


@pytest.mark.parametrize(
    "given",
    [
        INTERNAL_ERROR,
        Response(502, b"<html>bad gateway"),
        Response(504, b""),
        Response(202, b"not JSON"),
        Response(202, b"[1]"),
        Response(202, b"{}"),
        Response(202, b'{"data": {"accepted_message_id": 7}}'),
        Response(202, b'{"data": {"accepted_message_id": ""}}'),
        Response(202, b'{"data": {"accepted_message_id": "%s"}}' % (b"x" * 1025)),
        Response(202, ACCEPTED.body[:40]),
        Response(200, b"<html>some other site"),
        Response(204, b""),
        Response(202, ACCEPTED.body[:-1] + b', "more": [%s0]}' % (b"[]," * MAX_VALUES)),
    ],
    ids=lambda given: f"{given.status} {given.body[:40]!r}",
)
def test_a_response_that_proves_nothing_is_unknown(given):
    assert classified(given).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("action", ["push", "sync"])
def test_409_after_unknown_is_accepted_with_its_id_not_known(action):
    outcome = classified(KEY_KNOWN, action, AFTER_UNKNOWN)
    assert (outcome.verdict, outcome.accepted_message_id) == (Verdict.ACCEPTED, None)
    assert outcome.reason == "answered 409: idempotency key already accepted"


def test_409_without_an_attempt_of_unknown_outcome_is_not_accepted_yet():
    history = after(classified(OVERLOADED))
    outcome = classified(KEY_KNOWN, history=history)
    assert outcome.verdict is Verdict.UNKNOWN
    # Another delivery of the message has used the key: it stays, and the next 409 says that it was accepted.
    assert not has_fresh_key(history.after(outcome, "key", NOW), before=history)


BODIES_OF_A_PROXY = [b"<html>nginx</html>", b'{"message": "Bad Request"}', b'{"code": 1}']


@pytest.mark.parametrize("body", BODIES_OF_A_PROXY)
def test_a_message_that_is_too_large_for_a_proxy_is_parked_as_well(body):
    outcome = classified(Response(413, body))
    assert (outcome.verdict, outcome.permanent) == (Verdict.REFUSED, True)
    assert outcome.reason == "answered 413, and not in the form of LangBot"
    # LangBot may have accepted it before the proxy did this.
    assert not classified(Response(413, body), history=AFTER_UNKNOWN).permanent


@pytest.mark.parametrize("status", [400, 409, 500, 503])
@pytest.mark.parametrize("action", ["push", "sync", "reset"])
@pytest.mark.parametrize("body", BODIES_OF_A_PROXY)
def test_only_langbot_parks_or_settles_a_message(status, action, body):
    outcome = classified(Response(status, body), action, AFTER_UNKNOWN)
    assert (outcome.verdict, outcome.permanent, outcome.bot_healthy) == (Verdict.UNKNOWN, False, False)


def test_a_response_is_read_though_it_is_no_strict_json():
    body = b'{"data": {"accepted_message_id": "in_1"}, "n": NaN, "t": "\\ud83d"}'
    assert classified(Response(202, body)).accepted_message_id == "in_1"


def test_an_id_is_limited_in_bytes():
    body = '{"data": {"accepted_message_id": "%s"}}' % ("客" * 342)
    assert classified(Response(202, body.encode())).verdict is Verdict.UNKNOWN


def test_a_sync_response_brings_the_reply():
    given = response(200, 0, "ok", {"reply_to": "in_2", "message": [{"type": "Plain", "text": "a"}]})
    outcome = classified(given, "sync")
    assert (outcome.verdict, outcome.accepted_message_id) == (Verdict.ACCEPTED, "in_2")
    assert outcome.reply == [{"type": "Plain", "text": "a"}]


@pytest.mark.parametrize(
    "data", [{"message": []}, {"reply_to": "in_2"}, {"reply_to": "in_2", "message": "a"}]
)
def test_a_sync_response_without_an_id_or_a_list_proves_nothing(data):
    assert classified(response(200, 0, "ok", data), "sync").verdict is Verdict.UNKNOWN


def test_a_reset_that_langbot_cannot_do_is_a_permanent_refusal():
    outcome = classified(INTERNAL_ERROR, "reset")
    assert (outcome.verdict, outcome.permanent) == (Verdict.REFUSED, True)


def test_a_reset_that_succeeded_is_accepted():
    given = response(200, 0, "reset", {"session_id": "s", "removed": True})
    assert classified(given, "reset").verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("given", [OVERLOADED, TOO_MANY_REQUESTS, BAD_SIGNATURE, response(502), KEY_KNOWN])
def test_a_bot_that_cannot_accept_messages_is_not_healthy(given):
    assert not classified(given).bot_healthy


@pytest.mark.parametrize(
    ("action", "given"), [("push", ACCEPTED), ("push", UNPARSED), ("sync", SYNC_IN_FLIGHT)]
)
def test_a_bot_that_refuses_one_message_or_one_session_is_healthy(action, given):
    assert classified(given, action).bot_healthy


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        (None, 0),
        ("soon", 0),
        ("Sun, 22 Nov 2026 12:00:00 GMT", 0),
        ("Sun, 22 Nov 2026 13:00:49 GMT", 1),
        ("1", 1),
    ],
)
def test_a_response_that_names_no_time_to_come_asks_for_no_delay(retry_after, seconds):
    assert classified(response(429, retry_after=retry_after)).retry_after == seconds


def test_a_bot_that_langbot_reloads_is_tried_again_within_seconds():
    outcome = classified(BOT_NOT_FOUND)
    assert (outcome.verdict, outcome.bot_healthy) == (Verdict.REFUSED, False)
    assert outcome.max_wait == MAX_RELOAD_WAIT == 10


@pytest.mark.parametrize(
    "given",
    [
        Response(404, b"<html>nginx</html>"),
        Response(404, b'{"error": "no such page"}'),
        Response(404, b'{"message": "Bot not found"}'),
        Response(405, BOT_NOT_FOUND.body),
        OVERLOADED,
        TOO_MANY_REQUESTS,
        INTERNAL_ERROR,
    ],
)
def test_any_other_failure_may_wait_longer(given):
    assert classified(given).max_wait == math.inf


# ---------------------------------------------------------------- the key of the next attempt


def test_a_message_refused_after_its_key_was_checked_gets_a_fresh_key():
    assert has_fresh_key(after(classified(OVERLOADED)))


@pytest.mark.parametrize(
    "given", [NO_ROOM_FOR_KEY, TOO_MANY_REQUESTS, BAD_SIGNATURE, BOT_NOT_FOUND, HTML_PAGE]
)
def test_a_refusal_before_the_key_is_checked_leaves_the_key(given):
    # So has a late second delivery of the message the key that LangBot accepted.
    assert not has_fresh_key(after(classified(given)))


def test_a_message_with_an_unknown_outcome_keeps_its_key():
    assert not has_fresh_key(after(UNKNOWN, UNKNOWN))


@pytest.mark.parametrize(
    "given",
    [TOO_MANY_REQUESTS, BAD_SIGNATURE, BOT_NOT_FOUND, HTML_PAGE, Response(503, b"from a proxy")],
)
def test_a_refusal_before_the_key_is_checked_leaves_the_outcome_unknown(given):
    history = after(UNKNOWN, classified(given, history=AFTER_UNKNOWN))
    assert history.outcome_unknown
    assert not has_fresh_key(history)


def test_a_503_after_unknown_proves_that_nothing_was_accepted():
    history = after(UNKNOWN, classified(OVERLOADED, history=AFTER_UNKNOWN))
    assert not history.outcome_unknown
    assert has_fresh_key(history)


def test_a_sync_call_beside_another_is_refused_and_its_key_used_up():
    outcome = classified(SYNC_IN_FLIGHT, "sync", AFTER_UNKNOWN)
    assert outcome.verdict is Verdict.REFUSED
    assert has_fresh_key(AFTER_UNKNOWN.after(outcome, "key", NOW), before=AFTER_UNKNOWN)


def test_the_key_of_an_attempt_counts_the_keys_used_up_before():
    history = after(classified(OVERLOADED), UNKNOWN, classified(OVERLOADED))
    assert idempotency_key("m", history) == "m.2"


def test_two_messages_never_share_a_key():
    histories = [AttemptHistory(keys_used=number) for number in range(3)]
    keys = {idempotency_key(message, history) for message in ("m", "m.1") for history in histories}
    assert len(keys) == 6


# ---------------------------------------------------------------- what people are shown


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (OVERLOADED, "answered 503: too many inbound messages are already being processed"),
        (BOT_NOT_FOUND, "answered 404: Bot not found"),
        (HTML_PAGE, "answered 405"),
        (Response(503, b""), "answered 503, and not in the form of LangBot"),
        (response(429, msg="x" * 1000), "answered 429: " + "x" * 300),
    ],
)
def test_a_reason_has_the_status_and_300_characters_of_the_text(given, reason):
    assert classified(given).reason == reason


@pytest.mark.parametrize("given", [ACCEPTED, OVERLOADED, UNPARSED, INTERNAL_ERROR])
def test_an_outcome_has_the_response_that_it_was_read_from(given):
    assert classified(given).response == given


def test_the_last_response_stays_when_an_attempt_has_none():
    history = after(classified(BAD_SIGNATURE), UNKNOWN)
    assert history.last_response == {"status": 401, "body": BAD_SIGNATURE.body.decode()}


def test_a_long_response_is_cut_off_and_its_broken_bytes_replaced():
    excerpt = Response(500, b"\xff" + b"x" * MAX_RESPONSE_EXCERPT).excerpt()
    assert excerpt == {"status": 500, "body": "\ufffd" + "x" * (MAX_RESPONSE_EXCERPT - 1)}


def test_an_attempt_is_shown_with_its_beginning_duration_status_and_error():
    # It ended a second before its lease was released.
    outcome = replace(classified(BAD_SIGNATURE), began_at=NOW - 2.5, seconds=1.5)
    assert with_attempt((), outcome, "m.0", NOW) == (
        {
            "at": utc_text(NOW - 2.5),
            "verdict": "refused",
            "ms": 1500,
            "key": "m.0",
            "status": 401,
            "error": "answered 401: invalid signature: signature_mismatch",
        },
    )


def test_of_many_attempts_the_last_ten_are_shown():
    history = after(*[UNKNOWN] * 9, *[classified(BAD_SIGNATURE)] * 3)
    assert [entry["verdict"] for entry in history.entries] == ["unknown"] * 7 + ["refused"] * 3
    assert {entry["key"] for entry in history.entries} == {"key"}


def test_the_error_of_an_attempt_is_cut_since_ten_of_them_are_kept():
    (entry,) = after(Outcome(Verdict.UNKNOWN, "x" * 1000)).entries
    assert entry["error"] == "x" * 200
