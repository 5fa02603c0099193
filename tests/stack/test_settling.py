"""From "delivered" to "answered" or "unanswered", on the deployed stack."""

import json
import time

import pytest
from test_callback import body, headers, post

from conftest import OUT, eventually
from local.sample_bot import Answer
from relay import NotAnswered
from relay.rules.part import utc
from relay.rules.signing import sign


def sweep_function(talk):
    found = talk.deployed.client("cloudformation").describe_stack_resource(
        StackName="relay-local", LogicalResourceId="SweepFunction"
    )
    return found["StackResourceDetail"]["PhysicalResourceId"]


def sweep(talk):
    answer = talk.deployed.client("lambda").invoke(FunctionName=sweep_function(talk))
    assert "FunctionError" not in answer, answer["Payload"].read()
    return json.loads(answer["Payload"].read())


def make_overdue(talk, sent):
    """As if the message's deadline had just passed."""
    item = talk.deployed.state(sent, "delivered")
    talk.deployed.client("dynamodb").update_item(
        TableName=talk.deployed.stack.messages_table,
        Key={"session": {"S": item["session"]}, "message": {"S": item["message"]}},
        UpdateExpression="SET due_at = :d",
        ExpressionAttributeValues={":d": {"S": utc(time.time())}},
    )
    return item


def reply(talk, reply_to, final=True, text="hi", **fields):
    """A part as LangBot posts it now."""
    message = [{"type": "Plain", "text": text}]
    raw = body(talk, reply_to=reply_to, is_final=final, message=message, **fields)
    assert post(talk, raw).status_code == 200


def test_a_message_is_answered_by_its_own_final_part(talk):
    sent = talk.push("LONG:3:5")
    turn = talk.conversation().wait(sent)
    item = talk.deployed.state(sent, "answered")
    assert (item["answered_by"], item["accepted_message_id"]) == (turn.reply_to, turn.reply_to)
    assert item["answered_at"] == turn.parts[-1]["sent_at"]
    assert not {"awaiting", "due_at", "indirect"} & set(item)


def test_a_final_part_settles_the_messages_that_were_merged_into_its_turn(talk):
    sent = [talk.push("SILENT") for _ in range(3)]
    first, *_ = items = [talk.deployed.state(one, "delivered") for one in sent]
    time.sleep(1.1)  # the signed time has whole seconds
    reply(talk, first["accepted_message_id"])
    settled = [talk.deployed.state(one, "answered") for one in sent]
    assert {item["answered_by"] for item in settled} == {first["accepted_message_id"]}
    assert [item.get("indirect", False) for item in settled] == [False, True, True]
    assert [item["accepted_message_id"] for item in settled] == [i["accepted_message_id"] for i in items]
    assert talk.conversation().wait(sent[2], timeout=1).text == "hi"


def test_an_earlier_message_without_an_answer_is_not_hidden(talk):
    lost, answered = talk.push("SILENT"), talk.push("SILENT")
    talk.deployed.state(lost, "delivered")
    time.sleep(1.1)
    reply(talk, talk.deployed.state(answered, "delivered")["accepted_message_id"])
    talk.deployed.state(answered, "answered")
    assert talk.deployed.ledger(lost)["state"] == "delivered"


def test_a_message_that_was_accepted_after_the_part_was_sent_is_not_settled_by_it(talk):
    first = talk.push("SILENT")
    raw = body(talk, reply_to=talk.deployed.state(first, "delivered")["accepted_message_id"])
    earlier = str(int(time.time()) - 5)
    later = talk.push("SILENT")
    talk.deployed.state(later, "delivered")
    post(talk, raw, {"X-LB-Timestamp": earlier, "X-LB-Signature": sign(OUT, earlier, raw)})
    talk.deployed.state(first, "answered")
    assert talk.deployed.ledger(later)["state"] == "delivered"


def test_a_message_with_a_part_of_its_own_is_not_taken_for_merged(talk):
    first, second = talk.push("SILENT"), talk.push("SILENT")
    ids = [talk.deployed.state(one, "delivered")["accepted_message_id"] for one in (first, second)]
    time.sleep(1.1)
    reply(talk, ids[1], final=False, text="be")
    reply(talk, ids[0])
    talk.deployed.state(first, "answered")
    assert talk.deployed.ledger(second)["state"] == "delivered"
    reply(talk, ids[1], text="begun")
    assert talk.deployed.state(second, "answered")["answered_by"] == ids[1]


def test_a_later_reply_of_its_own_takes_over_from_the_turn_it_was_merged_into(talk):
    first, second = talk.push("SILENT"), talk.push("SILENT")
    ids = [talk.deployed.state(one, "delivered")["accepted_message_id"] for one in (first, second)]
    time.sleep(1.1)
    reply(talk, ids[0])
    talk.deployed.state(second, "answered")
    reply(talk, ids[1], text="my own")
    item = eventually(lambda: i if (i := talk.deployed.ledger(second))["answered_by"] == ids[1] else None)
    assert "indirect" not in item
    assert talk.conversation().wait(second).text == "my own"


def test_to_wait_for_a_message_is_to_wait_for_its_own_reply_while_there_is_time(talk):
    first, second = talk.push("LONG:4:300"), talk.push("second")
    assert talk.conversation().wait(first).text.startswith("w001")
    assert talk.conversation().wait(second).text == "echo: second"


