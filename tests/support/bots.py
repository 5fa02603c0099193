"""The secrets of the tests' bots."""

import json
from dataclasses import replace
from typing import Any

from support.deployed import IN, OUT, Talk


def change_secret(talk: Talk, **fields: Any) -> None:
    """Set fields of the secret of the test's bot."""
    secret = {"url": talk.bot.url, "inbound_secret": IN, "outbound_secret": OUT} | fields
    name = talk.deployed.local.outputs["BotSecretPrefix"] + talk.name
    talk.deployed.client("secretsmanager").put_secret_value(SecretId=name, SecretString=json.dumps(secret))


def further_bot(talk: Talk, number: int, url: str) -> Talk:
    """Add a bot at `url` to the stack, and return the test's session with it."""
    bot = replace(talk, name=f"{talk.name}-{number}")
    talk.deployed.local.connect(url, IN, OUT, bot=bot.name)
    change_secret(bot, url=url, inbound_secret=[IN, OUT])
    return bot
