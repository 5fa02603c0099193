import pytest

from relay.domain.admission import PAUSED_TOO_LONG, BotState
from relay.domain.diagnosis import DiagnosisContext, RefusedCallback, diagnose, with_stack
from relay.domain.states import AnswerKind, State
from relay.domain.timestamps import utc_text
from support.samples import NOW, message_record, received_part

WORKING = BotState.of({"slots": 50})
FAILING = BotState.of({"failures": 3, "probe_at": utc_text(NOW + 40)})
URL = "https://relay.example/callbacks/default"
DEADLINE = {"expect_reply": True, "due_at": utc_text(NOW + 900)}
FINAL = b'{"session_id": "s-1", "reply_to": "in_1", "message": [], "is_final": true, "sequence": 2}'
PART = b'{"session_id": "s-1", "reply_to": "in_1", "message": [], "is_final": false, "sequence": 1}'


def told(fields, bot=WORKING, now=NOW, **context):
    """Return what is told of a message whose record has these fields, at NOW."""
    record = message_record(**fields) if fields is not None else None
    return diagnose(record, DiagnosisContext(bot, URL, **context), now)


def refused(*reasons, bot="default"):
    return [RefusedCallback(bot, reason) for reason in reasons]


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


@pytest.mark.parametrize(("fields", "why"), [(None, ""), (retrying(), "answered 502; and ")])
def test_a_message_of_a_paused_bot_waits_for_the_operator(fields, why):
    paused = BotState.of({"message": "sales", "paused_since": utc_text(NOW), "failures": 1})
    diagnosis = told(fields, paused)
    assert diagnosis.why == f"{why}its bot was paused at {clock(NOW)}"
    assert diagnosis.next == "push sends it when the bot is resumed"
    assert diagnosis.advice == "`relay bots resume sales` resumes it"


def test_a_message_that_was_parked_for_a_pause_needs_its_bot_resumed():
    diagnosis = told({"state": State.PARKED, "reason": PAUSED_TOO_LONG, "action": "push"})
    assert "`relay bots resume default` resumes the bot, then `relay resend" in diagnosis.advice


def test_a_message_that_waits_for_its_turn_needs_nothing():
    assert told(None).advice == ""


def test_a_retried_message_is_told_with_error_next_attempt_and_end():
    diagnosis = told(retrying())
    assert diagnosis.summary == "LangBot has not accepted it, in 2 attempts"
    assert diagnosis.why == "answered 502"
    assert diagnosis.next == f"push tries it again at {clock(NOW + 4)}, and parks it at {clock(NOW + 3600)}"


def test_the_next_attempt_waits_for_the_probe_of_a_failing_bot():
    assert f"tries it again at {clock(NOW + 40)}" in told(retrying(), FAILING).next


def test_a_cancelled_message_waits_for_its_turn_to_be_dropped():
    entries = [f"{utc_text(NOW + 60)} id-1"]
    message = retrying(message_id="id-1")
    diagnosis = told(message, BotState.of({"cancelled": entries}))
    assert diagnosis.next == "it is cancelled: push drops it when its turn comes"
    assert told(message, BotState.of({"cancelled": entries}), now=NOW + 60).next != diagnosis.next


def test_an_attempt_that_is_due_comes_at_any_moment():
    assert "tries it again at any moment" in told(retrying(), now=NOW + 10).next


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "`relay bots set default --inbound-secret` asks for"),
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
    diagnosis = told(DEADLINE, refused=refused("signature_mismatch", "signature_mismatch"))
    assert diagnosis.why == "callback refused 2 requests for the bot: signature_mismatch"
    assert diagnosis.advice.startswith("`relay bots set default --outbound-secret` asks for")


def test_the_last_refusal_decides_what_to_do():
    reasons = refused("signature_mismatch", "timestamp_expired")
    assert told(DEADLINE, refused=reasons).advice == "set the clock of LangBot's host"
    assert told(DEADLINE, refused=refused("timestamp_malformed")).advice == "see `relay logs callback`"


def test_callbacks_for_a_bot_that_does_not_exist_are_told_with_its_name():
    diagnosis = told(DEADLINE, refused=refused("unknown_bot", "unknown_bot", bot="defualt"))
    assert diagnosis.why == "callback refused 2 requests for a bot 'defualt', which does not exist"
    assert diagnosis.advice == f"look at the end of LangBot's callback URL: it must be exactly {URL}"


def test_silence_alone_is_told_with_what_can_cause_it():
    assert f"the callback URL is exactly {URL} and that the bot has a route" in told(DEADLINE).advice


def test_silence_is_not_told_of_a_session_that_was_searched_in_part():
    summary = told(DEADLINE, all_parts=False).summary
    assert summary.endswith("no part of a reply is among the parts that the session got first since then")


def test_a_complete_reply_that_settle_has_not_seen_is_told_as_complete():
    diagnosis = told(DEADLINE, parts=[received_part(PART), received_part(FINAL)])
    assert diagnosis.summary.endswith("and its reply is complete")


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
    assert "`relay resend s-1 id-1` sends it again" in diagnosis.advice
    assert "`relay drop s-1 id-1 'no reply came'` closes it" in diagnosis.advice


def test_a_message_to_no_bot_is_told_with_the_bot_whose_name_is_nearest():
    fields = {"state": State.PARKED, "reason": "no bot 'slaes': there is no secret", "session": "slaes#s 1"}
    advice = told(fields, bots=["default", "sales"]).advice
    assert advice.startswith("`relay resend --bot sales 's 1' id-1` sends it to the bot sales")


def test_an_invalid_message_is_not_told_to_be_resent():
    record = message_record(state=State.PARKED, reason="text must be string")
    del record["action"]
    diagnosis = diagnose(record, DiagnosisContext(WORKING, URL), NOW)
    assert diagnosis.advice.startswith("send a corrected message, then `relay drop s-1 id-1")


def test_a_command_of_a_deployed_stack_names_it_once():
    text = with_stack("`relay show a`, then `relay show b --stack prod`", "prod")
    assert text == "`relay show a --stack prod`, then `relay show b --stack prod`"
    assert with_stack("`relay show a`", None) == "`relay show a`"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            {"state": State.PARKED, "reason": "answered 400"},
            "push does not try it again: answered 400; fix the cause, then `relay resend s-1 id-1` sends it "
            "again, or `relay drop s-1 id-1 'not needed'` closes it",
        ),
        ({"state": State.RESENT, "resent_as": "7"}, "it was sent again"),
        ({"state": State.DROPPED, "drop_reason": "by phone"}, "it was closed for good: by phone"),
    ],
)
def test_what_an_operator_has_to_do_or_did_fits_on_a_line(fields, line):
    assert told(fields).line() == line


def clock(moment):
    return f"{utc_text(moment)[:19].replace('T', ' ')} UTC"
