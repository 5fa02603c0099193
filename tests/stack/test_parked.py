"""What somebody can do about a message that ended badly, on the deployed stack."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from batches import again, at, deliver, queued
from test_settling import make_overdue, reply, sweep

from conftest import eventually
from local.sample_bot import Answer
from relay import Messages, NotOpen, Parked
from relay.rules.ledger import key, message_key
from relay.rules.message import InvalidMessage, parse

REFUSED = Answer(400, {"code": 40001, "data": None, "msg": "failed to parse message: x"})


@pytest.fixture
def messages(talk):
    return Messages(talk.deployed.stack)


def park(talk, text="hello", **more):
    """A message that LangBot refused for good, and its entry."""
    talk.bot.answer_with(REFUSED)
    sent = talk.push(text, **more)
    item = talk.deployed.state(sent, "parked")
    eventually(lambda: sent.message_id in on_the_parked_queue(talk))  # it comes there a moment later
    return sent, item


def on_the_parked_queue(talk):
    """The ids of the test's messages on ParkedQueue, and what stands beside them."""
    sqs, url = talk.deployed.client("sqs"), talk.deployed.stack.parked_queue_url
    found, handles = {}, []
    while some := sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"], MessageAttributeNames=["All"]
    ).get("Messages"):
        for message in some:
            handles.append(message["ReceiptHandle"])
            beside = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
            if beside["session"].startswith((f"{talk.name}#", f"#{talk.name}")):
                found[message["Attributes"]["MessageDeduplicationId"]] = beside | {"body": message["Body"]}
    for handle in handles:
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
    return found


def texts(talk):
    return [json.loads(request.body)["message"][0]["text"] for request in talk.bot.received]


def test_a_parked_message_keeps_what_a_person_needs_in_the_ledger_and_on_the_queue(talk):
    sent, item = park(talk)
    assert item["reason"] == "answered 400: failed to parse message: x"
    assert item["attempts"] == 1
    assert json.loads(item["body"])["text"] == "hello"
    assert item["last_answer"]["status"] == 400
    assert json.loads(item["last_answer"]["body"])["code"] == 40001
    beside = on_the_parked_queue(talk)[sent.message_id]
    for name in ("session", "message", "reason", "queued_at", "first_failed_at", "parked_at"):
        assert beside[name] == item[name]
    assert (beside["attempts"], beside["answer_status"]) == ("1", "400")
    assert beside["answer_body"] == item["last_answer"]["body"]
    assert json.loads(beside["body"])["text"] == "hello"


def test_of_a_long_answer_the_first_two_kilobytes_are_kept(talk):
    talk.bot.answer_with(Answer(400, "\0ä" * 5000))
    sent = talk.push("hello")
    answer = talk.deployed.state(sent, "parked")["last_answer"]
    assert len(answer["body"].encode()) in (2048, 2050)  # a character cut in two counts as three bytes
    beside = eventually(lambda: on_the_parked_queue(talk).get(sent.message_id))
    assert "\ufffdä" in beside["answer_body"]


def test_the_last_answer_is_kept_though_the_last_attempt_had_none(talk, courier):
    talk.bot.answer_with(Answer(503, "busy"), Answer(drop=True))
    message, now = queued(talk), int(time.time())
    deliver(at(courier, now), message)
    deliver(at(courier, now + 3600), again(message))
    item = courier.ledger.read(key(message, parse(message.body)))
    assert (item["state"], item["last_error"]) == ("parked", "the connection broke before the answer")
    assert item["last_answer"] == {"status": 503, "body": "busy"}


def test_what_is_parked_is_listed_in_the_order_of_its_parking(talk, messages):
    ids = [park(talk, session=f"s{n}")[0].message_id for n in (2, 1, 3)]
    assert [item["message_id"] for item in messages.parked() if item.get("bot") == talk.name] == ids


def test_a_resent_message_is_its_sessions_next_and_both_know_of_each_other(talk, messages):
    sent, item = park(talk, "first")
    talk.conversation().wait(talk.push("second"))
    again = messages.resend(item)
    assert talk.conversation().wait(again).text == "echo: first"
    assert texts(talk) == ["first", "second", "first"]
    old, new = talk.deployed.ledger(sent), talk.deployed.ledger(again)
    assert (old["state"], old["resent_as"]) == ("resent", new["message"])
    assert (new["resend_of"], new["attempts"]) == (old["message"], 1)
    assert not {"awaiting", "due_at"} & old.keys()
    assert sent.message_id not in on_the_parked_queue(talk)
    assert item["message_id"] not in [one["message_id"] for one in messages.parked()]
    assert len(set(talk.keys())) == 3


