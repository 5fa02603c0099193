"""What the deployed stack tells on the event bus."""

import json
import time

import boto3
import pytest
from batches import at, deliver, queued
from test_callback import body, post
from test_logs import lines  # noqa: F401
from test_outage import physical, without
from test_push_dies import Died, Dying
from test_settling import make_overdue, sweep
from test_settling import reply as reply_within_a_second

from conftest import eventually
from local.sample_bot import Answer
from relay.edge.bus import Bus
from relay.edge.ledger import Ledger
from relay.edge.replies import Replies
from relay.rules.part import utc
from relay.sweep import Sweeper
from relay.tell import Change, NotTold, Teller

TOLD_WITHIN_REASON = 2  # seconds in which nothing is told, where nothing is to be told


def plain(text):
    return [{"type": "Plain", "text": text}]


def reply(talk, reply_to, **fields):
    """A part as LangBot posts it now; parts of the same second are in order too."""
    reply_within_a_second(talk, reply_to, **{"timestamp": utc(time.time()).removesuffix("Z")} | fields)


def test_a_completed_turn_is_told_of_with_the_reply_and_the_message_that_it_answers(talk, heard):
    sent = talk.push("LONG:5:20")
    turn = talk.conversation().wait(sent)
    item = talk.deployed.ledger(sent)
    (event,) = heard.all(1)
    data = event["detail"]["data"]
    assert (event["source"], event["detail-type"]) == ("langbot-relay", "Reply Completed")
    assert event["detail"]["source"] == "relay-local"
    assert event["detail"]["subject"] == item["session"]
    assert (data["message"], data["text"]) == (list(turn.message), turn.text)
    assert (data["session_id"], data["reply_to"], data["revision"]) == (talk.session, turn.reply_to, 1)
    assert (data["message_id"], data["queued_at"]) == (sent.message_id, item["queued_at"])
    assert data["key"] == {"session": item["session"], "message": item["message"]}
    assert data["received_at"] == turn.parts[-1]["received_at"] == event["detail"]["time"]


def test_what_an_event_says_to_read_is_the_turn(talk, heard):
    talk.push("LONG:5:20")
    told = heard.one("Reply Completed")
    where = told["read"]
    found = talk.deployed.client("dynamodb").query(
        TableName=where["table"],
        KeyConditionExpression="#s = :s AND #p BETWEEN :first AND :last",
        FilterExpression="reply_to = :r",
        ExpressionAttributeNames={"#s": "session", "#p": "part"},
        ExpressionAttributeValues={
            ":s": {"S": where["session"]},
            ":first": {"S": where["first"]},
            ":last": {"S": where["last"]},
            ":r": {"S": told["reply_to"]},
        },
    )["Items"]
    assert [item["part"]["S"] for item in found] == [part["part"] for part in talk.conversation().parts()]


def test_each_run_of_a_turn_is_told_of_as_a_revision_of_all_that_was_said(talk, heard):
    talk.push("MULTI")
    events = heard.all(3)
    data = sorted((event["detail"]["data"] for event in events), key=lambda data: data["revision"])
    (turn,) = talk.conversation().turns()
    assert [one["revision"] for one in data] == [1, 2, 3]
    assert [one["message"] for one in data] == [list(turn.message[:count]) for count in (1, 2, 3)]
    assert len({event["detail"]["id"] for event in events}) == 3


def test_a_turn_that_speaks_again_hours_later_is_told_of_whole(talk, heard):
    sent = talk.push("SILENT")
    item = talk.deployed.state(sent, "delivered")
    queued_at, ahead = time.time() - 8 * 3600, 3 * 3600
    talk.deployed.client("dynamodb").update_item(
        TableName=talk.deployed.stack.messages_table,
        Key={name: {"S": item[name]} for name in ("session", "message")},
        UpdateExpression="SET queued_at = :t",
        ExpressionAttributeValues={":t": {"S": utc(queued_at)}},
    )
    # The host's clock is 3 hours ahead of UTC, and was 290 s late.
    first, then = (utc(at + ahead).removesuffix("Z") for at in (queued_at - 290, time.time()))
    reply_to = item["accepted_message_id"]
    reply(talk, reply_to, text="be", final=False, timestamp=first, stream=False)
    reply(talk, reply_to, text="gun", timestamp=then, stream=False)
    assert heard.one("Reply Completed")["text"] == "begun"


