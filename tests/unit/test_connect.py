"""What `relay connect` takes from LangBot, and what it says before the question."""

import json
from types import SimpleNamespace

import pytest

from relay_cli.commands.connect import connect_sides
from relay_cli.connection import RelayBot
from relay_cli.terminal import CommandFailed

CALLBACK = "https://relay.example/callbacks/sales"
SIGNING = {"inbound_secret": "i" * 43, "outbound_secret": "o" * 43}
FOUND = {
    "uuid": "uuid-1",
    "name": "sales",
    "enable": True,
    "adapter_config": {"callback_url": CALLBACK, "signature_required": True, **SIGNING},
}


class Asked(Exception):
    """The question, before which nothing may be changed."""


class Sides:
    """A bot whose LangBot says that messages to it go to `webhook_url`."""

    name = name_in_langbot = "sales"
    stack = SimpleNamespace(endpoint_url=None)

    def __init__(self, webhook_url):
        bot = FOUND | {"adapter_runtime_values": {"webhook_url": webhook_url}}
        self.api = SimpleNamespace(url="https://langbot.example", bot=lambda _: bot)

    def report(self, text):
        pass

    def ask(self, changes, secret):
        raise Asked(*changes)


def relay_bot(url=""):
    return RelayBot("sales", json.dumps({"url": url, **SIGNING}), CALLBACK)


@pytest.mark.parametrize("url", ["@other.example/x", ".other.example", ":5301/x", "https://other.example", 1])
def test_langbot_does_not_decide_the_host_of_the_bots_url(url):
    with pytest.raises(CommandFailed, match="not a path that begins with /"):
        connect_sides(Sides(url), relay_bot(), FOUND)


@pytest.mark.parametrize(
    ("webhook_url", "shown"),
    [
        ("/bots/uuid-1?token=hush", "/bots/uuid-1?…"),
        ("//other.example/x", "//other.example/x"),
        (None, "/bots/uuid-1"),
    ],
)
def test_the_url_is_shown_before_the_question(webhook_url, shown):
    with pytest.raises(Asked) as asked:
        connect_sides(Sides(webhook_url), relay_bot("https://old.example/bots/2"), FOUND)
    url = f"https://langbot.example{shown}"
    assert asked.value.args == (f"the bot's secret: url: https://old.example/bots/2 -> {url}",)


def test_the_host_of_a_new_bots_url_is_shown_before_the_question():
    with pytest.raises(Asked) as asked:
        connect_sides(Sides(None), relay_bot(), None)
    assert (
        asked.value.args[-1]
        == "the bot's secret: url: none -> https://langbot.example, with the new bot's path"
    )
