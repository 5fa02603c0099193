"""What the deployed stack publishes on the event bus."""

import json
import time
from dataclasses import replace

import boto3
import pytest

from local.sample_bot import Answer
from publish.publisher import PublishFailed, StreamRecord
from relay import Messages
from relay.adapters.event_bus import EventBus
from relay.domain.timestamps import utc_text
from relay.metrics import Metrics
from support.callbacks import part_body, post_part, reply
from support.deaths import Died, Dying
from support.due_items import handle_due, make_overdue, set_attribute
from support.parked_messages import UNPARSED, park
from support.permissions import without
from support.queued_messages import deliver, queued
from support.raw_messages import send_raw
from support.waiting import eventually

QUIET = 2
"""Seconds in which an event comes, if there is one."""

NEXT_SECOND = 1.1
"""Seconds until a signed time, which has whole seconds, is later than a moment before."""

IN_PROCESS = "in-process"
"""The source of the events that the test publishes itself."""


def plain(text):
    return [{"type": "Plain", "text": text}]


def stamp(seconds):
    """Write a time as LangBot stamps a part."""
    return utc_text(seconds).removesuffix("Z")


def reply_now(talk, reply_to, **fields):
    """Post a part with the exact time, so that parts of the same second are in order too."""
    reply(talk, reply_to, **{"timestamp": stamp(time.time())} | fields)


def data_by_revision(events):
    return sorted((event["detail"]["data"] for event in events), key=lambda data: data["revision"])


# ---------------------------------------------------------------- Reply Completed


def test_a_completed_turn_is_published_with_its_reply_and_its_message(talk, event_listener):
    sent = talk.push("LONG:5:20")
    turn = talk.conversation().wait(sent)
    record = talk.deployed.record(sent)
    (event,) = event_listener.all(1)
    data = event["detail"]["data"]
    assert (event["source"], event["detail-type"]) == ("langbot-relay", "Reply Completed")
    assert event["detail"]["source"] == "relay-local"
    assert event["detail"]["subject"] == record["session"]
    assert (data["message"], data["text"]) == (list(turn.message), turn.text)
    assert (data["session_id"], data["reply_to"], data["revision"]) == (talk.session, turn.reply_to, 1)
    assert (data["message_id"], data["queued_at"]) == (sent.message_id, record["queued_at"])
    assert data["key"] == {"session": record["session"], "message": record["message"]}
    assert data["received_at"] == turn.parts[-1]["received_at"] == event["detail"]["time"]


def test_the_query_that_an_event_describes_reads_the_turn(talk, event_listener):
    talk.push("LONG:5:20")
    data = event_listener.one("Reply Completed")
    read = data["read"]
    found = talk.deployed.client("dynamodb").query(
        TableName=read["table"],
        KeyConditionExpression="#s = :s AND #p BETWEEN :first AND :last",
        FilterExpression="reply_to = :r",
        ExpressionAttributeNames={"#s": "session", "#p": "part"},
        ExpressionAttributeValues={
            ":s": {"S": read["session"]},
            ":first": {"S": read["first"]},
            ":last": {"S": read["last"]},
            ":r": {"S": data["reply_to"]},
        },
    )["Items"]
    assert [item["part"]["S"] for item in found] == [part["part"] for part in talk.parts()]


def test_each_final_part_publishes_a_revision_of_the_whole_turn(talk, event_listener):
    talk.push("MULTI")
    events = event_listener.all(3)
    data = data_by_revision(events)
    (turn,) = talk.conversation().turns()
    assert [one["revision"] for one in data] == [1, 2, 3]
    assert [one["message"] for one in data] == [list(turn.message[:count]) for count in (1, 2, 3)]
    assert len({event["detail"]["id"] for event in events}) == 3


