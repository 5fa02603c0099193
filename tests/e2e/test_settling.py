"""From "delivered" to "answered" or "unanswered", on the deployed stack."""

import time

import pytest

from local.sample_bot import Answer
from relay import ReplyTimeout
from relay.domain.keys import record_key
from relay.domain.timestamps import utc_text
from support.bots import change_secret
from support.callbacks import part_body, post_part, reply, signed_headers
from support.due_items import handle_due, make_overdue, no_schedule, set_attribute
from support.waiting import eventually

NEXT_SECOND = 1.1
"""Seconds until a signed time, which has whole seconds, is later than a moment before."""


def answered_by_recheck(talk, sent):
    """Return the record of a message that is answered when its final part is checked again, 5 s later."""

    def look():
        handle_due(talk)
        record = talk.deployed.record(sent)
        return record if record and record["state"] == "answered" else None

    return eventually(look, 60, "a recheck")


def test_a_message_is_answered_by_its_own_final_part(talk):
    sent = talk.push("LONG:3:5")
    turn = talk.conversation().wait(sent)
    record = talk.deployed.state(sent, "answered")
    assert (record["answered_by"], record["accepted_message_id"]) == (turn.reply_to, turn.reply_to)
    assert record["answered_at"] == turn.parts[-1]["sent_at"]
    assert not {"awaiting", "due_at"} & set(record)
    assert record["answer_kind"] == "own"


def test_a_final_part_answers_the_messages_merged_into_its_turn(talk):
    sent = [talk.push("SILENT") for _ in range(3)]
    ids = [talk.deployed.state(one, "delivered")["accepted_message_id"] for one in sent]
    time.sleep(NEXT_SECOND)
    reply(talk, ids[0])
    records = [talk.deployed.state(one, "answered") for one in sent]
    assert {record["answered_by"] for record in records} == {ids[0]}
    assert [record["answer_kind"] for record in records] == ["own", "merged", "merged"]
    assert [record["accepted_message_id"] for record in records] == ids
    assert talk.conversation().wait(sent[2], timeout=1).text == "hi"


def test_an_earlier_message_without_an_answer_is_not_hidden(talk):
    lost, answered = talk.push("SILENT"), talk.push("SILENT")
    talk.deployed.state(lost, "delivered")
    time.sleep(NEXT_SECOND)
    reply(talk, talk.deployed.state(answered, "delivered")["accepted_message_id"])
    talk.deployed.state(answered, "answered")
    assert talk.deployed.record(lost)["state"] == "delivered"


def test_a_part_does_not_answer_a_message_accepted_after_it_was_sent(talk):
    first = talk.push("SILENT")
    raw = part_body(talk, reply_to=talk.deployed.state(first, "delivered")["accepted_message_id"])
    earlier = str(int(time.time()) - 5)
    later = talk.push("SILENT")
    talk.deployed.state(later, "delivered")
    post_part(talk, raw, signed_headers(raw, timestamp=earlier))
    talk.deployed.state(first, "answered")
    assert talk.deployed.record(later)["state"] == "delivered"


def test_a_message_with_a_part_of_its_own_does_not_count_as_merged(talk):
    first, second = talk.push("SILENT"), talk.push("SILENT")
    ids = [talk.deployed.state(one, "delivered")["accepted_message_id"] for one in (first, second)]
    time.sleep(NEXT_SECOND)
    reply(talk, ids[1], final=False, text="be")
    reply(talk, ids[0])
    talk.deployed.state(first, "answered")
    assert talk.deployed.record(second)["state"] == "delivered"
    reply(talk, ids[1], text="begun")
    assert talk.deployed.state(second, "answered")["answered_by"] == ids[1]


def test_a_message_counts_as_merged_until_its_own_reply_comes(talk):
    first, second = talk.push("SILENT"), talk.push("SILENT")
    ids = [talk.deployed.state(one, "delivered")["accepted_message_id"] for one in (first, second)]
    time.sleep(NEXT_SECOND)
    reply(talk, ids[0])
    talk.deployed.state(second, "answered")
    reply(talk, ids[1], text="my own")

    eventually(lambda: talk.deployed.record(second)["answered_by"] == ids[1])
    assert talk.deployed.record(second)["answer_kind"] == "own"
    assert talk.conversation().wait(second).text == "my own"


def test_wait_prefers_the_reply_of_the_message_itself(talk):
    first, second = talk.push("LONG:4:300"), talk.push("second")
    assert talk.conversation().wait(first).text.startswith("w001")
    assert talk.conversation().wait(second).text == "echo: second"


def test_a_push_answers_the_message_that_it_quotes(talk):
    other, quoted = talk.push("SILENT"), talk.push("SILENT")
    talk.deployed.state(other, "delivered")
    accepted_id = talk.deployed.state(quoted, "delivered")["accepted_message_id"]
    message = [{"type": "Quote", "id": accepted_id}, {"type": "Plain", "text": "quoting"}]
    post_part(talk, part_body(talk, reply_to="", message=message))
    record = talk.deployed.state(quoted, "answered")
    (part,) = talk.parts()
    assert (record["answered_by"], record["answer_part"]) == ("", part["part"])
    assert record["answer_kind"] == "own"
    assert talk.conversation().wait(quoted).text == "quoting"
    assert talk.deployed.record(other)["state"] == "delivered"


