"""Secrets are rotated on both sides while messages are in flight."""

import json
from collections.abc import Iterator

import pytest

from langbot.bridge import Bridge
from relay.domain.signing import secret_used
from relay.domain.turn import Turn
from support.waiting import eventually

pytestmark = pytest.mark.timeout(1200)  # the first test boots LangBot

ROTATION_SECONDS = 120
"""Push reads a bot's secret again after one minute, and tries the message again after that."""


def secret(bridge: Bridge, bot: str, inbound: list[str], outbound: list[str]) -> tuple[str, str]:
    """Return name and value of a bot's secret."""
    value = {"url": bridge.to_bot.url, "inbound_secret": inbound, "outbound_secret": outbound}
    return bridge.deployed.local.outputs["BotSecretPrefix"] + bot, json.dumps(value)


def rotate(bridge: Bridge, inbound: list[str], outbound: list[str]) -> None:
    """Give the bot `default` other secrets, on the relay's side."""
    name, value = secret(bridge, "default", inbound, outbound)
    bridge.deployed.client("secretsmanager").put_secret_value(SecretId=name, SecretString=value)


def signed_with(bridge: Bridge, session_id: str, secrets: list[str]) -> list[bool]:
    """Return for each of `secrets` whether all callbacks of a session were signed with it."""
    calls = bridge.to_relay.of(session_id)
    return [
        all(
            secret_used([secret], call.headers["X-LB-Timestamp"], call.headers["X-LB-Signature"], call.body)
            == 0
            for call in calls
        )
        for secret in secrets
    ]


def as_meant(turn: Turn) -> str:
    """Return the text without what LangBot 4.10 adds to a turn during which its bot is saved."""
    return turn.text.removesuffix("Request failed.")


def test_secret_rotated_on_both_sides_loses_nothing(bridge: Bridge, session: str) -> None:
    old, new = bridge.peer.settings, ("inbound-2", "outbound-2")
    before, meanwhile, after = (f"{session}-{when}" for when in ("before", "meanwhile", "after"))
    # Both functions have just read the old secrets.
    bridge.conversation(session).wait(bridge.push_queue.push(session, "hello"), timeout=180)
    pushed = [bridge.push_queue.push(before, f"HOLD {before}")]
    eventually(lambda: f"HOLD {before}" in bridge.model.held, what="the model is asked")

    rotate(bridge, [new[0], old.inbound_secret], [new[1], old.outbound_secret])
    bridge.peer.reconfigure(inbound_secret=new[0], outbound_secret=new[1])
    pushed += [bridge.push_queue.push(meanwhile, f"between {n}") for n in range(3)]
    bridge.model.release()
    turns = [bridge.conversation(sent.session_id).wait(sent, ROTATION_SECONDS) for sent in pushed]
    rotate(bridge, [new[0]], [new[1]])
    pushed.append(bridge.push_queue.push(after, "the new secrets"))
    turns.append(bridge.conversation(after).wait(pushed[-1]))

    texts = [f"HOLD {before}", "between 0", "between 1", "between 2", "the new secrets"]
    assert [as_meant(turn) for turn in turns] == [f"echo: {text}" for text in texts]
    for sent in pushed:
        bridge.deployed.state(sent, "answered")


@pytest.fixture
def fresh_bot(bridge: Bridge) -> Iterator[str]:
    """Return the name of a new bot; LangBot calls back under it, with its own secrets."""
    settings, target = bridge.peer.settings, bridge.to_relay.target
    bridge.to_relay.target = target.removesuffix("default") + "rotating"
    yield "rotating"
    bridge.to_relay.target = target
    bridge.peer.reconfigure(inbound_secret=settings.inbound_secret, outbound_secret=settings.outbound_secret)


def test_old_secret_serves_until_langbot_has_the_new_one(
    bridge: Bridge, session: str, fresh_bot: str
) -> None:
    old, new = bridge.peer.settings, ("inbound-3", "outbound-3")
    before, after = f"{session}-before", f"{session}-after"
    name, value = secret(bridge, fresh_bot, [new[0], old.inbound_secret], [new[1], old.outbound_secret])
    bridge.deployed.client("secretsmanager").create_secret(Name=name, SecretString=value)

    held = bridge.push_queue.push(before, f"HOLD {before}", bot=fresh_bot)
    eventually(lambda: f"HOLD {before}" in bridge.model.held, what="the model is asked")
    bridge.peer.reconfigure(inbound_secret=new[0], outbound_secret=new[1])
    bridge.model.release()
    next_ = bridge.push_queue.push(after, "hello", bot=fresh_bot)

    assert as_meant(bridge.conversation(before, fresh_bot).wait(held, timeout=180)) == f"echo: HOLD {before}"
    assert bridge.conversation(after, fresh_bot).wait(next_, timeout=180).text == "echo: hello"
    assert [exchange.status for exchange in bridge.to_bot.of(before)] == [401, 202]
    assert [exchange.status for exchange in bridge.to_bot.of(after)] == [202]
    # LangBot finishes a turn with the secret that it began it with.
    assert signed_with(bridge, before, [old.outbound_secret, new[1]]) == [True, False]
    assert signed_with(bridge, after, [old.outbound_secret, new[1]]) == [False, True]