def test_a_turn_that_speaks_again_hours_later_is_published_whole(talk, event_listener):
    sent = talk.push("SILENT")
    record = talk.deployed.state(sent, "delivered")
    queued_at, ahead = time.time() - 8 * 3600, 3 * 3600
    for name in ("queued_at", "delivered_at"):
        set_attribute(talk, record, name, utc_text(queued_at))
    # The host's clock is 3 hours ahead of UTC, and was 290 s late.
    first, then = (stamp(at + ahead) for at in (queued_at - 290, time.time()))
    reply_to = record["accepted_message_id"]
    reply(talk, reply_to, text="be", final=False, timestamp=first, stream=False)
    reply(talk, reply_to, text="gun", timestamp=then, stream=False)
    assert event_listener.one("Reply Completed")["text"] == "begun"


def test_a_turn_of_no_known_message_has_the_parts_of_its_last_hour(talk, event_listener):
    reply_now(talk, "in_unknown", text="hel", final=False, stream=False)
    reply_now(talk, "in_unknown", text="lo", stream=False)
    data = event_listener.one("Reply Completed")
    assert (data["text"], data["reply_to"], data["revision"]) == ("hello", "in_unknown", 1)
    assert not {"message_id", "key", "queued_at"} & data.keys()


def test_each_proactive_push_is_published_as_a_turn_of_its_own(talk, event_listener):
    reply_now(talk, "", text="one", stream=False)
    reply_now(talk, "", text="two", stream=False)
    data = [event["detail"]["data"] for event in event_listener.all(2)]
    assert {one["text"] for one in data} == {"one", "two"}
    assert [(one["reply_to"], one["revision"]) for one in data] == [("", 1)] * 2


def test_a_part_that_is_not_final_is_not_published(talk, event_listener):
    reply_now(talk, "in_1", final=False)
    reply_now(talk, "in_2", text="final")
    assert [event["detail"]["data"]["reply_to"] for event in event_listener.all(1)] == ["in_2"]


FULL = 128 * 1024 - len(json.dumps(plain("")))


@pytest.mark.parametrize(
    ("length", "has"), [(90_000, {"message", "text"}), (FULL, {"message"}), (FULL + 1, set())]
)
def test_a_reply_is_in_its_event_up_to_128_kb(talk, event_listener, length, has):
    reply_now(talk, "in_1", text="x" * length)
    data = event_listener.one("Reply Completed")
    assert {"message", "text"} & data.keys() == has
    assert data["read"]["first"] == data["read"]["last"]
    assert all(data["message"] == plain("x" * length) for _ in has)


def test_the_size_of_a_reply_is_that_of_all_its_parts(talk, event_listener):
    reply_now(talk, "in_1", text="x" * 100_000, stream=False)
    reply_now(talk, "in_1", text="y" * 100_000, stream=False)
    first, second = data_by_revision(event_listener.all(2))
    assert "message" in first
    assert "message" not in second
    assert second["read"]["first"] < second["read"]["last"]


def test_a_part_in_the_overflow_bucket_is_published_like_any_other(talk, event_listener):
    deep = []
    for _ in range(40):
        deep = [deep]
    first = [{"type": "Deep", "deep": deep}, *plain("hi")]
    fields = {"message": first, "is_final": False, "stream": False, "timestamp": stamp(time.time())}
    assert post_part(talk, part_body(talk, **fields)).status_code == 200
    reply_now(talk, "in_1", text=" there", stream=False)
    data = event_listener.one("Reply Completed")
    assert (data["text"], data["message"]) == ("hi there", [*first, *plain(" there")])
    assert "overflow" in talk.parts()[0]


def test_a_reply_of_which_a_body_is_gone_is_published_by_its_keys(talk, event_listener):
    reply_now(talk, "in_1", final=False, text="x" * 500_000, stream=False)
    (part,) = talk.parts()
    talk.deployed.client("s3").delete_object(Bucket=talk.deployed.stack.overflow_bucket, Key=part["overflow"])
    reply_now(talk, "in_1", text="hi", stream=False)
    data = event_listener.one("Reply Completed")
    assert data["read"]["first"] == part["part"]
    assert not {"message", "text"} & data.keys()


# ---------------------------------------------------------------- Message Unanswered, Message Parked


