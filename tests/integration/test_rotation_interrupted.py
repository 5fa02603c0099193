"""`relay bots rotate` while the bot's secret is taken away or changed."""

import json
from argparse import Namespace

import pytest

from relay.client.bot_admin import BotAdmin
from relay_cli import langbot_api
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
def rotate(talk, monkeypatch):
    """Run the command for the test's bot."""
    api = Api(talk.deployed.callback_url(talk.name))
    monkeypatch.setattr(langbot_api, "from_options", lambda _: api)
    options = Namespace(name=talk.name, yes=True, json=False, timeout=30)
    return lambda: rotate_command.run_rotate(talk.deployed.stack, options)


@pytest.mark.parametrize("good_reads", [2, 3])
def test_rotation_says_that_the_secret_is_gone(rotate, monkeypatch, good_reads):
    secret_of, good = BotAdmin.secret, [True] * good_reads

    def secret(admin, bot):
        return secret_of(admin, bot) if good and good.pop() else None

    monkeypatch.setattr(BotAdmin, "secret", secret)
    with pytest.raises(CommandFailed, match="was taken away or changed meanwhile"):
        rotate()


def test_rotation_keeps_a_secret_that_is_changed_meanwhile(talk, rotate, monkeypatch):
    admin = BotAdmin(talk.deployed.stack)
    changed = json.dumps({"url": talk.bot.url, "inbound_secret": "k" * 43, "outbound_secret": "l" * 43})

    def change_meanwhile(*_):
        admin.replace_secret(talk.name, changed)
        return False

    monkeypatch.setattr(rotate_command, "may_sign_with_old", change_meanwhile)
    with pytest.raises(CommandFailed, match="was changed meanwhile"):
        rotate()
    assert admin.secret(talk.name) == changed
