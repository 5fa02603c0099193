"""What an operator may do with a message, by its state in the real table."""

import pytest

from relay import InvalidState, Messages
from relay.domain.states import State
from support.samples import message_record


@pytest.fixture
def stored(talk, workers):
    """Store a message in a state; return its record."""

    def stored(state):
        record = message_record(session=f"{talk.name}#{talk.session}", bot=talk.name, state=state)
        workers.overwrite(record)
        return record

    return stored


@pytest.mark.parametrize("state", [State.RETRYING, State.DELIVERED, State.ANSWERED, State.RESENT])
def test_only_a_message_that_awaits_an_operator_can_be_dropped(deployed, talk, stored, state):
    record = stored(state)
    with pytest.raises(InvalidState, match=state):
        Messages(deployed.stack).drop(record, "x")
    assert Messages(deployed.stack).known(talk.session, record["message_id"], talk.name) == record


@pytest.mark.parametrize("state", [State.RETRYING, State.DELIVERED, State.ANSWERED, State.DROPPED])
def test_only_a_message_that_awaits_an_operator_can_be_resent(deployed, stored, state):
    with pytest.raises(InvalidState, match=state):
        Messages(deployed.stack).resend(stored(state))


def test_a_message_is_dropped_once_and_for_all(deployed, talk, stored):
    messages, record = Messages(deployed.stack), stored(State.PARKED)
    for reason in ("first", "second"):
        messages.drop(record, reason)
    dropped = messages.known(talk.session, record["message_id"], talk.name)
    assert (dropped["state"], dropped["drop_reason"]) == (State.DROPPED, "first")
