"""What an operator can do about a message that ended badly, on the deployed stack."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.sample_bot import Answer
from relay import InvalidMessage, InvalidState, MessageParked, Messages
from relay.adapters.dynamodb import Table
from relay.adapters.messages_table import MessagesTable
from relay.adapters.queue_size import MAX_QUEUED_BYTES
from relay.domain.keys import message_key
from support.callbacks import reply
from support.due_items import handle_due, make_overdue
from support.parked_messages import UNPARSED, park
from support.queued_messages import again, deliver, queued
from support.raw_messages import send_raw
from support.waiting import eventually


@pytest.fixture
def messages(talk):
    return Messages(talk.deployed.stack)


@pytest.fixture
def unanswered(talk):
    """Push a message that stays unanswered; return it and its record."""
    sent = talk.push("SILENT")
    make_overdue(talk, sent)
    handle_due(talk)
    return sent, talk.deployed.state(sent, "unanswered")


def waiting(talk, messages):
    """Return the ids of the test's messages that wait for an operator."""
    return [one["message_id"] for one in messages.awaiting_operator() if one.get("bot") == talk.name]


def records_after(talk, messages, sent):
    """Return the records of the session's messages that came after one."""
    records = messages.of_session(talk.session, talk.name)
    return [record for record in records if record["message"] > message_key(sent.sequence_number)]


# ---------------------------------------------------------------- parked


def test_the_record_has_what_an_operator_needs(talk):
    sent, record = park(talk)
    assert record["reason"] == "answered 400: failed to parse message: x"
    assert record["attempts"] == 1
    assert json.loads(record["body"])["text"] == "hello"
    assert record["last_response"]["status"] == 400
    assert json.loads(record["last_response"]["body"])["code"] == 40001
    assert {"queued_at", "first_failed_at", "parked_at", "last_attempts"} <= record.keys()
    assert record["message_id"] == sent.message_id


def test_the_first_two_kilobytes_of_a_long_response_are_kept(talk):
    talk.bot.answer_with(Answer(400, '{"code": 40001, "msg": "' + "\0ä" * 5000 + '"}'))
    sent = talk.push("hello")
    response = talk.deployed.state(sent, "parked")["last_response"]
    assert len(response["body"].encode()) in (2048, 2050)  # a character cut in two counts as three bytes
    assert "\0ä" in response["body"]


def test_the_last_response_is_kept_if_the_last_attempt_had_none(talk, workers):
    talk.bot.answer_with(Answer(503, "busy"), Answer(drop=True))
    message, now = queued(talk), int(time.time())
    deliver(workers.at(now).dispatcher(), message)
    deliver(workers.at(now + 3600).dispatcher(), again(message))
    record = workers.record(message)
    assert (record["state"], record["last_error"]) == ("parked", "the connection broke before the response")
    assert record["last_response"] == {"status": 503, "body": "busy"}


def test_parked_messages_are_listed_in_the_order_of_parking(talk, messages):
    ids = [park(talk, session=f"s{n}")[0].message_id for n in (2, 1, 3)]
    assert waiting(talk, messages) == ids


def test_a_message_with_an_invalid_resend_of_is_parked(talk, messages):
    body = json.dumps({"session_id": talk.session, "bot": talk.name, "text": "x"})
    send_raw(talk, body, group_id=talk.session, resend_of="7")
    records = eventually(lambda: list(messages.of_session(talk.session, talk.name)))
    assert [record["reason"] for record in records] == ["resend_of is no message's key"]
    assert not talk.bot.received


# ---------------------------------------------------------------- resent


def test_a_resend_is_its_sessions_next_and_each_record_names_the_other(talk, messages):
    sent, record = park(talk, "first")
    talk.conversation().wait(talk.push("second"))
    resent = messages.resend(record)
    assert talk.conversation().wait(resent).text == "echo: first"
    assert talk.texts() == ["first", "second", "first"]
    old, new = talk.deployed.record(sent), talk.deployed.record(resent)
    assert (old["state"], old["resent_as"]) == ("resent", new["message"])
    assert (new["resend_of"], new["attempts"]) == (old["message"], 1)
    assert not {"awaiting", "due_at"} & old.keys()
    assert not waiting(talk, messages)
    assert len(set(talk.keys())) == 3


