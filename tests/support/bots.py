"""The secrets of the tests' bots."""

import json
from typing import Any

from support.deployed import IN, OUT, Talk


def change_secret(talk: Talk, **fields: Any) -> None:
    """Set fields of the secret of the test's bot."""
    secret = {"url": talk.bot.url, "inbound_secret": IN, "outbound_secret": OUT} | fields
    name = talk.deployed.local.outputs["BotSecretPrefix"] + talk.name
    talk.deployed.client("secretsmanager").put_secret_value(SecretId=name, SecretString=json.dumps(secret))