def test_to_wait_for_a_message_is_to_wait_for_the_one_that_repeats_it(talk, messages):
    sent, item = park(talk)
    messages.resend(item)
    eventually(lambda: talk.deployed.ledger(sent)["state"] == "resent")
    assert talk.conversation().wait(sent).text == "echo: hello"


def test_resending_twice_sends_once(talk, messages):
    sent, item = park(talk)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: messages.resend(item), range(4)))
    talk.deployed.state(sent, "resent")
    assert messages.resend(talk.deployed.ledger(sent)) is None
    talk.conversation().wait(talk.push("then"))
    assert texts(talk) == ["hello", "hello", "then"]


def test_a_command_that_was_cut_off_can_be_given_again(talk, messages, monkeypatch):
    def cut_off(*_):
        raise KeyboardInterrupt

    sent, item = park(talk)
    with monkeypatch.context() as patch:
        patch.setattr(messages, "_off_the_parked_queue", cut_off)
        with pytest.raises(KeyboardInterrupt):
            messages.resend(item)
    resent = talk.deployed.state(sent, "resent")
    assert messages.resend(resent) is None
    assert sent.message_id not in on_the_parked_queue(talk)
    talk.conversation().wait(sent)
    assert len(talk.bot.received) == 2


def test_a_second_copy_that_the_queue_did_not_recognise_is_dropped_and_says_why(talk, messages):
    _, item = park(talk)
    first = messages.resend(item)
    talk.deployed.state(first, "delivered", "answered")
    copy = talk.deployed.client("sqs").send_message(
        QueueUrl=talk.deployed.stack.push_queue_url,
        MessageBody=item["body"],
        MessageGroupId=f"{talk.name}#{talk.session}",
        MessageDeduplicationId="minutes-later",
        MessageAttributes={"resend_of": {"DataType": "String", "StringValue": item["message"]}},
    )
    dropped = eventually(
        lambda: next(
            (m for m in messages.of_session(talk.session, talk.name) if m["message_id"] == copy["MessageId"]),
            None,
        )
    )
    assert dropped["state"] == "dropped"
    assert message_key(first.sequence_number) in dropped["drop_reason"]
    assert len(talk.bot.received) == 2


def test_an_unanswered_message_can_be_resent_and_a_late_answer_to_it_still_counts(talk, messages):
    sent = talk.push("SILENT")
    reply_to = make_overdue(talk, sent)["accepted_message_id"]
    sweep(talk)
    again = messages.resend(talk.deployed.state(sent, "unanswered"))
    talk.deployed.state(again, "delivered")
    assert talk.deployed.ledger(sent)["state"] == "resent"
    reply(talk, reply_to, text="late")
    assert talk.deployed.state(sent, "answered")["resent_as"] == message_key(again.sequence_number)


def test_a_message_that_was_answered_meanwhile_is_not_sent_again(talk, messages):
    sent = talk.push("SILENT")
    reply_to = make_overdue(talk, sent)["accepted_message_id"]
    sweep(talk)
    unanswered = talk.deployed.state(sent, "unanswered")
    reply(talk, reply_to, text="late")
    talk.deployed.state(sent, "answered")
    again = messages.resend(unanswered)
    assert talk.deployed.state(again, "dropped")["drop_reason"] == "the message that it repeats is answered"
    with pytest.raises(NotOpen, match="the message is answered"):
        messages.resend(talk.deployed.ledger(sent))
    assert len(talk.bot.received) == 1


def test_a_resent_message_that_fails_again_is_parked_again_and_can_be_resent_again(talk, messages):
    _, item = park(talk)
    talk.bot.answer_with(REFUSED)
    second = talk.deployed.state(messages.resend(item), "parked")
    third = messages.resend(second)
    assert talk.conversation().wait(third).text == "echo: hello"
    assert talk.deployed.ledger(third)["resend_of"] == second["message"]


def test_a_message_that_would_only_be_parked_again_is_refused_and_stays(talk, messages):
    sent, item = park(talk)
    with pytest.raises(InvalidMessage):
        messages.resend(item | {"body": "no message"})
    assert sent.message_id in on_the_parked_queue(talk)


def test_a_message_too_large_for_its_entry_is_resent_whole(talk, messages):
    _, item = park(talk, "x" * 500_000)
    assert "overflow" in item
    talk.conversation().wait(messages.resend(item))
    assert texts(talk) == ["x" * 500_000] * 2


