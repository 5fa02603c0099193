"""A bot is connected with the real LangBot, and its secrets are rotated, by one command each."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from uuid import uuid4

import pytest

from langbot.bridge import Bridge
from langbot.langbot_fixtures import HURRIED_RELAY
from relay import BotAdmin, environment
from relay.domain.admission import SLOT_COUNT_TTL
from relay.domain.bot import Bot, parse_bot
from support.command_line import CommandLine
from support.waiting import eventually

pytestmark = [pytest.mark.timeout(1200), pytest.mark.since("4.11.2")]  # the first test boots LangBot

Relay = Callable[..., "CompletedProcess[str]"]


@pytest.fixture
def relay(bridge: Bridge, tmp_path: Path) -> Relay:
    """The command `relay` with an API key of LangBot in its environment."""
    command = CommandLine(bridge.deployed, tmp_path, HURRIED_RELAY)
    key = bridge.peer.api_key("resource.view", "resource.manage")
    return lambda *arguments, text="": command(*arguments, text=text, environment={"LANGBOT_API_KEY": key})


@pytest.fixture
def connect(bridge: Bridge, relay: Relay) -> Relay:
    """`relay connect` of a bot, without a question."""
    return lambda bot, *more: relay(
        "connect", "--langbot", bridge.peer.url, "--bot", bot, "--yes", "--timeout", "120", *more
    )


@pytest.fixture
def rotate(bridge: Bridge, relay: Relay) -> Relay:
    """`relay bots rotate`, without a question."""
    return lambda bot: relay("bots", "rotate", bot, "--langbot", bridge.peer.url, "--yes", "--timeout", "120")


@pytest.fixture
def name() -> str:
    """The name of a new bot."""
    return f"bot-{uuid4().hex[:8]}"


def secret_of(bridge: Bridge, name: str) -> str:
    found = bridge.deployed.client("secretsmanager").get_secret_value(SecretId=f"relay-local/bots/{name}")
    return str(found["SecretString"])


def bot_of(bridge: Bridge, name: str) -> Bot:
    return parse_bot(name, secret_of(bridge, name))


def in_langbot(bridge: Bridge, name: str) -> dict[str, Any]:
    return bridge.peer.http_bot(f"relay-local-{name}")


def secrets_of(adapter_config: dict[str, Any]) -> tuple[tuple[str], tuple[str]]:
    """Return LangBot's secrets as a bot of the relay has them if it knows no others."""
    return (adapter_config["inbound_secret"],), (adapter_config["outbound_secret"],)


def findings(done: "CompletedProcess[str]") -> dict[str, bool | None]:
    lines = map(json.loads, done.stdout.splitlines())
    return {line["check"]: line["ok"] for line in lines if "check" in line}


def test_bot_is_made_and_connected_by_one_command(bridge: Bridge, connect: Relay, name: str) -> None:
    done = connect(name)

    assert (done.returncode, done.stderr) == (0, "")
    assert "the bot replied: echo: This is a test of the connection." in done.stdout
    bot, config = bot_of(bridge, name), in_langbot(bridge, name)["adapter_config"]
    assert config["callback_url"] == bridge.deployed.callback_url(name)
    assert config["signature_required"] is True
    assert secrets_of(config) == (bot.inbound_secrets, bot.outbound_secrets)
    secrets = {*bot.inbound_secrets, *bot.outbound_secrets}
    assert {len(secret) for secret in secrets} == {43}
    assert not any(secret in done.stdout for secret in secrets)

    before = in_langbot(bridge, name), secret_of(bridge, name)
    again = connect(name)
    assert (again.returncode, "is connected, nothing changes" in again.stdout) == (0, True)
    assert (in_langbot(bridge, name), secret_of(bridge, name)) == before


def test_nothing_is_changed_without_a_yes(bridge: Bridge, relay: Relay, name: str) -> None:
    done = relay("connect", "--langbot", bridge.peer.url, "--bot", name, text="n\n")
    assert (done.returncode, done.stderr) == (1, "relay: nothing was changed\n")
    assert "LangBot: a new HTTP bot" in done.stdout
    with pytest.raises(ValueError, match="expected 1, got 0"):
        in_langbot(bridge, name)


