"""LangBot is restarted, as for an upgrade, while messages of several sessions flow and its bot is paused."""

from pathlib import Path

import pytest

from langbot.bridge import Bridge
from langbot.load import Load, Outcome
from support.command_line import CommandLine

pytestmark = pytest.mark.timeout(1200)  # the first test boots LangBot


def test_restart_of_a_paused_and_drained_langbot_loses_no_turn(
    bridge: Bridge, session: str, tmp_path: Path
) -> None:
    relay = CommandLine(bridge.deployed, tmp_path)

    def run(*words: str) -> None:
        done = relay("bots", *words, "default")
        assert done.returncode == 0, done.stdout + done.stderr

    # Of other tests, which LangBot ignored or dropped: the command would wait for their replies.
    bridge.forget_open_messages()
    with Load(bridge, session) as load:
        load.flows()
        run("pause", "--drain")
        bridge.peer.restart()
        run("test")
        run("resume")
        load.flows()
    # LangBot merges what a session sent meanwhile.
    records = [bridge.deployed.state(said.sent, "answered") for said in load.said]
    assert {record["attempts"] for record in records} == {1}
    assert Outcome(bridge, load).sessions_not_as_emitted() == []