def test_a_push_probably_answers_the_only_message_that_waits(talk):
    sent = talk.push("SILENT")
    accepted_id = talk.deployed.state(sent, "delivered")["accepted_message_id"]
    reply(talk, "", text="pushed")
    assert talk.deployed.state(sent, "answered")["answer_kind"] == "probable"
    assert talk.conversation().wait(sent, timeout=1).text == "pushed"
    reply(talk, accepted_id, text="its own")
    assert talk.conversation().wait(sent).text == "its own"
    eventually(lambda: talk.deployed.record(sent)["answered_by"] == accepted_id)
    record = talk.deployed.record(sent)
    assert record["answer_kind"] == "own"
    assert record["answer_part"] == talk.parts()[-1]["part"]


def push_while_two_wait(talk):
    """Return two messages that wait, in whose session a push has come."""
    sent = [talk.push("SILENT") for _ in range(2)]
    for one in sent:
        talk.deployed.state(one, "delivered")
    reply(talk, "")
    # Settle handles parts in the order in which they came.
    talk.deployed.state(talk.push("later", session=f"{talk.session}-other"), "answered")
    return sent


def test_a_push_answers_nothing_if_several_messages_wait(talk):
    sent = push_while_two_wait(talk)
    for one in sent:
        make_overdue(talk, one)
    handle_due(talk)
    reason = "no reply; 1 pushes came in its session, and none names it"
    assert [talk.deployed.record(one).get("last_error") for one in sent] == [reason] * 2


def test_a_push_that_comes_before_the_record_is_written_answers_it(talk):
    talk.bot.answer_with(Answer(202, {"data": {"accepted_message_id": "in_early"}}, delay=2))
    sent = talk.push("SILENT")
    eventually(lambda: talk.bot.received)
    reply(talk, "")
    assert talk.deployed.record(sent) is None
    assert answered_by_recheck(talk, sent)["answer_kind"] == "probable"


def test_a_bot_that_replies_by_push_gets_one_message_of_a_session_at_a_time(talk):
    change_secret(talk, replies="push")
    first, second = talk.push("SILENT"), talk.push("SILENT")
    other = talk.push("SILENT", session="other")
    record = talk.deployed.state(first, "delivered")
    talk.deployed.state(other, "delivered")
    time.sleep(NEXT_SECOND)
    assert [len(talk.bot.received), record["replies"]] == [2, "push"]
    reply(talk, "", text="to the first")
    assert talk.deployed.state(first, "answered")["answer_kind"] == "push"
    assert talk.conversation().wait(first).text == "to the first"
    talk.deployed.state(second, "delivered")


@pytest.mark.usefixtures("one_resend")
def test_a_push_is_a_sign_of_life_so_that_nothing_is_sent_again(talk):
    sent = push_while_two_wait(talk)
    make_overdue(talk, sent[0])
    handle_due(talk)
    assert talk.deployed.record(sent[0])["state"] == "unanswered"


def test_a_reply_that_is_complete_without_a_final_part_is_answered(talk):
    sent = talk.push("SILENT")
    record = talk.deployed.state(sent, "delivered")
    for sequence, text in enumerate(["It is", "It is 5", "It is 5."], 1):
        reply(talk, record["accepted_message_id"], final=False, text=text, sequence=sequence)
    make_overdue(talk, sent)
    handle_due(talk)
    answered = talk.deployed.record(sent)
    assert (answered["state"], answered["answer_kind"]) == ("answered", "unfinished")
    turn = talk.conversation().wait(sent)
    assert (turn.text, turn.finished) == ("It is 5.", False)
    reply(talk, record["accepted_message_id"], text="It is 5. Goodbye.", sequence=4)
    eventually(lambda: talk.deployed.record(sent)["answer_kind"] == "own")


def test_an_unidentified_message_gets_the_turn_that_no_other_message_began(talk):
    talk.bot.answer_with(Answer(drop=True, takes="message"))
    sent = talk.push("hello")  # its reply comes before the 409 that makes it delivered
    record = answered_by_recheck(talk, sent)
    (turn,) = talk.conversation().turns()
    assert record["answered_by"] == record["accepted_message_id"] == turn.reply_to


def test_a_reset_awaits_no_turn(talk):
    talk.bot.answer_with(Answer(200, {"code": 0, "msg": "reset", "data": {"removed": True}}))
    sent = talk.push(action="reset")
    assert "awaiting" not in talk.deployed.state(sent, "delivered")


def test_a_reply_that_comes_before_the_record_is_written_answers_it(talk):
    talk.bot.answer_with(Answer(202, {"data": {"accepted_message_id": "in_early"}}, delay=1.5))
    sent = talk.push("SILENT")
    eventually(lambda: talk.bot.received)
    reply(talk, "in_early")
    assert talk.deployed.record(sent) is None
    assert answered_by_recheck(talk, sent)["answered_by"] == "in_early"


