"""Messages through the deployed stack: SQS in, a bot that answers as LangBot does, DynamoDB out."""

import json
import time
from itertools import pairwise

import pytest

from local.sample_bot import OVERLOADED, Answer
from relay import MessageParked, Messages
from support.deployed import IN, OUT, new_bot
from support.parked_messages import UNPARSED
from support.raw_messages import send_raw
from support.waiting import eventually


def test_a_message_is_delivered_and_its_reply_read(talk):
    sent = talk.push("hello")
    turn = talk.conversation().wait(sent)
    assert (turn.text, turn.finished) == ("echo: hello", True)
    record = talk.deployed.state(sent, "answered")
    assert (record["attempts"], record["message_id"]) == (1, sent.message_id)
    assert record["accepted_message_id"] == turn.reply_to
    assert json.loads(record["body"])["text"] == "hello"


def test_the_parts_of_a_long_reply_are_read_in_the_order_of_emission(talk):
    turn = talk.conversation().wait(talk.push("LONG:30:5"))
    emitted = [part["message"][0]["text"] for part in talk.bot.emitted]
    assert [part["text"] for part in turn.parts] == emitted
    assert len(turn.parts) == 30


def test_a_group_is_addressed_and_its_silence_is_no_fault(talk):
    sent = talk.push("hi", session_type="group", sender={"id": "u1", "name": "Ann", "group_name": "G"})
    turn = talk.conversation().wait(sent)
    assert turn.message[0] == {"type": "At", "target": "u1", "display": ""}
    assert talk.deployed.record(sent)["expect_reply"] is False


def test_the_same_text_twice_is_two_messages(talk):
    for sent in [talk.push("yes"), talk.push("yes")]:
        talk.conversation().wait(sent)
    assert [turn.text for turn in talk.conversation().turns()] == ["echo: yes", "echo: yes"]


def test_a_repetition_with_the_callers_deduplication_id_is_one_message(talk):
    for _ in range(2):
        sent = talk.push("once", deduplication_id=talk.session)
    talk.conversation().wait(sent)
    talk.conversation().wait(talk.push("then"))
    assert [turn.text for turn in talk.conversation().turns()] == ["echo: once", "echo: then"]


@pytest.mark.parametrize("session", ["тикет 7 — \t\n", "x" * 480, "#", "a b", "\U0001f600"])
def test_any_name_of_a_session_works_from_end_to_end(talk, session):
    sent = talk.push("hello", session=session)
    assert talk.conversation(session).wait(sent).text == "echo: hello"


def test_nothing_of_a_session_overtakes_a_failed_message(talk):
    talk.bot.answer_with(OVERLOADED, Answer(429))
    sent = [talk.push(f"m{n}") for n in range(5)]
    for one in sent:
        talk.deployed.accepted(one)
    accepted = [json.loads(r.body)["message"][0]["text"] for r in talk.bot.received if r.status == 202]
    assert accepted == [f"m{n}" for n in range(5)]


def test_a_refused_message_gets_a_fresh_key_since_langbot_burned_the_first(talk):
    talk.bot.answer_with(OVERLOADED)
    sent = talk.push("hello")
    assert talk.conversation().wait(sent).text == "echo: hello"
    first, second = talk.keys()
    assert first != second
    assert talk.deployed.record(sent)["attempts"] == 2


@pytest.mark.parametrize(
    "fault",
    [
        Answer(drop=True, takes="message"),
        Answer(500, "oops", takes="message"),
        Answer(202, "not JSON", takes="message"),
        Answer(504, "", takes="message"),
    ],
    ids=["dropped", "500", "not-json", "504"],
)
def test_an_accepted_message_whose_response_was_lost_is_not_sent_twice(talk, fault):
    talk.bot.answer_with(fault)
    talk.bot.awake.clear()  # the reply identifies the message, so it must wait
    sent = talk.push("hello")
    record = talk.deployed.state(sent, "delivered")
    assert "accepted_message_id" not in record
    first, second = talk.keys()
    assert first == second
    talk.bot.awake.set()
    eventually(talk.parts)
    assert [turn.text for turn in talk.conversation().turns()] == ["echo: hello"]


def test_a_message_with_an_unknown_outcome_is_sent_again_with_the_same_key(talk):
    talk.bot.answer_with(Answer(drop=True))
    sent = talk.push("hello")
    assert talk.conversation().wait(sent).text == "echo: hello"
    assert len(set(talk.keys())) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 405, 429, 302, 500, 502, 503])
def test_a_fault_of_the_bot_is_retried_and_recorded(talk, status):
    talk.bot.answer_with(Answer(status, headers={"Location": "/elsewhere"}))
    sent = talk.push("hello")
    assert talk.conversation().wait(sent).text == "echo: hello"
    failed, accepted = talk.deployed.record(sent)["last_attempts"]
    assert (failed["status"], accepted["status"]) == (status, 202)
    assert failed["error"].startswith(f"answered {status}")
    assert [failed["key"], accepted["key"]] == talk.keys()


def test_a_record_shows_how_long_an_attempt_took(talk):
    talk.bot.answer_with(Answer(delay=0.3))
    (attempt,) = talk.deployed.accepted(talk.push("hello"))["last_attempts"]
    assert attempt["ms"] >= 300


