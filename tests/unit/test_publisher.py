"""What an event says of a turn of which DynamoDB cannot hold every part."""

import json

import pytest

from publish.publisher import (
    GIVE_UP_AFTER,
    MAX_BODIES,
    MAX_BODY_BYTES,
    MAX_EFFECTIVE_PARTS,
    MAX_VALUES,
    EventPublisher,
    PublishFailed,
    StreamRecord,
)
from relay.adapters.workflow_tasks import TaskRefused
from relay.domain.event import MAX_EVENT_REPLY_BYTES
from relay.domain.timestamps import utc_text
from relay.metrics import Metric, Metrics
from support.samples import MESSAGE_KEY, SESSION, message_record, received_part

KB = 1024


class RepliesTable:
    """A table of one turn, with the bodies that are in the overflow bucket."""

    name = "replies"

    def __init__(self, parts, bodies):
        self.parts, self.bodies, self.reads, self.turns = parts, bodies, 0, 0

    def turn_up_to(self, last, since, max_pages):
        self.turns += 1
        return iter(self.parts)

    def read(self, session, key):
        return next((part for part in self.parts if part["part"] == key), None)

    def message_of(self, part, *_):
        if "overflow" not in part:
            return part["message"]
        self.reads += 1
        return self.bodies[part["part"]]


class MessagesTable:
    def back_to_reply(self, session, reply_to):
        return None, []


class EventBus:
    def __init__(self):
        self.events, self.is_down = [], False

    def publish(self, events):
        events = list(events)
        self.events += events
        return {event.id for event in events} if self.is_down else set()


def turn(*texts, overflowing=(), finals=1):
    """Return the table of a turn of streamed parts; those at the places `overflowing` have no body.

    The last `finals` parts are final.
    """
    parts, bodies = [], {}
    for number, text in enumerate(texts):
        body = {
            "session_id": "s-1",
            "reply_to": "in_1",
            "sequence": number,
            "is_final": number >= len(texts) - finals,
            "stream": True,
            "message": [{"type": "Plain", "text": text}],
            "timestamp": f"2026-11-22T13:00:00.{number:06}",
        }
        part = received_part(json.dumps(body).encode())
        if number in overflowing:
            bodies[part["part"]] = part.pop("message")
            del part["text"]
            part["overflow"] = "parts/default/digest.json"
        parts.append(part)
    return RepliesTable(parts, bodies)


def published(table, seconds_left=lambda: 60):
    """Return the data of the event of the turn's last part."""
    bus = EventBus()
    publisher = EventPublisher(MessagesTable(), table, bus, Metrics("test"))
    assert publisher.publish([StreamRecord("1", {}, table.parts[-1], 0)], seconds_left) == []
    return bus.events[0].data


def test_a_part_replaces_one_whose_body_is_in_the_overflow_bucket():
    assert published(turn("a", "ab", "abc", overflowing={1}))["text"] == "abc"


def test_a_part_in_the_overflow_bucket_stays_if_a_text_restarts():
    assert published(turn("first", "second", overflowing={0}))["text"] == "firstsecond"


def test_a_part_that_no_event_can_hold_is_the_last_that_is_read():
    large = "x" * MAX_EVENT_REPLY_BYTES
    table = turn(*(large + "y" * number for number in range(9)), "end", overflowing=set(range(9)))
    data = published(table)
    assert "message" not in data
    assert data["read"]["last"] == table.parts[-1]["part"]
    assert table.reads == 1


def test_a_body_is_read_if_an_event_can_hold_it_though_all_is_escaped():
    text = "\x01" * (MAX_EVENT_REPLY_BYTES - KB)
    part = json.dumps({"session_id": "s" * 480, "message": [{"type": "Plain", "text": text}]})
    assert 0 < MAX_BODY_BYTES - len(part) < 20 * KB


def test_a_reply_of_more_parts_than_an_event_can_hold_is_counted_and_not_kept():
    texts = [f"{number} of many" for number in range(MAX_EFFECTIVE_PARTS + 1)]
    assert published(turn(*texts[1:], finals=3))["text"] == "".join(texts[1:])
    data = published(turn(*texts, finals=3))
    assert "message" not in data
    assert data["revision"] == 3


def test_a_turn_that_takes_too_long_to_read_is_published_without_its_reply():
    table = turn("a", "ab", "abc", "abcd")
    seconds_left = iter([60, 50, 14])
    data = published(table, lambda: next(seconds_left))
    assert "message" not in data
    assert data["revision"] == 1
    assert (data["read"]["first"], data["read"]["last"]) == (table.parts[0]["part"], table.parts[-1]["part"])


def test_a_batch_is_logged_only_if_some_of_it_is_published_later(caplog):
    caplog.set_level("INFO")
    table = turn("a")
    publisher = EventPublisher(MessagesTable(), table, EventBus(), Metrics("test"), clock=lambda: 1)
    record = StreamRecord("1", {}, table.parts[-1], 0)
    assert publisher.publish([record], lambda: 60) == []
    assert caplog.records == []
    with pytest.raises(PublishFailed):
        publisher.publish([record], lambda: 0)
    assert [line.message for line in caplog.records] == ["events are published later"]


def test_a_batch_of_which_nothing_is_published_fails_as_a_whole():
    table, bus = turn("a"), EventBus()
    bus.is_down = True
    publisher = EventPublisher(MessagesTable(), table, bus, Metrics("test"), clock=lambda: 1)
    with pytest.raises(PublishFailed, match="none of 1"):
        publisher.publish([StreamRecord("1", {}, table.parts[-1], 0)], lambda: 60)