def test_form_that_was_filled_in_wrong_is_corrected(bridge: Bridge, connect: Relay, name: str) -> None:
    connect(name)
    bot = in_langbot(bridge, name)
    wrong = {
        "callback_url": bot["adapter_config"]["callback_url"] + "/",
        "outbound_secret": "typed by hand, and wrong",
        "callback_timeout": 20,
    }
    bridge.peer.save_bot(bot["uuid"], adapter_config=bot["adapter_config"] | wrong, enable=False)
    secret = secret_of(bridge, name)

    done = connect(name)

    assert (done.returncode, done.stderr) == (0, "")
    expected = bot["adapter_config"] | {"callback_timeout": 20}
    assert in_langbot(bridge, name)["adapter_config"] == expected
    assert in_langbot(bridge, name)["enable"] is True
    assert secret_of(bridge, name) == secret
    assert "typed by hand" not in done.stdout


def test_bot_without_a_route_is_named_as_such(bridge: Bridge, connect: Relay, name: str) -> None:
    assert findings(connect(name, "--json")) == {
        "route (person)": True,
        "route (group, addressed)": True,
        "route (group)": None,
        "to LangBot": True,
        "from LangBot": True,
    }
    bridge.peer.save_bot(in_langbot(bridge, name)["uuid"], event_bindings=[])

    done = connect(name, "--json", "--timeout", "10")

    assert done.returncode == 4
    assert findings(done) == {
        "route (person)": False,
        "route (group, addressed)": False,
        "to LangBot": True,
        "from LangBot": False,
    }


def test_route_that_discards_is_named_as_such(bridge: Bridge, connect: Relay, name: str) -> None:
    connect(name)
    bot = in_langbot(bridge, name)
    routes = [{**route, "filters": []} for route in bot["event_bindings"]]
    discard = {**routes[0], "target_type": "discard", "target_uuid": "", "priority": 1}
    bridge.peer.save_bot(bot["uuid"], event_bindings=[discard])
    assert "LangBot discards it" in connect(name, "--timeout", "10").stdout


def test_secrets_are_rotated_when_no_turn_is_open(
    bridge: Bridge, connect: Relay, rotate: Relay, name: str
) -> None:
    connect(name)
    old = bot_of(bridge, name)
    held = bridge.push_queue.push(f"{name}-before", f"HOLD {name}", bot=name)
    eventually(lambda: f"HOLD {name}" in bridge.model.held, what="the model is asked")

    with ThreadPoolExecutor(1) as thread:
        rotation = thread.submit(rotate, name)
        both = eventually(
            lambda: found if len((found := bot_of(bridge, name)).inbound_secrets) == 2 else None
        )
        admin = BotAdmin(bridge.deployed.stack)
        eventually(lambda: admin.state(name).paused_until > time.time(), what="the bot is paused")
        environment.sleep(SLOT_COUNT_TTL)  # until then push may act on what it has read before
        meanwhile = bridge.push_queue.push(f"{name}-meanwhile", "hello", bot=name)
        # LangBot keeps its secrets as long as a turn is open, and gets no other message meanwhile.
        assert secrets_of(in_langbot(bridge, name)["adapter_config"]) == (
            old.inbound_secrets,
            old.outbound_secrets,
        )
        bridge.model.release()
        done = rotation.result()

    assert (done.returncode, done.stderr) == (0, "")
    assert "waiting for the replies to 1 message," in done.stdout
    new = bot_of(bridge, name)
    assert both.inbound_secrets == (*new.inbound_secrets, *old.inbound_secrets)
    assert both.outbound_secrets == (*new.outbound_secrets, *old.outbound_secrets)
    assert secrets_of(in_langbot(bridge, name)["adapter_config"]) == (
        new.inbound_secrets,
        new.outbound_secrets,
    )
    assert bridge.conversation(f"{name}-before", name).wait(held, 180).text == f"echo: HOLD {name}"
    assert bridge.conversation(f"{name}-meanwhile", name).wait(meanwhile, 180).text == "echo: hello"
    secrets = {*both.inbound_secrets, *both.outbound_secrets}
    assert not any(secret in done.stdout for secret in secrets)