def test_a_turn_of_no_known_message_is_told_of_with_the_parts_of_its_last_hour(talk, heard):
    reply(talk, "in_unknown", text="hel", final=False, stream=False)
    reply(talk, "in_unknown", text="lo", stream=False)
    told = heard.one("Reply Completed")
    assert (told["text"], told["reply_to"], told["revision"]) == ("hello", "in_unknown", 1)
    assert not {"message_id", "key", "queued_at"} & told.keys()


def test_each_proactive_push_is_told_of_as_a_turn_of_its_own(talk, heard):
    reply(talk, "", text="one", stream=False)
    reply(talk, "", text="two", stream=False)
    told = [event["detail"]["data"] for event in heard.all(2)]
    assert {one["text"] for one in told} == {"one", "two"}
    assert [(one["reply_to"], one["revision"]) for one in told] == [("", 1)] * 2


def test_a_part_that_is_not_final_is_not_told_of(talk, heard):
    reply(talk, "in_1", final=False)
    reply(talk, "in_2", text="final")
    assert [event["detail"]["data"]["reply_to"] for event in heard.all(1)] == ["in_2"]


FULL = 128 * 1024 - len(json.dumps(plain("")))


@pytest.mark.parametrize(
    ("length", "has"), [(90_000, {"message", "text"}), (FULL, {"message"}), (FULL + 1, set())]
)
def test_a_reply_is_in_its_event_up_to_128_kb(talk, heard, length, has):
    reply(talk, "in_1", text="x" * length)
    told = heard.one("Reply Completed")
    assert {"message", "text"} & told.keys() == has
    assert told["read"]["first"] == told["read"]["last"]
    assert all(told["message"] == plain("x" * length) for _ in has)


def test_the_size_of_a_reply_is_that_of_all_its_parts(talk, heard):
    reply(talk, "in_1", text="x" * 100_000, stream=False)
    reply(talk, "in_1", text="y" * 100_000, stream=False)
    first, second = sorted(
        (event["detail"]["data"] for event in heard.all(2)), key=lambda data: data["revision"]
    )
    assert "message" in first
    assert "message" not in second
    assert second["read"]["first"] < second["read"]["last"]


def test_a_part_that_lies_in_the_bucket_is_told_of_like_any_other(talk, heard):
    deep = []
    for _ in range(40):
        deep = [deep]
    now = utc(time.time()).removesuffix("Z")
    first = [{"type": "Deep", "deep": deep}, *plain("hi")]
    fields = {"message": first, "is_final": False, "stream": False, "timestamp": now}
    assert post(talk, body(talk, **fields)).status_code == 200
    reply(talk, "in_1", text=" there", stream=False)
    told = heard.one("Reply Completed")
    assert (told["text"], told["message"]) == ("hi there", [*first, *plain(" there")])
    assert "overflow" in talk.conversation().parts()[0]


def test_a_reply_whose_body_is_gone_from_the_bucket_is_told_of_by_where_it_stands(talk, heard):
    reply(talk, "in_1", final=False, text="x" * 500_000, stream=False)
    (part,) = talk.conversation().parts()
    talk.deployed.client("s3").delete_object(Bucket=talk.deployed.stack.overflow_bucket, Key=part["overflow"])
    reply(talk, "in_1", text="hi", stream=False)
    told = heard.one("Reply Completed")
    assert told["read"]["first"] == part["part"]
    assert not {"message", "text"} & told.keys()


def test_an_unanswered_message_is_told_of_once(talk, heard):
    sent = talk.push("SILENT")
    make_overdue(talk, sent)
    sweep(talk)
    told, item = heard.one("Message Unanswered"), talk.deployed.ledger(sent)
    assert (told["message_id"], told["accepted_message_id"]) == (sent.message_id, item["accepted_message_id"])
    assert (told["last_error"], told["unanswered_at"]) == ("no reply", item["unanswered_at"])
    assert "body" not in told
    touch(talk, item)
    reply(talk, item["accepted_message_id"])
    talk.deployed.state(sent, "answered")
    heard.all(1, "Reply Completed")
    assert len(heard.all(1, "Message Unanswered")) == 1


def test_an_unanswered_message_whose_reply_broke_off_is_told_of_as_such(talk, heard):
    sent = talk.push("LONG:8:20 MIDFAIL")
    eventually(lambda: len(talk.conversation().parts()) == 5)
    make_overdue(talk, sent)
    sweep(talk)
    assert heard.one("Message Unanswered")["last_error"] == "the reply broke off after 5 parts"


