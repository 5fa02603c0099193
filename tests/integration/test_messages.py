"""What an operator may do with a message, by its state in the real table."""

import json

import pytest

from relay import InvalidState, MessageNotFound, Messages
from relay.domain.states import State
from support.samples import message_record


@pytest.fixture
def stored(talk, workers):
    """Store a message in a state; return its record."""

    def stored(state):
        record = message_record(session=f"{talk.name}#{talk.session}", bot=talk.name, state=state)
        record["body"] = json.dumps({"session_id": talk.session, "text": "hello"})
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


def test_a_message_is_found_by_its_key_as_well(deployed, talk, stored):
    record = stored(State.PARKED)
    found = Messages(deployed.stack).find(talk.session, record["message"], talk.name)
    assert found == record


def test_only_messages_behind_the_one_that_is_named_are_searched(deployed, talk, stored):
    record = stored(State.PARKED)
    session = talk.session, record["message_id"], talk.name
    messages = Messages(deployed.stack)
    before = f"{int(record['message']) - 1:039}"
    assert messages.find(*session, after=before) == record
    assert messages.find(*session, after=record["message"]) is None


def test_an_unknown_message_is_told_from_one_of_an_unknown_bot(deployed, talk, stored):
    messages = Messages(deployed.stack)
    with pytest.raises(MessageNotFound, match=f"No message for a bot '{talk.name}' was tried yet"):
        messages.known(talk.session, "id-2", talk.name)
    stored(State.PARKED)
    with pytest.raises(MessageNotFound, match=r"message id-2 of session .* has no record"):
        messages.known(talk.session, "id-2", talk.name)


def test_a_message_for_a_wrong_bot_is_sent_to_another_and_closed(deployed, talk, stored):
    messages, record = Messages(deployed.stack), stored(State.PARKED)
    sent = messages.resend_to(record, "other")
    assert (sent.bot, sent.session_id) == ("other", talk.session)
    dropped = messages.known(talk.session, record["message_id"], talk.name)
    assert (dropped["state"], dropped["drop_reason"]) == (
        State.DROPPED,
        f"sent to bot 'other' as {sent.message_id}",
    )