def test_rotation_keeps_what_is_changed_in_langbot_meanwhile(
    bridge: Bridge, connect: Relay, rotate: Relay, name: str
) -> None:
    connect(name)
    bridge.push_queue.push(name, f"HOLD {name}", bot=name)
    eventually(lambda: f"HOLD {name}" in bridge.model.held, what="the model is asked")

    with ThreadPoolExecutor(1) as thread:
        rotation = thread.submit(rotate, name)
        eventually(lambda: len(bot_of(bridge, name).inbound_secrets) == 2, what="the rotation has begun")
        bot = in_langbot(bridge, name)
        bridge.peer.save_bot(bot["uuid"], adapter_config=bot["adapter_config"] | {"callback_timeout": 20})
        bridge.model.release()
        rotation.result()

    after = in_langbot(bridge, name)["adapter_config"]
    assert after["callback_timeout"] == 20
    assert after["inbound_secret"] != bot["adapter_config"]["inbound_secret"]


def test_rotation_that_was_interrupted_is_finished(
    bridge: Bridge, connect: Relay, rotate: Relay, name: str
) -> None:
    connect(name)
    old = json.loads(secret_of(bridge, name))
    begun = {field: ["n" * 42 + field[0], old[field]] for field in ("inbound_secret", "outbound_secret")}
    bridge.deployed.client("secretsmanager").put_secret_value(
        SecretId=f"relay-local/bots/{name}", SecretString=json.dumps(old | begun)
    )

    done = rotate(name)

    assert (done.returncode, "was interrupted" in done.stdout) == (0, True)
    new = bot_of(bridge, name)
    assert (new.inbound_secrets, new.outbound_secrets) == (
        (begun["inbound_secret"][0],),
        (begun["outbound_secret"][0],),
    )
    assert secrets_of(in_langbot(bridge, name)["adapter_config"]) == (
        new.inbound_secrets,
        new.outbound_secrets,
    )


# ---------------------------------------------------------------- relay doctor


@pytest.fixture
def doctor(bridge: Bridge, relay: Relay, name: str) -> Callable[[], dict[str, dict[str, Any]]]:
    """Return the faults that `relay doctor` finds in the test's bot, by check."""

    def faults() -> dict[str, dict[str, Any]]:
        done = relay("doctor", "--bot", name, "--langbot", bridge.peer.url, "--json")
        found = map(json.loads, done.stdout.splitlines())
        return {one["check"].removeprefix(f"{name}: "): one for one in found if one["ok"] is False}

    return faults


def test_doctor_finds_no_fault_in_a_connected_bot(
    bridge: Bridge, connect: Relay, doctor: Callable[[], dict[str, Any]], name: str
) -> None:
    connect(name)
    assert doctor() == {}


def test_doctor_names_what_was_filled_in_wrong_and_what_is_lost(
    bridge: Bridge, connect: Relay, doctor: Callable[[], dict[str, Any]], relay: Relay, name: str
) -> None:
    connect(name)
    bot = in_langbot(bridge, name)
    wrong = {"callback_url": bot["adapter_config"]["callback_url"] + "/", "signature_required": False}
    bridge.peer.save_bot(bot["uuid"], adapter_config=bot["adapter_config"] | wrong)
    relay("bots", "test", name, "--timeout", "10")

    found = doctor()

    assert found.keys() == {"LangBot's form", "LangBot's log", "signatures"}
    assert "giving up" in found["LangBot's log"]["text"]


def test_doctor_tells_of_an_agent_without_a_runner(
    bridge: Bridge, connect: Relay, doctor: Callable[[], dict[str, Any]], name: str
) -> None:
    connect(name)
    bot = in_langbot(bridge, name)
    agent = bridge.peer.make_agent(name)
    to_agent = {"target_type": "agent", "target_uuid": agent}
    routes = [{**route, **to_agent} for route in bot["event_bindings"]]
    bridge.peer.save_bot(bot["uuid"], event_bindings=routes)

    found = doctor()

    assert found.keys() == {"route (person)", "route (group, addressed)"}
    assert found["route (person)"]["text"] == f"the agent {name} has no runner"


@pytest.mark.parametrize(
    ("scopes", "why"),
    [
        ([], "LangBot does not know this API key"),
        (["resource.view"], "needs the scope resource.manage"),
    ],
)
def test_api_key_that_may_not_change_bots_is_refused(
    bridge: Bridge, relay: Relay, scopes: list[str], why: str
) -> None:
    key = bridge.peer.api_key(*scopes) if scopes else "lbk_unknown"
    done = relay("connect", "--langbot", bridge.peer.url, "--api-key", key)
    assert (done.returncode, why in done.stderr) == (1, True)
    assert key not in done.stdout + done.stderr