def test_the_messages_of_a_day_are_found_newest_first(talk):
    sent = [talk.push("hello", session=f"s{n}") for n in range(3)]
    records = [talk.deployed.accepted(one) for one in sent]
    found = talk.deployed.stack.open_messages_table().recent(records[0]["queued_on"])
    sessions = [key["session"] for key in found if key["session"].startswith(talk.name)]
    assert sessions == [f"{talk.name}#s{n}" for n in (2, 1, 0)]


def test_retry_after_is_honoured(talk):
    talk.bot.answer_with(Answer(429, headers={"Retry-After": "4"}))
    talk.deployed.accepted(talk.push("hello"))
    first, second = talk.bot.received
    assert second.at - first.answered_at >= 4


def test_a_message_langbot_cannot_read_is_parked_and_its_session_goes_on(talk):
    sent = talk.push(message=[{"type": "Image"}, {"type": "Plain", "text": "x"}], sender=None)
    talk.conversation().wait(sent)
    talk.bot.answer_with(UNPARSED)
    bad, good = talk.push("bad"), talk.push("good")
    assert talk.conversation().wait(good).text == "echo: good"
    record = talk.deployed.record(bad)
    assert (record["state"], record["reason"]) == ("parked", "answered 400: failed to parse message: x")
    with pytest.raises(MessageParked, match="answered 400"):
        talk.conversation().wait(bad)


def send_to_session(talk, body):
    """Send a body that the client library would refuse to the message group of the talk's session."""
    return send_raw(talk, body, group_id=f"{talk.name}#{talk.session}")


def parked_record(talk, message_id):
    """Return the record of a message by its id, once it waits for an operator."""
    messages = Messages(talk.deployed.stack)

    def look():
        return next((one for one in messages.awaiting_operator() if one["message_id"] == message_id), None)

    return eventually(look, what=f"{message_id}, parked")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("hello", "not valid JSON"),
        ("[1]", "it must be object"),
        ('{"text": "x"}', "session_id is required"),
        ('{"session_id": "S", "text": 5}', "text must be string"),
        ('{"session_id": "S", "text": "x", "action": "shout"}', "action must be one of"),
        ('{"session_id": "S", "text": "\\ud800"}', "text holds a lone surrogate"),
        ("[" * 10_000 + "]" * 10_000, "nested deeper than 200 levels"),
        ('{"session_id": "S", "text": "x", "bot": "no-such-bot"}', "no bot 'no-such-bot'"),
    ],
    ids=lambda value: value[:24] if value.isprintable() else None,
)
def test_an_invalid_message_is_parked_and_its_session_goes_on(talk, body, reason):
    message_id = send_to_session(talk, body)
    assert talk.conversation().wait(talk.push("next")).text == "echo: next"
    record = parked_record(talk, message_id)
    assert (record["state"], record["body"]) == ("parked", body)
    assert reason in record["reason"]
    assert len(talk.bot.received) == 1


def test_a_message_too_large_for_langbot_is_parked_before_it_is_sent(talk):
    # Written compactly it fits into SQS; LangBot counts the bytes of the request.
    fields = {"session_id": talk.session, "bot": talk.name, "text": ""}
    fields["text"] = "x" * (2**20 - len(json.dumps(fields, separators=(",", ":"))))
    message_id = send_to_session(talk, json.dumps(fields, separators=(",", ":")))
    assert talk.conversation().wait(talk.push("next")).text == "echo: next"
    record = parked_record(talk, message_id)
    assert "LangBot takes 1048576" in record["reason"]
    assert json.loads(Messages(talk.deployed.stack).body(record)) == fields
    assert len(talk.bot.received) == 1


def test_a_message_too_large_for_its_record_is_in_the_overflow_bucket(talk):
    sent = talk.push("x" * 500_000)
    record = talk.deployed.accepted(sent)
    bucket = talk.deployed.stack.overflow_bucket
    kept = talk.deployed.client("s3").get_object(Bucket=bucket, Key=record["overflow"])["Body"].read()
    assert json.loads(kept)["text"] == "x" * 500_000


def test_a_bot_without_a_url_gets_its_messages_once_it_has_one(talk):
    connect = talk.deployed.local.connect
    connect("", IN, OUT, bot=talk.name)
    sent = talk.push("hello")
    record = talk.deployed.state(sent, "retrying")
    assert record["last_error"] == f"the secret of bot '{talk.name}': url is empty or missing"
    connect(talk.bot.url, IN, OUT, bot=talk.name)
    assert talk.conversation().wait(sent).text == "echo: hello"


def test_a_secret_that_was_wrong_is_read_again_before_the_next_attempt(talk):
    connect = talk.deployed.local.connect
    connect(talk.bot.url, "wrong", OUT, bot=talk.name)
    sent = talk.push("hello")
    assert "answered 401" in talk.deployed.state(sent, "retrying")["last_error"]
    connect(talk.bot.url, IN, OUT, bot=talk.name)
    assert talk.conversation().wait(sent).text == "echo: hello"