def test_a_bots_many_values_are_read_once_a_batch_and_leave_another_bots_event_whole():
    table = turn("a", "ab", "abc")
    first, _, last = table.parts
    first["more"] = [0] * MAX_VALUES
    bus = EventBus()
    records = [StreamRecord("1", {}, last, 0), StreamRecord("2", {}, last, 0)]
    publisher = EventPublisher(MessagesTable(), table, bus, Metrics("test"))
    publisher.publish(records, lambda: 60)
    assert table.turns == 1
    for event in bus.events:
        assert "message" not in event.data
        assert event.data["revision"] == 1
        assert event.data["read"]["first"] <= first["part"]
        assert event.data["read"]["last"] == last["part"]
    table.parts = [part | {"bot": "other"} for part in turn("a", "ab").parts]
    publisher.publish([*records, StreamRecord("3", {}, table.parts[-1], 0)], lambda: 60)
    assert bus.events[-1].data["text"] == "ab"


def test_ten_bodies_of_a_bot_are_read_for_one_batch():
    table = turn(*"a" * (MAX_BODIES + 1), overflowing=set(range(MAX_BODIES + 1)))
    assert "message" not in published(table)
    assert table.reads == MAX_BODIES


def test_an_event_that_the_bus_refuses_for_23_hours_is_named_and_counted(caplog):
    table, bus, metrics = turn("a"), EventBus(), Metrics("test")
    bus.is_down = True
    publisher = EventPublisher(MessagesTable(), table, bus, metrics, clock=lambda: 1000 + GIVE_UP_AFTER)
    (part,) = table.parts
    records = [StreamRecord("old", {}, part, 999), StreamRecord("young", {}, part, 1001)]
    assert publisher.publish(records, lambda: 60) == ["young"]
    assert [metric for _, metric, _, _ in metrics.take()] == [Metric.LOST_EVENTS]
    (lost,) = [line for line in caplog.records if line.message == "an event is lost"]
    assert (lost.session, lost.item) == (part["session"], part["part"])


class Tasks:
    """Step Functions, which refuses for ever what it is told if it has a code."""

    def __init__(self, code=""):
        self.code, self.ended = code, []

    def succeed(self, token, output):
        if self.code:
            raise TaskRefused(self.code)
        self.ended.append((token, json.loads(output)))

    def fail(self, token, error, cause):
        self.succeed(token, json.dumps(error))


def answered(part, **fields):
    """Return the record of a message with a task, which a part answered."""
    answer = {"state": "answered", "answered_by": part["reply_to"], "answer_part": part["part"]}
    return message_record(reply_to_task="TOKEN", **answer | fields)


def end_tasks(tasks, table, record, metrics=None):
    """Publish the change that a record was written; return the events."""
    bus = EventBus()
    publisher = EventPublisher(MessagesTable(), table, bus, metrics or Metrics("test"), tasks)
    assert publisher.publish([StreamRecord("1", {}, record, 0)], lambda: 60) == []
    return bus.events


def test_a_task_gets_the_reply_up_to_the_part_that_answers_its_message():
    table, tasks = turn("a", "ab"), Tasks()
    record = answered(table.parts[-1], context='{"order": 17}')
    assert end_tasks(tasks, table, record) == []
    ((token, output),) = tasks.ended
    assert (token, output["text"], output["message_id"]) == ("TOKEN", "ab", record["message_id"])
    assert (output["context"], output["read"]["last"]) == ({"order": 17}, table.parts[-1]["part"])


def test_a_task_is_told_where_to_read_a_reply_that_is_too_large():
    table, tasks = turn("x" * MAX_EVENT_REPLY_BYTES), Tasks()
    end_tasks(tasks, table, answered(table.parts[-1]))
    ((_, output),) = tasks.ended
    assert "message" not in output
    assert output["read"]["table"] == "replies"


def test_a_task_succeeds_though_the_reply_was_deleted_meanwhile():
    table, tasks = turn("a"), Tasks()
    record = answered(table.parts[-1])
    table.parts.clear()
    end_tasks(tasks, table, record)
    assert tasks.ended[0][1]["message_id"] == record["message_id"]


def test_an_event_is_published_though_its_task_takes_no_outcome(caplog):
    metrics = Metrics("test")
    parked = message_record(state="parked", parked_at=utc_text(0), reply_to_task="TOKEN")
    events = end_tasks(Tasks("AccessDeniedException"), turn("a"), parked, metrics)
    assert [event.type for event in events] == ["Message Parked"]
    assert [metric for _, metric, _, _ in metrics.take()] == [Metric.LOST_EVENTS]
    (lost,) = [line for line in caplog.records if line.message == "the outcome of a task is lost"]
    assert (lost.session, lost.item, lost.error) == (SESSION, MESSAGE_KEY, "AccessDeniedException")
    assert "TOKEN" not in str(vars(lost))


def test_a_stack_that_ends_no_tasks_leaves_them_alone():
    table = turn("a")
    assert end_tasks(None, table, answered(table.parts[-1])) == []


def test_a_change_that_cannot_be_made_an_event_is_named_and_counted(caplog):
    table, bus, metrics = turn("a"), EventBus(), Metrics("test")
    broken = {"session": "default#s", "message": "7", "state": "parked"}
    publisher = EventPublisher(MessagesTable(), table, bus, metrics)
    assert publisher.publish([StreamRecord("1", {}, broken, 0)], lambda: 60) == []
    assert [metric for _, metric, _, _ in metrics.take()] == [Metric.LOST_EVENTS]
    (lost,) = [line for line in caplog.records if line.message == "an event is lost"]
    assert (lost.session, lost.item) == ("default#s", "7")