def test_an_unanswered_message_is_published_once(talk, event_listener):
    sent = talk.push("SILENT")
    make_overdue(talk, sent)
    handle_due(talk)
    data, record = event_listener.one("Message Unanswered"), talk.deployed.record(sent)
    assert data["message_id"] == sent.message_id
    assert data["accepted_message_id"] == record["accepted_message_id"]
    assert (data["last_error"], data["unanswered_at"]) == ("no reply", record["unanswered_at"])
    assert "body" not in data
    set_attribute(talk, record, "touched", "yes")
    reply_now(talk, record["accepted_message_id"])
    talk.deployed.state(sent, "answered")
    event_listener.all(1, "Reply Completed")
    assert len(event_listener.all(1, "Message Unanswered")) == 1


def test_an_unanswered_message_says_that_its_reply_broke_off(talk, event_listener):
    sent = talk.push("LONG:8:20 MIDFAIL")
    eventually(lambda: len(talk.parts()) == 5)
    make_overdue(talk, sent)
    handle_due(talk)
    assert event_listener.one("Message Unanswered")["last_error"] == "the reply broke off after 5 parts"


@pytest.mark.usefixtures("only_this_bot")
def test_an_unanswered_message_is_counted_by_its_bot(talk, workers, log_lines, capsys):
    functions, name = talk.deployed.client("lambda"), talk.deployed.physical_id("SettleFunction")
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    metrics = Metrics(variables["METRICS_NAMESPACE"])
    sent = talk.push("SILENT")
    make_overdue(talk, sent)
    assert replace(workers, metrics=metrics).due_items().handle(lambda: 60) == 1
    (logged,) = [json.loads(line) for line in log_lines if '"unanswered"' in line]
    assert (logged["message_id"], logged["bot"]) == (sent.message_id, talk.name)
    capsys.readouterr()
    metrics.emit()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (line,) = [line for line in lines if "ParkedMessages" not in line]
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "LangBotRelay/relay-local"
    assert [metric["Name"] for metric in directive["Metrics"]] == ["Unanswered"]
    assert {name: line[name] for name in directive["Dimensions"][0]} == {"bot": talk.name}
    assert line["Unanswered"] == [1]


def test_a_parked_message_is_published_with_its_reason(talk, event_listener):
    talk.bot.answer_with(Answer(413, {"code": 41301, "msg": "too large"}))
    sent = talk.push("private words")
    record = talk.deployed.state(sent, "parked")
    (event,) = event_listener.all(1, "Message Parked")
    data = event["detail"]["data"]
    assert (data["message_id"], data["attempts"]) == (sent.message_id, 1)
    assert (data["reason"], data["parked_at"]) == (record["reason"], record["parked_at"])
    assert "private words" not in json.dumps(event)


def test_the_events_of_a_resend_name_the_message_that_was_sent_first(talk, event_listener):
    messages = Messages(talk.deployed.stack)
    sent, record = park(talk)
    talk.bot.answer_with(UNPARSED)
    second = talk.deployed.state(messages.resend(record), "parked")
    messages.resend(second)
    assert event_listener.one("Reply Completed")["original_message_id"] == sent.message_id
    of_events = [event["detail"]["data"] for event in event_listener.all(2, "Message Parked")]
    named = {data["message_id"]: data.get("original_message_id") for data in of_events}
    assert named == {sent.message_id: None, second["message_id"]: sent.message_id}


# ---------------------------------------------------------------- context


def contexts(data):
    """Return what an event says of contexts: of its message, and of those merged into its turn."""
    return data.get("context"), [(one["message_id"], one["context"]) for one in data.get("merged", [])]


def test_a_reply_comes_with_the_contexts_of_all_messages_that_it_answers(talk, event_listener):
    deep = json.loads("[" * 100 + "]" * 100)
    given = [{"order": 1}, None, {"order": 10**50, "deep": deep}, {"order": 4}]
    sent = [talk.push("SILENT", context=context) for context in given]
    records = [talk.deployed.state(one, "delivered") for one in sent]
    time.sleep(NEXT_SECOND)
    reply_now(talk, records[3]["accepted_message_id"], text="own", final=False)
    reply_now(talk, records[0]["accepted_message_id"])
    assert contexts(event_listener.one("Reply Completed")) == (given[0], [(sent[2].message_id, given[2])])
    assert talk.deployed.state(sent[2], "answered")["answer_kind"] == "merged"