def touch(talk, item):
    """Writes an item once more, as it was."""
    talk.deployed.client("dynamodb").update_item(
        TableName=talk.deployed.stack.messages_table,
        Key={name: {"S": item[name]} for name in ("session", "message")},
        UpdateExpression="SET touched = :yes",
        ExpressionAttributeValues={":yes": {"BOOL": True}},
    )


def test_a_parked_message_is_told_of_with_the_reason(talk, heard):
    talk.bot.answer_with(Answer(413, {"code": 41301, "msg": "too large"}))
    sent = talk.push("private words")
    item = talk.deployed.state(sent, "parked")
    (event,) = heard.all(1, "Message Parked")
    told = event["detail"]["data"]
    assert (told["message_id"], told["attempts"]) == (sent.message_id, 1)
    assert (told["reason"], told["parked_at"]) == (item["reason"], item["parked_at"])
    assert "private words" not in json.dumps(event)


def bots_item(talk, **fields):
    """Writes a bot's item as push does."""
    talk.deployed.client("dynamodb").put_item(
        TableName=talk.deployed.stack.messages_table,
        Item={"session": {"S": "bots"}, "message": {"S": talk.name}} | fields,
    )


def test_a_bot_that_goes_and_comes_back_is_told_of_once_each(talk, heard):
    since = {"unreachable_since": {"S": "2026-11-23T12:00:00.000001Z"}}
    bots_item(talk, failures={"N": "4"})
    for failures in ("5", "6", "7"):
        bots_item(talk, failures={"N": failures}, **since)
    bots_item(talk)
    recovered = heard.one("Bot Recovered")
    assert recovered == {
        "bot": talk.name,
        "unreachable_since": since["unreachable_since"]["S"],
        "failures": 7,
    }
    assert [event["detail"]["data"]["failures"] for event in heard.all(1, "Bot Unreachable")] == [5]
    bots_item(talk, failures={"N": "5"}, unreachable_since={"S": "2026-11-23T13:00:00.000001Z"})
    events = heard.all(2, "Bot Unreachable")
    assert len({event["detail"]["id"] for event in events}) == 2


def test_a_bot_that_fails_and_then_takes_a_message_is_told_of_as_it_happens(talk, courier, heard):
    talk.bot.answer_with(*[Answer(502)] * 6)
    for number in range(7):
        deliver(at(courier, time.time() + 61 * number), queued(talk, "SILENT"))
    assert heard.one("Bot Unreachable")["failures"] == 5
    recovered = heard.one("Bot Recovered")
    assert recovered["failures"] == 6
    assert recovered["unreachable_since"] == heard.one("Bot Unreachable")["unreachable_since"]


def test_an_item_that_goes_says_nothing(talk, heard):
    bots_item(talk, failures={"N": "5"}, unreachable_since={"S": "2026-11-23T12:00:00.000001Z"})
    heard.all(1, "Bot Unreachable")
    talk.deployed.client("dynamodb").delete_item(
        TableName=talk.deployed.stack.messages_table,
        Key={"session": {"S": "bots"}, "message": {"S": talk.name}},
    )
    reply(talk, "")  # which is told after it
    heard.all(1, "Reply Completed")
    time.sleep(TOLD_WITHIN_REASON)
    assert not heard.all(0, "Bot Recovered")


def test_what_happened_while_the_bus_refused_is_all_told_afterwards(talk, heard):
    with without(talk.deployed, "events:PutEvents", function="tell"):
        sent = [talk.push("hello", session=f"{talk.session}-{number}") for number in range(12)]
        silent, refused = talk.push("SILENT"), talk.push(action="reset")
        make_overdue(talk, silent)
        for one in sent:
            talk.deployed.state(one, "answered")  # settling goes on
        sweep(talk)
        talk.deployed.state(refused, "parked")
        time.sleep(TOLD_WITHIN_REASON)
        assert heard.all(0) == []
    replies = heard.all(12, "Reply Completed")
    assert {event["detail"]["data"]["message_id"] for event in replies} == {one.message_id for one in sent}
    assert heard.one("Message Unanswered")["message_id"] == silent.message_id
    assert heard.one("Message Parked")["message_id"] == refused.message_id


@pytest.fixture
def teller(talk):
    """What tell is made of, in this process, on the deployed tables and bus."""
    deployed, stack = talk.deployed, talk.deployed.stack
    dynamodb, s3 = deployed.client("dynamodb"), deployed.client("s3")
    return Teller(
        ledger=Ledger(dynamodb, stack.messages_table),
        replies=Replies(dynamodb, stack.replies_table, s3, stack.overflow_bucket),
        bus=Bus(deployed.client("events"), "default", "in-process"),
    )