def test_wait_for_a_resent_message_waits_for_its_resend(talk, messages):
    sent, record = park(talk)
    messages.resend(record)
    talk.deployed.state(sent, "resent")
    assert talk.conversation().wait(sent).text == "echo: hello"


def test_resending_twice_sends_once(talk, messages):
    sent, record = park(talk)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: messages.resend(record), range(4)))
    talk.deployed.state(sent, "resent")
    assert messages.resend(talk.deployed.record(sent)) is None
    talk.conversation().wait(talk.push("then"))
    assert talk.texts() == ["hello", "hello", "then"]


def test_a_resend_that_was_interrupted_can_be_repeated(talk, messages, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    sent, record = park(talk)
    with monkeypatch.context() as patch:
        patch.setattr(MessagesTable, "mark_resent", interrupted)
        with pytest.raises(KeyboardInterrupt):
            messages.resend(record)
    resent = talk.deployed.state(sent, "resent")
    assert messages.resend(resent) is None
    talk.conversation().wait(sent)
    assert len(talk.bot.received) == 2


def test_a_second_resend_that_the_queue_accepted_is_dropped_with_a_reason(talk, messages):
    _, record = park(talk)
    first = messages.resend(record)
    talk.deployed.accepted(first)
    group_id = f"{talk.name}#{talk.session}"
    second = send_raw(talk, record["body"], group_id, resend_of=record["message"])

    (dropped,) = eventually(lambda: records_after(talk, messages, first))
    assert (dropped["message_id"], dropped["state"]) == (second, "dropped")
    assert dropped["drop_reason"] == "the original message is resent"
    assert len(talk.bot.received) == 2


def test_a_late_reply_to_a_resent_message_still_counts(talk, messages, unanswered):
    sent, record = unanswered
    resent = messages.resend(record)
    talk.deployed.state(resent, "delivered")
    assert talk.deployed.record(sent)["state"] == "resent"
    reply(talk, record["accepted_message_id"], text="late")
    assert talk.deployed.state(sent, "answered")["resent_as"] == message_key(resent.sequence_number)


def test_a_message_that_was_answered_meanwhile_is_not_sent_again(talk, messages, unanswered):
    sent, record = unanswered
    reply(talk, record["accepted_message_id"], text="late")
    answered = talk.deployed.state(sent, "answered")
    for known in (record, answered):
        with pytest.raises(InvalidState, match="message is answered"):
            messages.resend(known)
    (copy,) = eventually(lambda: records_after(talk, messages, sent))
    assert (copy["state"], copy["drop_reason"]) == ("dropped", "the original message is answered")
    assert len(talk.bot.received) == 1


def test_a_resend_on_the_queue_is_dropped_if_a_late_reply_answers_the_original(talk, messages, unanswered):
    sent, record = unanswered
    talk.bot.answer_with(Answer(429, headers={"Retry-After": "4"}))
    talk.push("before it")
    eventually(lambda: len(talk.bot.received) == 2)
    resent = messages.resend(record)
    reply(talk, record["accepted_message_id"], text="late")
    assert talk.deployed.state(sent, "answered")["resent_as"] == message_key(resent.sequence_number)
    assert talk.deployed.state(resent, "dropped")["drop_reason"] == "the original message is answered"
    assert talk.conversation().wait(sent).text == "late"
    assert talk.texts() == ["SILENT", "before it", "before it"]


def test_a_resent_message_that_is_parked_can_be_resent(talk, messages):
    _, record = park(talk)
    talk.bot.answer_with(UNPARSED)
    second = talk.deployed.state(messages.resend(record), "parked")
    third = messages.resend(second)
    assert talk.conversation().wait(third).text == "echo: hello"
    assert talk.deployed.record(third)["resend_of"] == second["message"]


def test_a_message_with_a_task_is_parked_if_the_stack_ends_none(talk, relay):
    record = talk.deployed.state(talk.push("hello", reply_to_task="TOKEN"), "parked")
    assert record["reason"] == "reply_to_task: the stack's parameter TaskOwners is empty"
    assert (record["attempts"], talk.bot.received) == (0, [])
    shown = relay("show", "--bot", talk.name, talk.session, "--json").stdout
    assert json.loads(shown)["record"]["reply_to_task"] == "hidden"
    assert "TOKEN" not in shown


def test_an_invalid_message_is_not_resent_and_stays_parked(talk, messages):
    sent, record = park(talk)
    with pytest.raises(InvalidMessage):
        messages.resend(record | {"body": "no message"})
    assert waiting(talk, messages) == [sent.message_id]


def test_a_message_too_large_for_its_record_is_resent_whole(talk, messages):
    _, record = park(talk, "x" * 500_000)
    assert "overflow" in record
    talk.conversation().wait(messages.resend(record))
    assert talk.texts() == ["x" * 500_000] * 2


def test_a_message_as_large_as_sqs_takes_is_resent(talk, messages, monkeypatch):
    sizes = []
    fields = {"session_id": talk.session, "bot": talk.name, "text": "hello", "more": ""}
    fields["more"] = "x" * (MAX_QUEUED_BYTES - len(json.dumps(fields)))
    talk.bot.answer_with(UNPARSED)
    send_raw(talk, json.dumps(fields), group_id=talk.session)
    (record,) = eventually(lambda: list(messages.of_session(talk.session, talk.name)))
    # The emulator, unlike SQS, does not count a message's attributes to its size.
    sqs = talk.deployed.stack.client("sqs")
    send = sqs.send_message
    monkeypatch.setattr(sqs, "send_message", lambda **sent: sizes.append(len(str(sent))) or send(**sent))
    assert talk.deployed.state(messages.resend(record), "answered")["resend_of"] == record["message"]
    assert sizes[0] < MAX_QUEUED_BYTES / 2


def test_a_resend_sends_what_was_parked_whatever_its_own_body_says(talk, messages):
    _, record = park(talk, "first")
    forged = json.dumps({"session_id": talk.session, "bot": talk.name, "text": "forged"})
    send_raw(talk, forged, f"{talk.name}#{talk.session}", resend_of=record["message"])
    eventually(lambda: len(talk.bot.received) == 2)
    assert talk.texts() == ["first", "first"]


def test_parking_and_resending_keep_the_order_of_the_other_messages(talk, messages):
    records = [park(talk, f"bad {n}")[1] for n in range(2)]
    talk.push("SLEEP:0.5 good 0")
    messages.resend(records[1])
    messages.resend(records[0])
    talk.conversation().wait(talk.push("good 1"))
    assert talk.texts() == ["bad 0", "bad 1", "SLEEP:0.5 good 0", "bad 1", "bad 0", "good 1"]


# ---------------------------------------------------------------- dropped


def test_a_dropped_message_is_closed_for_good_with_a_reason(talk, messages):
    sent, record = park(talk)
    messages.drop(record, "asked in person")
    messages.drop(record, "a second time changes nothing")
    dropped = talk.deployed.record(sent)
    assert (dropped["state"], dropped["drop_reason"]) == ("dropped", "asked in person")
    assert not waiting(talk, messages)
    with pytest.raises(InvalidState, match="the message is dropped"):
        messages.resend(dropped)
    with pytest.raises(MessageParked, match="dropped: asked in person"):
        talk.conversation().wait(sent)


def test_a_reply_to_a_dropped_message_does_not_open_it_again(talk, messages, unanswered):
    sent, record = unanswered
    messages.drop(record, "too late")
    reply(talk, record["accepted_message_id"], text="late")
    talk.conversation().wait(talk.push("then"))
    assert talk.deployed.record(sent)["state"] == "dropped"


def test_a_message_that_ended_well_cannot_be_dropped(talk, messages):
    sent = talk.push("hello")
    with pytest.raises(InvalidState, match="the message is answered"):
        messages.drop(talk.deployed.state(sent, "answered"), "why not")


def test_a_dropped_message_is_not_listed_even_if_the_index_is_behind(talk, messages, monkeypatch):
    _, record = park(talk)
    messages.drop(record, "done")
    stale = [{name: record[name] for name in ("session", "message", "due_at")}]
    monkeypatch.setattr(Table, "query", lambda *_, **__: iter(stale))
    assert not list(messages.awaiting_operator())