@pytest.mark.parametrize("length", [10, 400_000])
def test_a_context_comes_with_each_event_of_a_message_and_its_resends(talk, event_listener, length):
    talk.bot.answer_with(Answer(413, {"code": 41301, "msg": "too large"}))
    record = talk.deployed.state(talk.push("x" * length, context={"order": 17}), "parked")
    assert ("overflow" in record) == (length > 350_000)
    resend = Messages(talk.deployed.stack).resend(record)
    talk.deployed.state(resend, "answered")
    assert contexts(event_listener.one("Message Parked")) == ({"order": 17}, [])
    assert contexts(event_listener.one("Reply Completed")) == ({"order": 17}, [])
    assert all("context" not in json.loads(request.body) for request in talk.bot.received)


def test_a_message_that_is_not_valid_is_parked_with_its_context(talk, event_listener):
    body = {"bot": talk.name, "session_id": talk.session, "text": 5, "context": {"order": 17}}
    send_raw(talk, json.dumps(body), f"{talk.name}#{talk.session}")
    assert contexts(event_listener.one("Message Parked")) == ({"order": 17}, [])


# ---------------------------------------------------------------- Bot Unreachable, Bot Recovered


def put_bot_state(talk, **fields):
    """Write the state of the test's bot as push does."""
    talk.deployed.client("dynamodb").put_item(
        TableName=talk.deployed.stack.messages_table,
        Item={"session": {"S": "bots"}, "message": {"S": talk.name}} | fields,
    )


def test_a_bot_that_fails_and_recovers_is_published_once_each(talk, event_listener):
    since = {"unreachable_since": {"S": "2026-11-23T12:00:00.000001Z"}}
    put_bot_state(talk, failures={"N": "4"})
    for failures in ("5", "6", "7"):
        put_bot_state(talk, failures={"N": failures}, **since)
    put_bot_state(talk)
    assert event_listener.one("Bot Recovered") == {
        "bot": talk.name,
        "unreachable_since": since["unreachable_since"]["S"],
        "failures": 7,
    }
    unreachable = event_listener.all(1, "Bot Unreachable")
    assert [event["detail"]["data"]["failures"] for event in unreachable] == [5]
    put_bot_state(talk, failures={"N": "5"}, unreachable_since={"S": "2026-11-23T13:00:00.000001Z"})
    events = event_listener.all(2, "Bot Unreachable")
    assert len({event["detail"]["id"] for event in events}) == 2


def test_the_failures_of_a_bot_are_published_as_they_happen(talk, workers, event_listener):
    talk.bot.answer_with(*[Answer(502)] * 6)
    for number in range(7):
        deliver(workers.at(time.time() + 61 * number).dispatcher(), queued(talk, "SILENT"))
    unreachable = event_listener.one("Bot Unreachable")
    recovered = event_listener.one("Bot Recovered")
    assert (unreachable["failures"], recovered["failures"]) == (5, 6)
    assert recovered["unreachable_since"] == unreachable["unreachable_since"]


def test_a_deleted_item_publishes_nothing(talk, event_listener):
    put_bot_state(talk, failures={"N": "5"}, unreachable_since={"S": "2026-11-23T12:00:00.000001Z"})
    event_listener.all(1, "Bot Unreachable")
    talk.deployed.client("dynamodb").delete_item(
        TableName=talk.deployed.stack.messages_table,
        Key={"session": {"S": "bots"}, "message": {"S": talk.name}},
    )
    reply_now(talk, "")  # an event after it
    event_listener.all(1, "Reply Completed")
    time.sleep(QUIET)
    assert not event_listener.all(0, "Bot Recovered")


# ---------------------------------------------------------------- faults


