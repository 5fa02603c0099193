import json

import pytest

from relay.domain.admission import BotState
from relay.domain.bot import parse_bot
from relay.domain.diagnosis import RefusedCallback
from relay.domain.timestamps import DAY, UtcText, unix_seconds, utc_text
from relay_cli import health

CONNECT = "`relay connect --bot sales`"
SECRET = {"url": "https://bot.example/1", "inbound_secret": "i" * 43, "outbound_secret": "o" * 43}


@pytest.mark.parametrize(
    ("fields", "ok", "text"),
    [
        ({}, True, "valid"),
        ({"url": ""}, False, "it has no url"),
        ({"url": "x"}, False, "url must be an address"),
        ({"inbound_secret": ["k" * 43, "i" * 43]}, None, "a rotation is under way"),
        ({"inbound_secret": "iii"}, None, "weak"),
    ],
)
def test_a_secret_is_judged_without_a_value_of_it(fields, ok, text):
    finding = health.secret_finding(parse_bot("sales", json.dumps(SECRET | fields)), CONNECT)
    assert (finding.ok, text in finding.text) == (ok, True)
    assert not {"iii", "ooo", "kkk"} & {finding.text[at : at + 3] for at in range(len(finding.text))}


@pytest.mark.parametrize(
    ("status", "body", "ok", "advice"),
    [
        (400, {"code": 40001, "msg": "session_id and message are required"}, True, ""),
        (
            401,
            {"code": 40101, "msg": "invalid signature: signature_mismatch"},
            False,
            "Inbound Signing Secret",
        ),
        (401, {"code": 40101, "msg": "invalid signature: expired"}, False, "clock"),
        (401, {}, False, "in front of LangBot"),
        (404, {"error": "Bot not found"}, False, "the url names none"),
        (404, {}, False, "in front of LangBot"),
        (405, {}, False, "without a slash"),
        (200, {}, False, "in front of LangBot"),
    ],
)
def test_only_langbots_own_answer_proves_that_it_accepts_a_signature(status, body, ok, advice):
    finding = health.url_finding(status, body, CONNECT)
    assert (finding.ok, advice in finding.advice) == (ok, True)


def test_langbot_that_takes_what_is_not_signed_is_a_fault():
    assert health.signature_finding(401, CONNECT).ok is True
    assert health.signature_finding(400, CONNECT).ok is False


@pytest.mark.parametrize(("ahead", "ok"), [(0, True), (-2, True), (59, True), (61, False), (-300, False)])
def test_a_clock_is_a_fault_long_before_signatures_are_refused(ahead, ok):
    assert health.clock_finding("clock", ahead).ok is ok


def test_a_clock_is_told_of_with_its_direction():
    assert health.clock_finding("clock", 90).text == "90 s ahead of AWS"
    assert health.clock_finding("clock", -90).text == "90 s behind AWS"


def test_an_open_circuit_is_told_of_with_its_last_error():
    state = BotState.of(
        {"probe_at": "2026-11-22T13:00:48.000000Z", "failures": 1, "last_error": "answered 502"}
    )
    finding = health.circuit_finding("sales", state)
    assert (finding.ok, finding.text) == (False, "1 attempt in a row failed: answered 502")
    assert health.circuit_finding("sales", BotState.of({})).ok is True


@pytest.mark.parametrize(
    ("in_flight", "most", "ok"), [(0, 50, True), (49, 50, True), (50, 50, False), (500, 0, True)]
)
def test_a_bot_without_a_free_slot_is_a_fault(in_flight, most, ok):
    assert health.slots_finding("sales", in_flight, most).ok is ok


@pytest.mark.parametrize(("ages", "ok"), [([], None), ([3.0, 1800.0], True), ([3.0, 1801.0, 2.0], False)])
def test_the_push_queue_is_judged_by_its_oldest_message(ages, ok):
    assert health.age_finding(ages, late=False, waiting=7, paused=[]).ok is ok
    assert health.age_finding(ages, late=True, waiting=7, paused=["sales"]).ok is False


def test_the_age_of_a_message_is_no_fault_while_a_bot_is_paused():
    finding = health.age_finding([1801.0], late=False, waiting=7, paused=["sales"])
    assert (finding.ok, finding.text) == (None, "7 messages, the oldest 1801 s old; paused: sales")


@pytest.mark.parametrize(("days", "ok"), [(0, None), (12.4, None), (12.6, False)])
def test_a_pause_is_a_fault_a_day_before_its_messages_are_parked(days, ok):
    since = unix_seconds(UtcText("2026-11-01T12:00:00.000000Z"))
    state = BotState.of({"paused_since": utc_text(since)})
    (finding,) = health.pause_findings("sales", state, since + days * DAY)
    assert finding.ok is ok
    assert finding.text == (
        "an operator paused it at 2026-11-01 12:00:00 UTC; "
        "messages since then are parked from 2026-11-15 00:00:00 UTC on"
    )
    assert list(health.pause_findings("sales", BotState.of({}), since)) == []


