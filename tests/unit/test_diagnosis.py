import pytest

from relay.domain.admission import BotState
from relay.domain.diagnosis import DiagnosisContext, diagnose
from relay.domain.states import AnswerKind, State
from relay.domain.timestamps import utc_text
from support.samples import NOW, message_record, received_part

WORKING = BotState.of({"slots": 50})
FAILING = BotState.of({"failures": 3, "probe_at": utc_text(NOW + 40)})
DEADLINE = {"expect_reply": True, "due_at": utc_text(NOW + 900)}
PART = b'{"session_id": "s-1", "reply_to": "in_1", "message": [], "is_final": false, "sequence": 1}'


def told(fields, bot=WORKING, now=NOW, **context):
    """Return what is told of a message whose record has these fields, at NOW."""
    record = message_record(**fields) if fields is not None else None
    return diagnose(record, DiagnosisContext(bot, **context), now)


def retrying(**fields):
    known = {"attempts": 2, "last_error": "answered 502", "next_attempt_at": utc_text(NOW + 4)}
    return {"state": State.RETRYING, "retry_until": utc_text(NOW + 3600)} | known | fields


def entry(**fields):
    return {"at": utc_text(NOW), "verdict": "refused", "ms": 5, "key": "id-1.0"} | fields


def test_a_message_behind_a_failing_bot_is_told_with_the_next_probe():
    diagnosis = told(None, FAILING)
    assert diagnosis.summary == "it is on the push queue and was not tried yet"
    assert diagnosis.why == "3 attempts at the bot failed in a row"
    assert diagnosis.next == f"push tries the bot at {clock(NOW + 40)}"


def test_a_message_that_waits_for_its_turn_needs_nothing():
    assert told(None).advice == ""


def test_a_retried_message_is_told_with_error_next_attempt_and_end():
    diagnosis = told(retrying())
    assert diagnosis.summary == "LangBot has not accepted it, in 2 attempts"
    assert diagnosis.why == "answered 502"
    assert diagnosis.next == f"push tries it again at {clock(NOW + 4)}, and parks it at {clock(NOW + 3600)}"


def test_the_next_attempt_waits_for_the_probe_of_a_failing_bot():
    assert f"tries it again at {clock(NOW + 40)}" in told(retrying(), FAILING).next


def test_an_attempt_that_is_due_comes_at_any_moment():
    assert "tries it again at any moment" in told(retrying(), now=NOW + 10).next


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "set inbound_secret"),
        (404, "check the bot's url"),
        (502, "check that LangBot runs"),
        (None, "check that LangBot runs"),
    ],
)
def test_the_last_response_decides_what_to_do(status, advice):
    last = entry() if status is None else entry(status=status)
    assert told(retrying(last_attempts=[entry(status=503), last])).advice.startswith(advice)


def test_a_reply_under_way_is_told_by_its_last_part():
    diagnosis = told(DEADLINE, parts=[received_part(PART)], now=NOW + 4)
    assert "1 part of the reply came, the last 3 s ago" in diagnosis.summary
    assert diagnosis.next == f"without a complete reply it is unanswered at {clock(NOW + 900)}"


def test_silence_is_told_with_the_requests_that_callback_refused():
    diagnosis = told(DEADLINE, refused=["signature_mismatch"] * 2)
    assert diagnosis.why == "callback refused 2 requests for the bot: signature_mismatch"
    assert diagnosis.advice.startswith("set outbound_secret")


def test_the_last_refusal_decides_what_to_do():
    reasons = ["signature_mismatch", "timestamp_expired"]
    assert told(DEADLINE, refused=reasons).advice == "set the clock of LangBot's host"
    assert told(DEADLINE, refused=["timestamp_malformed"]).advice == "see `relay logs callback`"


def test_silence_alone_is_told_with_what_can_cause_it():
    assert "check the callback URL, the outbound secret and the route" in told(DEADLINE).advice


def test_a_message_that_expects_no_reply_is_not_waited_for():
    assert told({"expect_reply": False}).next == "no reply is expected"


@pytest.mark.parametrize(
    ("fields", "summary"),
    [
        ({"answer_kind": AnswerKind.OWN}, "it is answered"),
        ({"answer_kind": AnswerKind.PUSH}, "it is answered"),
        (
            {"answer_kind": AnswerKind.MERGED, "answered_by": "in_0"},
            "it is answered by the turn in_0 of another message",
        ),
        ({"answer_kind": AnswerKind.PROBABLE}, "it is probably answered"),
        ({"answer_kind": AnswerKind.UNFINISHED}, "it is answered, by a reply without a final part"),
    ],
)
def test_an_answered_message_is_told_by_what_answered_it(fields, summary):
    assert told({"state": State.ANSWERED} | fields).summary == summary


def test_an_unanswered_message_is_told_with_its_reason_and_what_to_do():
    diagnosis = told({"state": State.UNANSWERED, "last_error": "no reply"})
    assert diagnosis.why == "no reply"
    assert diagnosis.advice.endswith("then resend or drop the message")


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            {"state": State.PARKED, "reason": "answered 400"},
            "push does not try it again: answered 400; fix the cause, then resend or drop it",
        ),
        ({"state": State.RESENT, "resent_as": "7"}, "it was sent again as 7"),
        ({"state": State.DROPPED, "drop_reason": "by phone"}, "it was closed for good: by phone"),
    ],
)
def test_what_an_operator_has_to_do_or_did_fits_on_a_line(fields, line):
    assert told(fields).line() == line


def clock(moment):
    return f"{utc_text(moment)[:19].replace('T', ' ')} UTC"
