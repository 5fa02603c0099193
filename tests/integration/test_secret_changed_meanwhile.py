"""The commands that write a bot's secret, while another operator takes it away or changes it."""

import json
from argparse import Namespace

import pytest

from relay.client.bot_admin import BotAdmin
from relay_cli import both_sides, langbot_api
from relay_cli.both_sides import BothSides
from relay_cli.commands import bots, connect
from relay_cli.commands.bots import rotate as rotate_command
from relay_cli.terminal import CommandFailed
from support.deployed import IN, OUT


class Api:
    """LangBot's HTTP API, with one bot."""

    url = "http://langbot"

    def __init__(self, callback_url):
        config = {"callback_url": callback_url, "inbound_secret": IN, "outbound_secret": OUT}
        self.found = {"uuid": "1", "name": "x", "adapter_config": config}

    def version(self):
        return "v4.11.2"

    def http_bots(self):
        return [self.found]

    def bot(self, _):
        return self.found

    def save_bot(self, _, adapter_config):
        self.found["adapter_config"] = adapter_config

    def route(self, _uuid, _event):
        """A release before 4.11 has no routes."""


@pytest.fixture
def api(talk, monkeypatch):
    api = Api(talk.deployed.callback_url(talk.name))
    monkeypatch.setattr(langbot_api, "from_options", lambda _: api)
    return api


@pytest.fixture
def rotate(talk, api):
    """Run the command for the test's bot."""
    options = Namespace(name=talk.name, yes=True, json=False, timeout=30, stack=None)
    return lambda: rotate_command.run_rotate(talk.deployed.stack, options)


@pytest.fixture
def change(talk):
    """Change the secret as another operator does, who revokes all that it has had."""
    admin = BotAdmin(talk.deployed.stack)
    changed = json.dumps({"url": talk.bot.url, "inbound_secret": "k" * 43, "outbound_secret": "l" * 43})

    def change(*_):
        assert admin.replace_secret(talk.name, admin.secret(talk.name), changed)
        return True

    yield change
    assert admin.secret(talk.name) == changed


@pytest.mark.parametrize("good_reads", [1, 2, 3, 4])
def test_rotation_says_that_the_secret_is_gone(rotate, monkeypatch, good_reads):
    secret_of, good = BotAdmin.secret, [True] * good_reads

    def secret(admin, bot):
        return secret_of(admin, bot) if good and good.pop() else None

    monkeypatch.setattr(BotAdmin, "secret", secret)
    with pytest.raises(CommandFailed, match="was taken away or changed meanwhile"):
        rotate()


def test_rotation_keeps_a_secret_that_is_changed_while_it_waits(rotate, change, monkeypatch):
    monkeypatch.setattr(rotate_command, "may_sign_with_old", lambda *_: not change())
    with pytest.raises(CommandFailed, match="changed meanwhile"):
        rotate()


def test_rotation_keeps_a_secret_that_is_changed_during_its_question(rotate, change, monkeypatch):
    monkeypatch.setattr(both_sides, "confirmed", change)
    with pytest.raises(CommandFailed, match="changed meanwhile"):
        rotate()


def test_connect_keeps_a_secret_that_is_changed_during_its_question(talk, api, change, monkeypatch):
    api.found["adapter_config"]["callback_url"] = "https://elsewhere.example"
    before = dict(api.found["adapter_config"])
    monkeypatch.setattr(both_sides, "confirmed", change)
    options = Namespace(bot=talk.name, yes=False, json=False, timeout=30, stack=None)
    with pytest.raises(CommandFailed, match="changed meanwhile"):
        connect.run_connect(talk.deployed.stack, options)
    assert api.found["adapter_config"] == before


def test_langbot_gets_no_secret_that_was_revoked_while_its_turns_ended(talk, api, change, monkeypatch):
    before = dict(api.found["adapter_config"])
    sides = BothSides(talk.deployed.stack, talk.name, Namespace(yes=True, json=False))
    monkeypatch.setattr(BothSides, "_wait_for_turns", change)
    with pytest.raises(CommandFailed, match="changed meanwhile"):
        sides.save_in_langbot(api.found, before | {"callback_url": "https://relay.example"})
    assert api.found["adapter_config"] == before


def test_set_keeps_a_secret_that_is_changed_meanwhile(talk, change, monkeypatch):
    names = ("url", "session_type", "replies", "group_at", "inbound_secret", "outbound_secret")
    fields = dict.fromkeys(names) | {"timezone": "UTC"}
    after = bots.changed

    def changed_after_a_while(*arguments):
        change()
        return after(*arguments)

    monkeypatch.setattr(bots, "changed", changed_after_a_while)
    with pytest.raises(CommandFailed, match="changed meanwhile"):
        bots.run_set(talk.deployed.stack, Namespace(name=talk.name, json=False, **fields))