@pytest.mark.parametrize(("reserved", "ok"), [(-1, True), (0, False), (9, False), (10, True)])
def test_push_needs_as_much_reserved_concurrency_as_its_queue_takes(reserved, ok):
    assert health.reserved_finding(reserved, 10).ok is ok


@pytest.mark.parametrize(("waiting", "ok"), [(0, True), (1, False)])
def test_a_queue_that_must_be_empty_is_a_fault_if_it_is_not(waiting, ok):
    finding = health.queue_finding("parked", waiting, "look at them")
    assert (finding.ok, finding.advice) == (ok, "" if ok else "look at them")


@pytest.mark.parametrize(
    ("reason", "ok", "text", "advice"),
    [
        ("signature_mismatch", False, "2 requests for the bot: signature_mismatch", "--outbound-secret`"),
        (
            "unknown_bot",
            False,
            "2 requests for a bot 'slaes', which does not exist",
            "exactly https://x/sales",
        ),
        ("timestamp_missing", None, "2 requests for the bot: timestamp_missing", "Outbound Signing Secret"),
    ],
)
def test_refused_callbacks_are_judged_by_the_last_reason(reason, ok, text, advice):
    refused = [RefusedCallback("slaes", "other"), *[RefusedCallback("slaes", reason)] * 2]
    finding = health.refusal_finding(refused, "https://x/sales", UtcText("2026-11-22T13:00:48.000000Z"))
    assert (finding.ok, text in finding.text, advice in finding.advice) == (ok, True, True)
    assert finding.text.endswith("the last at 2026-11-22 13:00:48 UTC")


ALARM = {"AlarmName": "stack-ParkedAlarm-1", "StateValue": "OK", "AlarmDescription": "A message is parked."}


@pytest.mark.parametrize(("topic", "confirmed", "ok"), [(True, 1, True), (True, 0, False), (False, 0, None)])
def test_alarms_need_somebody_who_gets_them(topic, confirmed, ok):
    (finding,) = health.alarm_findings([ALARM], topic, confirmed)
    assert finding.ok is ok


def test_an_alarm_that_is_on_says_what_it_means():
    on, _ = health.alarm_findings([ALARM | {"StateValue": "ALARM"}], topic=True, confirmed=1)
    assert (on.ok, on.advice) == (False, "A message is parked.")


@pytest.mark.parametrize(
    ("unreserved", "used", "ok"), [(10, 0, False), (50, 0, True), (1000, 950, True), (1000, 951, False)]
)
def test_an_account_that_can_run_few_more_functions_at_once_is_a_fault(unreserved, used, ok):
    assert health.concurrency_finding(unreserved, used).ok is ok


@pytest.mark.parametrize(("silent", "ok"), [([], True), (["stack-SpillAlarm-1"], None)])
def test_an_alarm_whose_metric_has_no_value_is_named(silent, ok):
    finding = health.metric_finding(silent, 8)
    assert (finding.ok, all(name in finding.text for name in silent)) == (ok, True)


@pytest.mark.parametrize(("changed", "ok"), [([], True), (["PushRole"], False)])
def test_a_role_that_was_changed_is_a_fault(changed, ok):
    finding = health.role_finding(changed, 4)
    assert (finding.ok, all(name in finding.text for name in changed)) == (ok, True)


@pytest.mark.parametrize(
    ("stage", "account", "ok"),
    [
        ({}, 10_000, None),
        ({"ThrottlingRateLimit": 1000.0}, 10_000, True),
        ({"ThrottlingRateLimit": 14.0}, 10_000, False),
        ({"ThrottlingRateLimit": 1000.0}, 10, False),
    ],
)
def test_a_throttle_below_one_langbot_is_a_fault(stage, account, ok):
    assert health.throttle_finding(stage, account).ok is ok


def test_the_form_is_told_of_by_what_would_change():
    assert [finding.ok for finding in health.form_findings([], CONNECT)] == [True]
    changes = ["LangBot: Outbound Callback URL: a -> b", "LangBot: Outbound Signing Secret: a new value"]
    assert [(finding.ok, finding.text) for finding in health.form_findings(changes, CONNECT)] == [
        (False, change) for change in changes
    ]


def test_callbacks_that_langbot_gave_up_are_a_fault():
    lines = [{"text": "hello"}, {"text": "http_bot callback https://x/ -> 401, giving up"}]
    assert health.log_finding(lines[:1]).ok is True
    finding = health.log_finding(lines)
    assert (finding.ok, finding.text) == (False, lines[1]["text"])


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (
            {"event_id": "platform:b:in_1", "status": "failed", "status_reason": "no model"},
            "failed, no model",
        ),
        ({"event_id": "platform:b:in_1", "status": "completed"}, "completed, no reason is given"),
        ({"event_id": "platform:b:in_2", "status": "failed"}, "not among the agent's latest runs"),
    ],
)
def test_a_silent_run_says_how_it_ended(run, text):
    finding = health.run_finding("id-1", "in_1", [run])
    assert (finding.ok, text in finding.text) == (False, True)
