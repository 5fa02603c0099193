"""A query of DynamoDB returns at most 1 MB: what is behind that is on the next page."""

from uuid import uuid4

from relay import Messages
from relay.domain.keys import OPERATOR, message_key, record_key
from relay.domain.states import State
from relay.domain.timestamps import utc_text
from support.samples import NOW, message_record


def test_messages_after_another_are_found_behind_the_first_page(workers):
    session = f"pages#{uuid4().hex}"
    keys = [message_key(str(number)) for number in range(5)]
    for key in keys:
        record = {
            "session": session,
            "message": key,
            "message_id": f"{session}-{key}",
            "state": State.DELIVERED,
            "body": "x" * 390_000,
            "queued_at": utc_text(NOW),
        }
        workers.messages_table.write(record)
    table, first = workers.messages_table, record_key(session, keys[0])
    assert [record["message"] for record in table.messages_after(first, 100)] == keys[1:]
    assert [record["message"] for record in table.messages_after(first, 3)] == keys[1:4]


def test_the_last_parts_of_a_session_are_more_than_a_page(workers):
    session = f"pages#{uuid4().hex}"
    parts = [f"2026-11-22T13:00:48.{number:06}#000001#{number:012}" for number in range(5)]
    for part in parts:
        item = {"session": session, "part": part, "sequence": 1, "bot": "pages", "digest": ""}
        item |= {"is_final": True, "message": "x" * 390_000}
        workers.replies_table.store(item, b"")
    assert [part["part"] for part in workers.replies_table.newest(session, 4)] == parts[1:]
    found, first = [], "~"
    while page := [part["part"] for part in workers.replies_table.parts_before(session, first, 4)]:
        found, first = page + found, page[0]
    assert found == parts


def test_the_newest_messages_of_a_day_are_read_page_by_page(workers):
    session, day = f"pages#{uuid4().hex}", "2020-01-01"
    keys = [message_key(str(number)) for number in range(5)]
    for number, key in enumerate(keys):
        record = message_record(session=session, message=key, message_id=f"{session}-{key}")
        record |= {"queued_on": day, "queued_at": f"{day}T00:00:0{number}.000000Z"}
        workers.messages_table.write(record)
    found = workers.messages_table.recent(day, 2)
    assert [key["message"] for key in found if key["session"] == session] == keys[::-1]


def test_a_message_is_found_by_its_id_in_a_session_of_any_length(deployed, workers):
    session = f"pages#{uuid4().hex}"
    keys = [message_key(str(number)) for number in range(1, 1103)]
    for key in keys:
        workers.overwrite(message_record(session=session, message=key, message_id=f"id-{key}"))
    messages, session_id = Messages(deployed.stack), session.partition("#")[2]
    for key in (keys[0], keys[-1]):
        assert messages.find(session_id, f"id-{key}", "pages")["message"] == key
        assert messages.find(session_id, key, "pages")["message_id"] == f"id-{key}"
    assert messages.find(session_id, f"id-{keys[0]}", "pages", after=keys[0]) is None
    assert messages.find(session_id, f"id-{keys[1]}", "pages", after=keys[0])["message"] == keys[1]


def test_what_waits_in_a_session_is_found_however_long_it_is(deployed, workers):
    session = f"pages#{uuid4().hex}"
    states = {1: State.PARKED, 2: State.DELIVERED, **dict.fromkeys(range(3, 20), State.ANSWERED)}
    awaiting = {State.PARKED: OPERATOR, State.DELIVERED: "pages"}
    for number, state in states.items():
        record = message_record(session=session, message=message_key(str(number)), state=state)
        if state in awaiting:
            record |= {"awaiting": awaiting[state], "due_at": utc_text(NOW)}
        if state == State.PARKED:
            record |= {"reason": "answered 400", "parked_at": utc_text(NOW)}
        workers.overwrite(record)
    found = Messages(deployed.stack).waiting(session.partition("#")[2], "pages")
    assert [record["message"] for record in found] == [message_key("1"), message_key("2")]
