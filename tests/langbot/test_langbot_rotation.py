"""Secrets are rotated on both sides while messages of several sessions flow."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from langbot.bridge import Bridge
from langbot.langbot_fixtures import FIGURES, HURRIED_RELAY
from langbot.load import SESSIONS, Load, Outcome
from langbot.peer.peer import Settings
from relay.domain.bot import parse_bot
from relay.domain.signing import secret_used
from relay.domain.turn import Turn
from support.command_line import CommandLine
from support.waiting import eventually

pytestmark = pytest.mark.timeout(1200)  # the first test boots LangBot

Report = Callable[[str], None]
INBOUND, OUTBOUND = "inbound_secret", "outbound_secret"
_numbers = count(2)


def new_settings(bridge: Bridge, *directions: str) -> Settings:
    """Return LangBot's settings with new secrets for these directions."""
    number = next(_numbers)
    changes: dict[str, Any] = {name: f"{name}-{number}-of-the-drill" for name in directions}
    return replace(bridge.peer.settings, **changes)


def secret_of(bridge: Bridge, *known: Settings) -> str:
    """Return the secret of a bot that knows the secrets of all these settings, the newest first."""
    secrets = {
        name: list(dict.fromkeys(getattr(settings, name) for settings in known))
        for name in (INBOUND, OUTBOUND)
    }
    return json.dumps({"url": bridge.bot_url, **secrets})


def tell_relay(bridge: Bridge, *known: Settings) -> None:
    """Give the bot `default` the secrets of these settings, on the relay's side."""
    name = bridge.deployed.local.outputs["BotSecretPrefix"] + "default"
    bridge.deployed.client("secretsmanager").put_secret_value(
        SecretId=name, SecretString=secret_of(bridge, *known)
    )


def tell_langbot(bridge: Bridge, settings: Settings) -> None:
    bridge.peer.reconfigure(inbound_secret=settings.inbound_secret, outbound_secret=settings.outbound_secret)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Write a line about the test at the end of the run."""
    return lambda text: request.config.stash[FIGURES].append(f"{request.node.name}: {text}")


def check(bridge: Bridge, load: Load, both_known_at: float, saved_at: float, report: Report) -> int:
    """Check that nothing was lost, nor refused after both sides knew a common secret (Unix seconds).

    Return how many messages lost their reply because LangBot forgot it when it was saved.
    """
    outcome = Outcome(bridge, load)
    assert outcome.callback_statuses() == {200}
    assert outcome.refused_since(both_known_at) == []
    assert list(outcome.wrong_replies()) == []
    assert outcome.sessions_not_as_emitted() == []
    dropped = outcome.dropped()
    assert all(said.at < saved_at for said in dropped)
    assert len(dropped) <= SESSIONS
    report(outcome.summary())
    return len(dropped)


def test_rotation_under_load_loses_nothing(bridge: Bridge, session: str, report: Report) -> None:
    old, new = bridge.peer.settings, new_settings(bridge, INBOUND, OUTBOUND)
    with Load(bridge, session) as load:
        load.flows()
        both_known_at = time.time()
        tell_relay(bridge, new, old)
        tell_langbot(bridge, new)
        saved_at = time.time()
        load.flows()
        tell_relay(bridge, new)
        load.flows()
    check(bridge, load, both_known_at, saved_at, report)


def test_inbound_secret_that_langbot_has_first_delays_messages(
    bridge: Bridge, session: str, report: Report
) -> None:
    old, new = bridge.peer.settings, new_settings(bridge, INBOUND)
    with Load(bridge, session) as load:
        load.flows()
        tell_langbot(bridge, new)
        saved_at = time.time()
        eventually(lambda: Outcome(bridge, load).refused_since(saved_at), what="LangBot refuses a message")
        both_known_at = time.time()
        tell_relay(bridge, new, old)
        load.flows()
        tell_relay(bridge, new)
        load.flows()
    check(bridge, load, both_known_at, saved_at, report)


def test_outbound_secret_that_langbot_has_first_loses_parts(
    bridge: Bridge, session: str, report: Report
) -> None:
    new = new_settings(bridge, OUTBOUND)
    with Load(bridge, session) as load:
        load.flows()
        tell_langbot(bridge, new)
        eventually(lambda: 401 in Outcome(bridge, load).callback_statuses(), what="callback refuses a part")
        tell_relay(bridge, new)
        load.flows()
    outcome = Outcome(bridge, load)
    report(outcome.summary())
    assert outcome.callback_statuses() == {200, 401}
    assert outcome.sessions_not_as_emitted()


def take_over_secrets(bridge: Bridge) -> None:
    """Let LangBot's settings name the secrets that the command made."""
    name = bridge.deployed.local.outputs["BotSecretPrefix"] + "default"
    value = bridge.deployed.client("secretsmanager").get_secret_value(SecretId=name)["SecretString"]
    bot = parse_bot("default", value)
    bridge.peer.settings = replace(
        bridge.peer.settings,
        inbound_secret=bot.inbound_secrets[0],
        outbound_secret=bot.outbound_secrets[0],
    )


