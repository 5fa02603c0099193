"""The deployed local stack and a real LangBot, connected to each other through two proxies."""

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from langbot.bridge import Bridge
from langbot.faults import Proxy
from langbot.peer.langbot import Peer, Settings
from langbot.peer.model import Model
from local.stack import LOCAL, local_stack
from relay import Queue, Stack

INSTALL = Path(__file__).with_name("peer") / "install.sh"
TIMINGS = pytest.StashKey[dict[str, float]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TIMINGS] = {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for what, seconds in config.stash[TIMINGS].items():
        terminalreporter.write_line(f"{what}: {seconds:.1f} s")


@pytest.fixture(scope="session")
def langbot_venv(pytestconfig: pytest.Config) -> Path:
    """The environment that LangBot is installed in; the first time that takes minutes, and shows."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        subprocess.run([str(INSTALL), sys.executable], check=True)
    return LOCAL / "langbot-venv"


@pytest.fixture(scope="session")
def bridge(
    langbot_venv: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Bridge]:
    """One for all tests: a test that changes a setting changes it back, or on both sides."""
    timings = pytestconfig.stash[TIMINGS]
    folder = tmp_path_factory.mktemp("stack")
    began = time.monotonic()
    with (
        Model() as model,
        Peer(langbot_venv, tmp_path_factory.mktemp("langbot"), model.url) as peer,  # boots meanwhile
        Proxy() as to_bot,
        Proxy() as to_relay,
        local_stack(folder=folder) as stack,
    ):
        timings["the stack was up after"] = time.monotonic() - began
        to_relay.target = stack.outputs["CallbackUrl"]
        peer.configure(Settings(to_relay.url, inbound_secret="inbound-1", outbound_secret="outbound-1"))
        timings["LangBot was up after"] = time.monotonic() - began
        to_bot.target = peer.bot_url
        stack.connect(to_bot.url, peer.settings.inbound_secret, peer.settings.outbound_secret)
        client = Stack.from_file(folder / "outputs.json")
        yield Bridge(stack, peer, model, to_bot, to_relay, Queue(client), client)


@pytest.fixture
def session() -> str:
    """The id of a session that nobody has talked in."""
    return f"ticket-{uuid.uuid4().hex[:8]}"
