"""The deployed local stack and a real LangBot, connected to each other through two proxies."""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from langbot.bridge import Bridge
from langbot.peer.model import Model
from langbot.peer.peer import Peer, Settings
from langbot.proxy import Proxy
from local.local_stack import LOCAL, local_stack
from relay import PushQueue, Stack
from support.deployed import Deployed

LANGBOT = LOCAL / "langbot"
HURRIED_RELAY = (str(Path(__file__).with_name("hurried_relay.py")),)
"""The command `relay` of tests that finish a rotation, and do not wait minutes for that."""

FIGURES = pytest.StashKey[list[str]]()
"""Lines that are written at the end of the run."""


def installed_release() -> Version | None:
    """Return the release of LangBot that is installed, if one is."""
    installed = next(LANGBOT.glob("lib/*/site-packages/langbot-*.dist-info"), None)
    return Version(installed.stem.removeprefix("langbot-")) if installed else None


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []
    config.addinivalue_line("markers", "since(release): tests what LangBot has from this release on")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of what the installed release of LangBot does not have."""
    release = installed_release()

    def too_new(item: pytest.Item) -> bool:
        since = item.get_closest_marker("since")
        return bool(since and release and release < Version(since.args[0]))

    config.hook.pytest_deselected(items=[item for item in items if too_new(item)])
    items[:] = [item for item in items if not too_new(item)]


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", {})  # goes to the process that has started this one
    output["figures"] = session.config.stash[FIGURES]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over the figures of a process that ran some of the tests."""
    node.config.stash[FIGURES] += getattr(node, "workeroutput", {}).get("figures", [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[FIGURES]:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def langbot_venv() -> Path:
    """The environment that LangBot is installed in."""
    if not LANGBOT.exists():
        pytest.fail("LangBot is not installed; run these tests by `make test-langbot`, which installs it")
    return LANGBOT


@pytest.fixture(scope="session")
def langbot_release(bridge: Bridge) -> Version:
    """The release of the bridge's LangBot."""
    release = installed_release()
    assert release, bridge
    return release


@pytest.fixture(scope="session")
def bridge(
    langbot_venv: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Bridge]:
    """One bridge for a process's tests: a test that changes a setting changes it back, or on both sides."""
    figures = pytestconfig.stash[FIGURES]
    folder = tmp_path_factory.mktemp("stack")
    began = time.monotonic()
    with (
        Model() as model,
        Peer(langbot_venv, tmp_path_factory.mktemp("langbot"), model.url) as peer,  # boots meanwhile
        Proxy() as to_bot,
        Proxy() as to_relay,
        local_stack(folder=folder) as stack,
    ):
        figures.append(f"the stack was up after: {time.monotonic() - began:.1f} s")
        to_relay.target = stack.outputs["CallbackUrl"]
        peer.configure(Settings(to_relay.url, inbound_secret="inbound-1", outbound_secret="outbound-1"))
        figures.append(f"LangBot was up after: {time.monotonic() - began:.1f} s")
        to_bot.target = peer.url
        deployed = Deployed(stack, Stack.from_file(folder / "outputs.json"))
        bridge = Bridge(deployed, peer, model, to_bot, to_relay, PushQueue(deployed.stack))
        stack.connect(bridge.bot_url, peer.settings.inbound_secret, peer.settings.outbound_secret)
        yield bridge


@pytest.fixture
def session() -> str:
    """The id of a new session."""
    return f"ticket-{uuid.uuid4().hex[:8]}"