@pytest.mark.since("4.11.2")  # the command needs it
def test_rotation_by_the_command_under_load_loses_nothing(
    bridge: Bridge, session: str, tmp_path: Path, report: Report
) -> None:
    old = bridge.peer.settings
    key = bridge.peer.api_key("resource.view", "resource.manage")
    rotate = ("bots", "rotate", "default", "--langbot", bridge.peer.url, "--yes")
    # Of other tests, which LangBot ignored or dropped: the command would wait for their replies.
    bridge.forget_open_messages()
    with Load(bridge, session) as load:
        load.flows()
        both_known_at = time.time()
        relay = CommandLine(bridge.deployed, tmp_path, HURRIED_RELAY)
        done = relay(*rotate, environment={"LANGBOT_API_KEY": key})
        take_over_secrets(bridge)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        load.flows()
    # LangBot is saved when no turn is open, so it has nothing to forget.
    assert check(bridge, load, both_known_at, time.time(), report) == 0
    assert bridge.peer.settings.inbound_secret != old.inbound_secret


@pytest.fixture
def fresh_bot(bridge: Bridge) -> Iterator[str]:
    """Return the name of a new bot; LangBot calls back under it, with its own secrets."""
    settings, target = bridge.peer.settings, bridge.to_relay.target
    bridge.to_relay.target = target.removesuffix("default") + "rotating"
    yield "rotating"
    bridge.to_relay.target = target
    tell_langbot(bridge, settings)


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


def test_old_secret_serves_until_langbot_has_the_new_one(
    bridge: Bridge, session: str, fresh_bot: str
) -> None:
    old, new = bridge.peer.settings, new_settings(bridge, INBOUND, OUTBOUND)
    before, after = f"{session}-before", f"{session}-after"
    name = bridge.deployed.local.outputs["BotSecretPrefix"] + fresh_bot
    secret = secret_of(bridge, new, old)
    bridge.deployed.client("secretsmanager").create_secret(Name=name, SecretString=secret)

    held = bridge.push_queue.push(before, f"HOLD {before}", bot=fresh_bot)
    eventually(lambda: f"HOLD {before}" in bridge.model.held, what="the model is asked")
    tell_langbot(bridge, new)
    bridge.model.release()
    next_ = bridge.push_queue.push(after, "hello", bot=fresh_bot)

    assert as_meant(bridge.conversation(before, fresh_bot).wait(held, timeout=180)) == f"echo: HOLD {before}"
    assert bridge.conversation(after, fresh_bot).wait(next_, timeout=180).text == "echo: hello"
    assert [exchange.status for exchange in bridge.to_bot.of(before)] == [401, 202]
    assert [exchange.status for exchange in bridge.to_bot.of(after)] == [202]
    # LangBot finishes a turn with the secret that it began it with.
    assert signed_with(bridge, before, [old.outbound_secret, new.outbound_secret]) == [True, False]
    assert signed_with(bridge, after, [old.outbound_secret, new.outbound_secret]) == [False, True]