def test_parking_and_resending_keep_the_order_of_what_is_left(talk, messages):
    parked = [park(talk, f"bad {n}")[1] for n in range(2)]
    talk.push("SLEEP:0.5 good 0")
    messages.resend(parked[1])
    messages.resend(parked[0])
    talk.conversation().wait(talk.push("good 1"))
    assert texts(talk) == ["bad 0", "bad 1", "SLEEP:0.5 good 0", "bad 1", "bad 0", "good 1"]


def test_a_dropped_message_is_closed_for_good_with_a_reason(talk, messages):
    sent, item = park(talk)
    messages.drop(item, "asked in person")
    messages.drop(item, "a second time changes nothing")
    dropped = talk.deployed.ledger(sent)
    assert (dropped["state"], dropped["drop_reason"]) == ("dropped", "asked in person")
    assert sent.message_id not in on_the_parked_queue(talk)
    with pytest.raises(NotOpen, match="the message is dropped"):
        messages.resend(dropped)
    with pytest.raises(Parked, match="dropped: asked in person"):
        talk.conversation().wait(sent)


def test_a_reply_to_a_dropped_message_does_not_open_it_again(talk, messages):
    sent = talk.push("SILENT")
    reply_to = make_overdue(talk, sent)["accepted_message_id"]
    sweep(talk)
    messages.drop(talk.deployed.state(sent, "unanswered"), "too late")
    reply(talk, reply_to, text="late")
    talk.conversation().wait(talk.push("then"))
    assert talk.deployed.ledger(sent)["state"] == "dropped"


def test_a_message_that_ended_well_cannot_be_dropped(talk, messages):
    sent = talk.push("hello")
    with pytest.raises(NotOpen, match="the message is answered"):
        messages.drop(talk.deployed.state(sent, "answered"), "why not")


def test_one_message_is_taken_off_the_queue_whatever_lies_before_it(talk, messages):
    items = [park(talk, f"m{n}")[1] for n in range(12)]
    messages.drop(items[-1], "the last")
    left = on_the_parked_queue(talk)
    assert set(left) == {item["message_id"] for item in items[:-1]}


def test_those_who_drop_at_the_same_time_leave_nothing_on_the_queue(talk):
    items = [park(talk, f"m{n}")[1] for n in range(12)]
    with ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda item: Messages(talk.deployed.stack).drop(item, "all at once"), items))
    assert not on_the_parked_queue(talk)


def test_a_message_is_taken_off_the_queue_though_somebody_was_looking_at_it(talk, messages):
    _, item = park(talk)
    sqs, url = talk.deployed.client("sqs"), talk.deployed.stack.parked_queue_url

    def lie_there():
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(map(int, counts.values()))

    before = lie_there()
    while sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=5).get("Messages"):
        pass
    messages.drop(item, "seen to")
    assert lie_there() == before - 1


def test_where_it_is_not_on_the_queue_that_is_said_and_the_message_is_closed(talk, messages, caplog):
    sent, item = park(talk)
    messages.drop(item, "seen to")
    assert not caplog.messages
    messages.drop(item, "seen to")
    assert caplog.messages == ["not seen on ParkedQueue; if the alarm stays up, give the same command again"]
    assert talk.deployed.ledger(sent)["state"] == "dropped"


def test_what_was_seen_to_is_not_listed_though_the_index_still_has_it(talk, messages, monkeypatch):
    _, item = park(talk)
    messages.drop(item, "seen to")
    stale = [{"session": item["session"], "message": item["message"]}]
    monkeypatch.setattr("relay.edge.ledger.Ledger._query", lambda *_, **__: iter(stale))
    assert not list(messages.parked())


def test_a_message_that_says_what_it_repeats_in_no_known_way_is_parked(talk):
    began = time.time()
    talk.deployed.client("sqs").send_message(
        QueueUrl=talk.deployed.stack.push_queue_url,
        MessageBody=json.dumps({"session_id": talk.session, "bot": talk.name, "text": "x"}),
        MessageGroupId=talk.session,
        MessageDeduplicationId=str(began),
        MessageAttributes={"resend_of": {"DataType": "String", "StringValue": "7"}},
    )
    items = eventually(lambda: list(Messages(talk.deployed.stack).of_session(talk.session, talk.name)))
    assert [item["reason"] for item in items] == ["resend_of is no message's key"]
    assert not talk.bot.received