def test_an_overdue_message_is_unanswered_and_says_that_nothing_came(talk):
    sent = talk.push("SILENT")
    make_overdue(talk, sent)
    handle_due(talk)
    record = talk.deployed.record(sent)
    assert (record["state"], record["last_error"]) == ("unanswered", "no reply")
    with pytest.raises(ReplyTimeout, match="unanswered"):
        talk.conversation().wait(sent, timeout=0.5)


def test_an_unanswered_message_says_how_far_its_reply_came(talk):
    sent = talk.push("LONG:8:20 MIDFAIL")
    eventually(lambda: len(talk.parts()) == 5)
    make_overdue(talk, sent)
    handle_due(talk)
    assert talk.deployed.record(sent)["last_error"] == "the reply broke off after 5 parts"


def test_a_late_answer_still_counts(talk):
    sent = talk.push("SILENT")
    record = make_overdue(talk, sent)
    handle_due(talk)
    reply(talk, record["accepted_message_id"])
    assert talk.deployed.state(sent, "answered")["unanswered_at"]


def test_what_the_stream_did_not_settle_is_settled_at_the_deadline(talk):
    sent = talk.push("hello")
    record = talk.deployed.state(sent, "answered")
    talk.deployed.client("dynamodb").update_item(
        TableName=talk.deployed.stack.messages_table,
        Key={"session": {"S": record["session"]}, "message": {"S": record["message"]}},
        UpdateExpression="SET #s = :d, awaiting = :b, due_at = :t REMOVE answered_by, answered_at",
        ExpressionAttributeNames={"#s": "state"},
        ExpressionAttributeValues={":d": {"S": "delivered"}, ":b": {"S": talk.name}, ":t": {"S": "2020"}},
    )
    handle_due(talk)
    assert talk.deployed.record(sent)["state"] == "answered"


@pytest.fixture
def one_resend(talk):
    """Let the deployed settle work as if the stack had MaxResends=1."""
    functions, name = talk.deployed.client("lambda"), talk.deployed.physical_id("SettleFunction")
    before = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    assert before["MAX_RESENDS"] == "0"
    changed = before | {"MAX_RESENDS": "1"}
    # What other tests make overdue is not resent.
    with no_schedule(talk.deployed):
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": changed})
        yield
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": before})


@pytest.mark.usefixtures("one_resend")
@pytest.mark.parametrize("length", [1, 500_000], ids=["small", "overflow"])
def test_a_silent_message_is_resent_if_max_resends_allows_it(talk, length):
    sent = talk.push("SILENT" + "x" * length)
    before = make_overdue(talk, sent)
    following = talk.push("following")
    talk.deployed.accepted(following)
    handle_due(talk)
    original = talk.deployed.state(sent, "resent")
    resend = record_of(talk, original["resent_as"], "delivered")
    assert (resend["resend_of"], resend["resends"]) == (original["message"], 1)
    assert resend["original_message_id"] == sent.message_id
    assert talk.texts() == ["SILENT" + "x" * length, "following", "SILENT" + "x" * length]
    reply(talk, resend["accepted_message_id"], text="to the resend")
    assert talk.conversation().wait(sent).text == "to the resend"
    reply(talk, before["accepted_message_id"], text="late")
    assert talk.deployed.state(sent, "answered")["answered_by"] == before["accepted_message_id"]


@pytest.mark.usefixtures("one_resend")
def test_a_message_is_resent_no_more_often_than_max_resends(talk):
    sent = talk.push("SILENT")
    make_overdue(talk, sent)
    handle_due(talk)
    resend = record_of(talk, talk.deployed.state(sent, "resent")["resent_as"], "delivered")
    set_attribute(talk, resend, "due_at", utc_text(time.time()))
    handle_due(talk)
    assert record_of(talk, resend["message"], "unanswered")["last_error"] == "no reply"
    assert len(talk.bot.received) == 2


def record_of(talk, key, state):
    """Return the record of a message of the test's session by its key, once it is in a state."""
    table, session = talk.deployed.stack.open_messages_table(), f"{talk.name}#{talk.session}"

    def look():
        record = table.read(record_key(session, key))
        return record if record and record["state"] == state else None

    return eventually(look, 60, f"state {state} of {key}")


def test_a_message_that_expects_no_reply_is_never_unanswered(talk):
    sent = talk.push("SILENT", expect_reply=False)
    assert "due_at" not in talk.deployed.state(sent, "delivered")
    handle_due(talk)
    assert talk.deployed.record(sent)["state"] == "delivered"


def test_settling_again_or_in_another_order_gives_the_same(talk):
    sent = talk.push("SILENT")
    reply_to = talk.deployed.state(sent, "delivered")["accepted_message_id"]
    now = int(time.time())
    for at in (now - 10, now - 30, now - 20, now - 30):
        raw = part_body(talk, reply_to=reply_to, sequence=at)
        post_part(talk, raw, signed_headers(raw, timestamp=str(at)))
    first = min(part["sent_at"] for part in talk.parts())
    eventually(lambda: talk.deployed.record(sent).get("answered_at") == first)
    time.sleep(1)
    assert talk.deployed.record(sent)["answered_at"] == first
