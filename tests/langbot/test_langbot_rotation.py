"""Secrets are changed on both sides while messages flow."""

import json

import pytest
from langbot.bridge import Bridge, until
from relay.rules.signing import is_signed

pytestmark = pytest.mark.timeout(900)  # the first test installs LangBot

PUSH_SEES_A_ROTATION = 120
"""Seconds: a bot's secret is read again after one minute, and the message tried again after that."""


def write_secrets(bridge: Bridge, inbound: list[str], outbound: list[str]) -> None:
    bridge.stack.client("secretsmanager").put_secret_value(
        SecretId=bridge.stack.outputs["BotSecretPrefix"] + "default",
        SecretString=json.dumps(
            {"url": bridge.to_bot.url, "inbound_secret": inbound, "outbound_secret": outbound}
        ),
    )


def test_secret_rotated_on_both_sides_loses_nothing(bridge: Bridge, session: str) -> None:
    old_inbound, old_outbound = bridge.peer.settings.inbound_secret, bridge.peer.settings.outbound_secret
    new_inbound, new_outbound = "inbound-2", "outbound-2"
    before, meanwhile, after = (f"{session}-{when}" for when in ("before", "meanwhile", "after"))
    # Both functions have just read the old secrets.
    bridge.conversation(session).wait(bridge.queue.push(session, "hello"))
    pushed = [bridge.queue.push(before, "HOLD the old secrets")]
    until("the model is asked", lambda: bridge.model.held)

    write_secrets(bridge, [new_inbound, old_inbound], [new_outbound, old_outbound])
    bridge.peer.reconfigure(inbound_secret=new_inbound, outbound_secret=new_outbound)
    pushed += [bridge.queue.push(meanwhile, f"between {n}") for n in range(3)]
    bridge.model.release()
    turns = [bridge.conversation(sent.session_id).wait(sent, PUSH_SEES_A_ROTATION) for sent in pushed]
    write_secrets(bridge, [new_inbound], [new_outbound])
    pushed.append(bridge.queue.push(after, "the new secrets"))
    turns.append(bridge.conversation(after).wait(pushed[-1]))

    texts = ["HOLD the old secrets", "between 0", "between 1", "between 2", "the new secrets"]
    assert [turn.text for turn in turns] == [f"echo: {text}" for text in texts]
    assert {bridge.ledger(sent)["state"] for sent in pushed} == {"delivered"}
    # The reply that LangBot was working on came with the old secret, all others with the new one.
    outbound = {old_outbound: "old", new_outbound: "new"}
    signed = [signed_with(bridge, id_, outbound) for id_ in (before, meanwhile, after)]
    assert signed == [{"old"}, {"new"}, {"new"}]


def signed_with(bridge: Bridge, session_id: str, secrets: dict[str, str]) -> set[str]:
    """The names of those of `secrets` that a session's callbacks were signed with."""
    return {
        name
        for call in bridge.to_relay.of(session_id)
        for secret, name in secrets.items()
        if is_signed([secret], call.headers["X-LB-Timestamp"], call.headers["X-LB-Signature"], call.body)
    }