def test_sessions_are_sent_side_by_side(talk):
    talk.bot.answer_with(*[Answer(delay=1.5)] * 8)
    sent = [talk.push("hello", session=f"{talk.session}-{n}") for n in range(4)]
    for one in sent:
        talk.deployed.accepted(one)
    assert any(later.at < earlier.answered_at for earlier, later in pairwise(talk.bot.received))


def test_a_bot_that_is_down_is_not_tried_by_every_message(talk):
    talk.bot.answer_with(*[Answer(502, delay=0.2)] * 10)
    for n in range(10):
        talk.push("hello", session=f"{talk.session}-{n}")
    eventually(lambda: talk.bot.received)
    time.sleep(1.5)
    assert len(talk.bot.received) < 10


def test_a_sync_reply_is_in_the_table_like_any_part(talk):
    sent = talk.push("LONG:5:5", action="sync")
    turn = talk.conversation().wait(sent)
    assert (turn.text, turn.finished) == ("w001 w002 w003 w004 w005 ", True)
    record = talk.deployed.record(sent)
    assert (record["state"], record["answered_by"]) == ("answered", turn.reply_to)


def test_a_sync_call_without_a_reply_stays_open(talk):
    empty = {"code": 0, "msg": "ok", "data": {"reply_to": "in_x", "message": [], "session_id": talk.session}}
    talk.bot.answer_with(Answer(200, empty))
    sent = talk.push("hello", action="sync")
    assert talk.deployed.state(sent, "delivered")["accepted_message_id"] == "in_x"
    assert talk.parts() == []


def test_a_sync_reply_is_between_the_parts_around_it(talk):
    talk.conversation().wait(talk.push("one"))
    talk.conversation().wait(talk.push("two", action="sync"))
    talk.conversation().wait(talk.push("three"))
    assert [part["text"] for part in talk.parts()] == ["echo: one", "echo: two", "echo: three"]


def test_a_slow_sync_call_does_not_hold_up_another_bot(talk, deployed):
    sent = talk.push("SLEEP:8 slow", action="sync")
    eventually(lambda: talk.bot.received)
    with new_bot(deployed) as neighbour:
        neighbour.conversation().wait(neighbour.push("hello"))
    assert [request.status for request in talk.bot.received] == [None]  # the call still goes on
    talk.deployed.state(sent, "answered")


def test_a_bot_that_is_slow_to_respond_does_not_hold_up_another_bot(talk, deployed):
    talk.bot.answer_with(*[Answer(delay=9)] * 8)
    for number in range(8):
        talk.push("hello", session=f"s{number}")
    eventually(lambda: len(talk.bot.received) >= 2)
    with new_bot(deployed) as neighbour:
        neighbour.conversation().wait(neighbour.push("hello"))
    assert None in [request.status for request in talk.bot.received]  # an attempt still goes on


def test_a_bot_gets_one_sync_call_at_a_time(talk):
    sent = [talk.push("SLEEP:1 slow", session=f"s{n}", action="sync") for n in range(3)]
    for one in sent:
        talk.deployed.state(one, "answered")
    first, second, third = talk.bot.received
    assert first.answered_at <= second.at
    assert second.answered_at <= third.at


def test_a_sync_call_waits_until_its_session_has_no_open_message(talk):
    earlier, sync = talk.push("SLEEP:3 one"), talk.push("two", action="sync")
    own = {one: talk.deployed.state(one, "answered") for one in (earlier, sync)}
    assert own[sync]["delivered_at"] > own[earlier]["answered_at"]
    assert talk.conversation().wait(earlier).text == "echo: SLEEP:3 one"
    assert talk.conversation().wait(sync).text == "echo: two"


def test_nothing_of_its_session_overtakes_a_sync_call(talk):
    talk.push("SLEEP:1 one", action="sync")
    talk.conversation().wait(talk.push("two"))
    assert talk.texts() == ["SLEEP:1 one", "two"]


def test_a_sync_call_too_large_for_its_record_is_made(talk):
    sent = talk.push("x" * 500_000, action="sync")
    assert "overflow" in talk.deployed.state(sent, "answered")
    assert talk.texts() == ["x" * 500_000]


def test_a_sync_call_of_a_bot_that_fails_is_retried(talk):
    talk.bot.answer_with(Answer(502))
    sent = talk.push("hello", action="sync")
    assert talk.deployed.state(sent, "answered")["attempts"] == 2


def test_a_reset_that_langbot_cannot_do_does_not_hold_up_its_session(talk):
    sent, following = talk.push(action="reset"), talk.push("next")
    assert talk.conversation().wait(following).text == "echo: next"
    assert talk.deployed.record(sent)["state"] == "parked"


def test_a_reset_is_sent_in_the_order_of_its_session(talk):
    talk.bot.answer_with(Answer(), Answer(200, {"code": 0, "msg": "reset", "data": {"removed": True}}))
    sent = [talk.push("one"), talk.push(action="reset"), talk.push("two")]
    for one in sent:
        assert talk.deployed.accepted(one)
    assert [r.path.rpartition("/")[2] for r in talk.bot.received] == ["sample", "reset", "sample"]
