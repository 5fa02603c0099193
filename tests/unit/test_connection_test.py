from dataclasses import replace

import pytest

from relay.domain.diagnosis import Diagnosis
from relay.domain.states import State
from relay_cli.connection_test import ConnectionTest, findings

URL = "https://relay.example/callbacks/sales"
TOLD = Diagnosis("LangBot has not accepted it", "answered 401", advice="set inbound_secret")
SHOWN = ConnectionTest(State.ANSWERED, TOLD, "Hello", [], URL)


@pytest.mark.parametrize("state", [State.ANSWERED, State.DELIVERED])
def test_reply_proves_both_directions_finished_or_not(state):
    there, back = findings(replace(SHOWN, state=state))
    assert (there.ok, back.ok) == (True, True)
    assert back.text == "the bot replied: Hello"


@pytest.mark.parametrize("state", [None, State.RETRYING, State.PARKED])
def test_fault_on_the_way_to_langbot_comes_with_reason_and_advice(state):
    there, back = findings(replace(SHOWN, state=state, reply=None))
    assert (there.ok, there.text) == (False, "LangBot has not accepted it: answered 401")
    assert there.advice == "set inbound_secret"
    assert back.ok is None


def test_refused_requests_explain_silence():
    _, back = findings(replace(SHOWN, state=State.DELIVERED, reply=None, refused=["signature_mismatch"]))
    assert (back.ok, "signature_mismatch" in back.text) == (False, True)
    assert "Outbound Signing Secret" in back.advice


def test_silence_without_a_cause_names_the_callback_url():
    _, back = findings(replace(SHOWN, state=State.DELIVERED, reply=None))
    assert (back.ok, f"exactly {URL}," in back.advice) == (False, True)
