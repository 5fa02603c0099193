"""Each change of a record, by the expressions that DynamoDB gets."""

import pytest

from relay.adapters.dynamodb import from_item, to_item
from relay.adapters.messages_table import rendered
from relay.domain import states
from relay.domain.states import AnswerKind, State
from relay.domain.timestamps import utc_text
from simulation.dynamodb_expressions import change_of, condition_of
from support.samples import NOW, message_record

RECORDS = {str(state): {"state": state} for state in State if state != State.ANSWERED} | {
    f"{kind}, sent {when}": {"state": State.ANSWERED, "answer_kind": kind, "answered_at": utc_text(sent_at)}
    for kind in AnswerKind
    for when, sent_at in (("before", NOW - 5), ("after", NOW + 5))
}
"""A record in each state, and with each kind of answer, which was sent before or after the new one."""


def answers(*kinds):
    return {f"{kind}, sent {when}" for kind in kinds for when in ("before", "after")}


def changed(transition, **fields):
    """Return the record with these fields after a transition at NOW, or None if it is not allowed."""
    change, condition, named = rendered(transition)
    record = message_record(awaiting="default", due_at=utc_text(NOW + 900), **fields)
    values = dict.fromkeys(transition.sets, "new") | named
    if "answered_at" in transition.sets:
        values["answered_at"] = utc_text(NOW)
    item, arguments = to_item(record), to_item({f":{name}": value for name, value in values.items()})
    if not condition_of(condition)(item, arguments):
        return None
    return from_item(change_of(change)(item, arguments))


@pytest.mark.parametrize(
    ("transition", "allowed_from", "state"),
    [
        (
            states.ANSWER_BY_OWN_TURN,
            {"delivered", "unanswered", "resent", "own, sent after", "push, sent after"}
            | answers("unfinished", "probable", "merged"),
            State.ANSWERED,
        ),
        (states.ANSWER_BY_PUSH, {"delivered"} | answers("merged"), State.ANSWERED),
        (states.MERGE, {"delivered", "unanswered", "merged, sent before"}, State.ANSWERED),
        (states.STOP_AWAITING, answers(*AnswerKind), State.ANSWERED),
        (states.GIVE_UP, {"delivered"}, State.UNANSWERED),
        (states.RESEND, {"parked", "unanswered", "delivered"}, State.RESENT),
        (states.DROP, {"parked", "unanswered"}, State.DROPPED),
    ],
)
def test_a_change_is_allowed_from_these_states_and_leads_to_one(transition, allowed_from, state):
    after = {name: changed(transition, **fields) for name, fields in RECORDS.items()}
    assert {name for name, record in after.items() if record} == allowed_from
    assert {record["state"] for record in after.values() if record} == {state}


def test_a_message_is_identified_once_and_keeps_its_state():
    after = {name: changed(states.IDENTIFY, **fields) for name, fields in RECORDS.items()}
    allowed = {name: record["state"] for name, record in after.items() if record}
    assert allowed == {"delivered": State.DELIVERED, "unanswered": State.UNANSWERED}
    assert changed(states.IDENTIFY, accepted_message_id="in_1") is None


@pytest.mark.parametrize(
    ("transition", "fields", "awaiting"),
    [
        (states.ANSWER_BY_OWN_TURN, {}, None),
        (states.ANSWER_BY_PUSH, {}, None),
        (states.MERGE, {}, "new"),
        (states.STOP_AWAITING, {"state": State.ANSWERED}, None),
        (states.IDENTIFY, {}, "default"),
        (states.GIVE_UP, {}, "new"),
        (states.RESEND, {}, None),
        (states.DROP, {"state": State.PARKED}, None),
    ],
)
def test_a_message_awaits_something_only_as_long_as_something_can_come(transition, fields, awaiting):
    assert changed(transition, **fields).get("awaiting") == awaiting