def test_what_happens_while_the_bus_refuses_is_all_published_afterwards(talk, event_listener):
    with without(talk.deployed, "events:PutEvents", function="publish"):
        sent = [talk.push("hello", session=f"{talk.session}-{number}") for number in range(12)]
        silent, refused = talk.push("SILENT"), talk.push(action="reset")
        make_overdue(talk, silent)
        for one in sent:
            talk.deployed.state(one, "answered")  # settle goes on
        handle_due(talk)
        talk.deployed.state(refused, "parked")
        time.sleep(QUIET)
        assert event_listener.all(0) == []
    replies = event_listener.all(12, "Reply Completed")
    assert {event["detail"]["data"]["message_id"] for event in replies} == {one.message_id for one in sent}
    assert event_listener.one("Message Unanswered")["message_id"] == silent.message_id
    assert event_listener.one("Message Parked")["message_id"] == refused.message_id


def publisher_to(workers, events):
    """Return a publisher of this process; `events` is its client for the bus."""
    return replace(workers.publisher(), event_bus=EventBus(events, "default", IN_PROCESS))


@pytest.fixture
def publisher(talk, workers):
    return publisher_to(workers, talk.deployed.client("events"))


def final_parts(talk):
    """Return the session's final parts as the stream of RepliesTable has them, numbered from 0."""
    return [
        StreamRecord(str(number), {}, part, time.time())
        for number, part in enumerate(talk.parts())
        if part["is_final"]
    ]


def in_process(events):
    """Return the events that the test has published itself, not the deployed function."""
    return [event["detail"] for event in events if event["detail"]["source"] == IN_PROCESS]


@pytest.mark.parametrize(("when", "published"), [("before", 2), ("after", 3)])
def test_an_event_is_published_again_under_its_id_after_a_death(
    talk, workers, event_listener, when, published
):
    reply_now(talk, "in_1")
    event_listener.all(1)
    publisher = publisher_to(workers, Dying(talk.deployed.client("events"), "put_events", when))
    with pytest.raises(Died):
        publisher.publish(final_parts(talk), lambda: 60)
    assert publisher.publish(final_parts(talk), lambda: 60) == []
    ids = [event["detail"]["id"] for event in event_listener.all(published)]
    assert len(set(ids)) == 1


class ThrottlingBus:
    """A client for the bus that refuses the second event of a call, which the emulator never does."""

    def __init__(self, events):
        self.events = events

    def put_events(self, Entries):  # noqa: N803
        results = self.events.put_events(Entries=Entries[:1] + Entries[2:])["Entries"]
        results.insert(1, {"ErrorCode": "ThrottlingException", "ErrorMessage": "slow down"})
        return {"FailedEntryCount": 1, "Entries": results}


def test_an_event_that_the_bus_refuses_comes_again_and_the_others_do_not(talk, workers, event_listener):
    for number in range(3):
        reply_now(talk, f"in_{number}")
    publisher = publisher_to(workers, ThrottlingBus(talk.deployed.client("events")))
    assert publisher.publish(final_parts(talk), lambda: 60) == ["1"]
    published = in_process(event_listener.all(5))
    assert {detail["data"]["reply_to"] for detail in published} == {"in_0", "in_2"}


def test_a_batch_of_which_nothing_could_be_published_is_an_error(talk, workers):
    reply_now(talk, "in_1")
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    unreachable = boto3.client("events", "us-east-1", endpoint_url="http://127.0.0.1:1", **keys)
    publisher = publisher_to(workers, unreachable)
    with pytest.raises(PublishFailed):
        publisher.publish(final_parts(talk), lambda: 60)


def test_a_change_that_can_never_be_published_holds_up_no_other(talk, publisher, event_listener):
    reply_now(talk, "in_1")
    broken = StreamRecord("0", {}, {"session": "x", "message": "y", "state": "parked"}, 0)
    assert publisher.publish([broken, *final_parts(talk)], lambda: 60) == []
    event_listener.all(2)


def test_more_events_than_a_call_may_hold_are_published_in_several(talk, publisher, event_listener):
    for number in range(12):
        reply_now(talk, f"in_{number}", text="x" * 60_000)
    assert publisher.publish(final_parts(talk), lambda: 60) == []
    published = in_process(event_listener.all(24, "Reply Completed"))
    assert len({detail["id"] for detail in published}) == len(published) == 12
