from dataclasses import replace

import pytest

from relay.domain.diagnosis import Diagnosis
from relay.domain.states import State
from relay_cli.connection_test import ConnectionTest, findings

TOLD = Diagnosis("LangBot has not accepted it", "answered 401", advice="set inbound_secret")
SHOWN = ConnectionTest(State.ANSWERED, TOLD, "Hello")


@pytest.mark.parametrize("state", [State.ANSWERED, State.DELIVERED])
def test_reply_proves_both_directions_finished_or_not(state):
    there, back = findings(replace(SHOWN, state=state))
    assert (there.ok, back.ok) == (True, True)
    assert back.text == "the bot replied: Hello"


@pytest.mark.parametrize("state", [None, State.RETRYING])
def test_fault_on_the_way_to_langbot_comes_with_reason_and_advice(state):
    there, back = findings(replace(SHOWN, state=state, reply=None))
    assert (there.ok, there.text) == (False, "LangBot has not accepted it: answered 401")
    assert there.advice == "set inbound_secret"
    assert back.ok is None


def test_silence_comes_with_what_the_diagnosis_says_of_it():
    told = Diagnosis("LangBot accepted it", "callback refused 1 request", advice="set outbound_secret")
    _, back = findings(ConnectionTest(State.DELIVERED, told, None))
    assert (back.ok, back.text) == (False, "no reply, and callback refused 1 request")
    assert back.advice == "set outbound_secret"


def test_a_parked_test_that_was_dropped_is_not_told_to_be_resent():
    there, _ = findings(replace(SHOWN, state=State.PARKED, reply=None))
    assert there.advice == "fix the cause, then test again"
