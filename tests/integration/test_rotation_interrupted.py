"""`relay connect --rotate` while the bot's secret is taken away."""

from argparse import Namespace

import pytest

from relay.client.bot_admin import BotAdmin
from relay_cli import connect, langbot_api
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


@pytest.mark.parametrize("good_reads", [2, 3])
def test_rotation_says_that_the_secret_is_gone(talk, monkeypatch, good_reads):
    api, secret_of, good = Api(talk.deployed.callback_url(talk.name)), BotAdmin.secret, [True] * good_reads

    def secret(admin, bot):
        return secret_of(admin, bot) if good and good.pop() else None

    monkeypatch.setattr(BotAdmin, "secret", secret)
    monkeypatch.setattr(langbot_api, "from_options", lambda _: api)
    options = Namespace(bot=talk.name, rotate=True, yes=True, json=False, timeout=5)
    with pytest.raises(CommandFailed, match="was taken away or changed meanwhile"):
        connect.run(talk.deployed.stack, options)