def test_a_proactive_push_answers_nothing(talk):
    sent = talk.push("SILENT")
    talk.deployed.state(sent, "delivered")
    time.sleep(1.1)
    reply(talk, "")
    time.sleep(1)
    assert talk.deployed.ledger(sent)["state"] == "delivered"


def test_a_message_whose_id_is_not_known_takes_the_turn_that_is_nobody_elses(talk):
    talk.bot.answer_with(Answer(drop=True, takes="message"))
    sent = talk.push("hello")  # its reply comes before the 409 that makes it delivered
    item = talk.deployed.state(sent, "answered", within=30)
    (turn,) = talk.conversation().turns()
    assert item["answered_by"] == item["accepted_message_id"] == turn.reply_to


def test_a_reset_takes_no_turn(talk):
    talk.bot.answer_with(Answer(200, {"code": 0, "msg": "reset", "data": {"removed": True}}))
    sent = talk.push(action="reset")
    assert "awaited_reply" not in talk.deployed.state(sent, "delivered")


def test_a_reply_that_is_faster_than_the_ledger_still_settles_its_message(talk):
    talk.bot.answer_with(Answer(202, {"data": {"accepted_message_id": "in_early"}}, delay=1.5))
    sent = talk.push("SILENT")
    eventually(lambda: talk.bot.received)
    reply(talk, "in_early")
    assert talk.deployed.ledger(sent) == {}
    assert talk.deployed.state(sent, "answered", within=30)["answered_by"] == "in_early"


def test_an_overdue_message_is_unanswered_and_says_that_nothing_came(talk):
    sent = talk.push("SILENT")
    make_overdue(talk, sent)
    sweep(talk)
    item = talk.deployed.ledger(sent)
    assert (item["state"], item["last_error"]) == ("unanswered", "no reply")
    with pytest.raises(NotAnswered, match="unanswered"):
        talk.conversation().wait(sent, timeout=0.5)


def test_a_turn_that_stalled_is_told_apart_from_silence(talk):
    sent = talk.push("LONG:8:20 MIDFAIL")
    eventually(lambda: len(talk.conversation().parts()) == 5)
    make_overdue(talk, sent)
    sweep(talk)
    assert talk.deployed.ledger(sent)["last_error"] == "the reply broke off after 5 parts"


def test_a_late_answer_still_counts(talk):
    sent = talk.push("SILENT")
    item = make_overdue(talk, sent)
    sweep(talk)
    reply(talk, item["accepted_message_id"])
    assert talk.deployed.state(sent, "answered")["unanswered_at"]


def test_a_settlement_that_was_missed_is_made_good_by_the_sweep(talk):
    sent = talk.push("hello")
    item = talk.deployed.state(sent, "answered")
    talk.deployed.client("dynamodb").update_item(
        TableName=talk.deployed.stack.messages_table,
        Key={"session": {"S": item["session"]}, "message": {"S": item["message"]}},
        UpdateExpression="SET #s = :d, awaiting = :b, due_at = :t REMOVE answered_by, answered_at",
        ExpressionAttributeNames={"#s": "state"},
        ExpressionAttributeValues={":d": {"S": "delivered"}, ":b": {"S": talk.name}, ":t": {"S": "2020"}},
    )
    sweep(talk)
    assert talk.deployed.ledger(sent)["state"] == "answered"


@pytest.fixture
def resending(talk):
    """As if the stack had been deployed with ResendUnanswered=1."""
    functions, name = talk.deployed.client("lambda"), sweep_function(talk)
    before = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    assert before["RESEND_UNANSWERED"] == "0"
    changed = before | {"RESEND_UNANSWERED": "1"}
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": changed})
    yield
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": before})


@pytest.mark.parametrize("length", [1, 500_000], ids=["small", "overflow"])
def test_a_silent_message_is_sent_again_where_the_parameter_says_so(talk, resending, length):
    sent = talk.push("SILENT" + "x" * length)
    before = make_overdue(talk, sent)
    sweep(talk)
    after = talk.deployed.ledger(sent)
    assert (after["state"], after["resends"]) == ("delivered", 1)
    assert after["accepted_message_id"] != before["accepted_message_id"]
    reply(talk, before["accepted_message_id"], text="late")
    assert talk.deployed.state(sent, "answered")["answered_by"] == before["accepted_message_id"]


def test_a_message_that_expects_no_reply_is_never_unanswered(talk):
    sent = talk.push("SILENT", expect_reply=False)
    item = talk.deployed.state(sent, "delivered")
    assert "due_at" not in item
    sweep(talk)
    assert talk.deployed.ledger(sent)["state"] == "delivered"


def test_settling_again_or_in_another_order_gives_the_same(talk):
    sent = talk.push("SILENT")
    reply_to = talk.deployed.state(sent, "delivered")["accepted_message_id"]
    now = int(time.time())
    for at in (now - 10, now - 30, now - 20, now - 30):
        raw = body(talk, reply_to=reply_to, sequence=at)
        post(talk, raw, headers(raw, timestamp=str(at)))
    parts = talk.conversation().parts()
    first = min(part["sent_at"] for part in parts)
    eventually(lambda: talk.deployed.ledger(sent).get("answered_at") == first)
    time.sleep(1)
    assert talk.deployed.ledger(sent)["answered_at"] == first