def changes(talk):
    return [
        Change(str(number), {}, part, time.time())
        for number, part in enumerate(talk.conversation().parts())
        if part["is_final"]
    ]


def in_process(heard, count):
    told = (event["detail"] for event in heard.all(2 * count, "Reply Completed"))
    return [detail["id"] for detail in told if detail["source"] == "in-process"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_a_function_that_died_had_told_already_is_told_again_under_the_same_id(
    talk, heard, teller, monkeypatch, when
):
    reply(talk, "in_1")
    heard.all(1)
    with monkeypatch.context() as patch:
        patch.setattr(teller.bus, "_events", Dying(teller.bus._events, "put_events", when))
        with pytest.raises(Died):
            teller.tell(changes(talk))
    assert teller.tell(changes(talk)) == []
    ids = [event["detail"]["id"] for event in heard.all({"before": 2, "after": 3}[when])]
    assert len(set(ids)) == 1


def test_what_the_bus_did_not_take_comes_again_and_the_rest_is_told(talk, heard, teller, monkeypatch):
    for number in range(3):
        reply(talk, f"in_{number}")
    put = teller.bus._events.put_events

    def but_the_second(Entries):  # noqa: N803
        """Throttling, which the emulator does not do."""
        results = put(Entries=Entries[:1] + Entries[2:])["Entries"]
        results.insert(1, {"ErrorCode": "ThrottlingException", "ErrorMessage": "slow down"})
        return {"FailedEntryCount": 1, "Entries": results}

    monkeypatch.setattr(teller.bus._events, "put_events", but_the_second)
    assert teller.tell(changes(talk)) == ["1"]
    told = [event for event in heard.all(5) if event["detail"]["source"] == "in-process"]
    assert {event["detail"]["data"]["reply_to"] for event in told} == {"in_0", "in_2"}


def test_a_batch_of_which_nothing_could_be_told_shows_as_an_error(talk, teller, monkeypatch):
    reply(talk, "in_1")
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    nowhere = boto3.client("events", "us-east-1", endpoint_url="http://127.0.0.1:1", **keys)
    monkeypatch.setattr(teller.bus, "_events", nowhere)
    with pytest.raises(NotTold):
        teller.tell(changes(talk))


def test_a_change_that_can_never_be_told_holds_nothing_up(talk, heard, teller):
    reply(talk, "in_1")
    broken = Change("0", {}, {"session": "x", "message": "y", "state": "parked"}, 0)
    assert teller.tell([broken, *changes(talk)]) == []
    heard.all(2)


def test_more_than_one_call_of_the_bus_holds_is_told_in_several(talk, heard, teller):
    for number in range(12):
        reply(talk, f"in_{number}", text="x" * 60_000)
    assert teller.tell(changes(talk)) == []
    assert len(set(in_process(heard, 12))) == 12


def test_an_unanswered_message_is_counted_by_what_the_sweep_logs_of_it(talk, courier, lines):  # noqa: F811
    sent = talk.push("SILENT")
    make_overdue(talk, sent)
    deployed = talk.deployed
    assert Sweeper(courier.ledger, courier.replies, courier.sender, 0, 900).sweep(lambda: 60) >= 1
    logged = [json.loads(line) for line in lines if '"unanswered"' in line]
    (line,) = [line for line in logged if line["message_id"] == sent.message_id]
    group = physical(deployed, "SweepLogs")
    (counted,) = deployed.client("logs").describe_metric_filters(logGroupName=group)["metricFilters"]
    assert counted["filterPattern"] == f'{{ ($.message = "{line["message"]}") && ($.bot = "*") }}'
    (metric,) = counted["metricTransformations"]
    assert (metric["metricNamespace"], metric["metricName"]) == ("LangBotRelay/relay-local", "Unanswered")
    assert {name: line[field.removeprefix("$.")] for name, field in metric["dimensions"].items()} == {
        "bot": talk.name
    }


def test_the_only_alarm_is_that_a_message_is_parked(deployed):
    (alarm,) = deployed.client("cloudwatch").describe_alarms()["MetricAlarms"]
    queue = deployed.local.outputs["ParkedQueueUrl"].rpartition("/")[2]
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": queue}]
    assert (alarm["MetricName"], alarm["ComparisonOperator"], alarm["Threshold"]) == (
        "ApproximateNumberOfMessagesVisible",
        "GreaterThanThreshold",
        0,
    )
