"""relay connect: connect a bot of the relay with its HTTP bot in LangBot."""

from __future__ import annotations

import argparse
from typing import Any

import relay
from relay.domain.bot import Bot, secret_fields
from relay_cli import langbot_api
from relay_cli.arguments import STACK, TIMEOUT, YES, bot_name
from relay_cli.bot_secret import changed_fields, with_secrets
from relay_cli.both_sides import BothSides
from relay_cli.connection import RelayBot, address_warnings, plan, without_query
from relay_cli.deployment import write_secret
from relay_cli.langbot_api import Json, LangBotApi
from relay_cli.terminal import CommandFailed


def add_commands(commands: Any) -> None:
    """Add the command to the command line."""
    connect = commands.add_parser(
        "connect", parents=[STACK, TIMEOUT, YES], help="connect a bot with LangBot; ask before a change"
    )
    connect.add_argument("--bot", type=bot_name, default="default", help="which bot (default: %(default)s)")
    langbot_api.add_options(connect, required=True)
    connect.set_defaults(run=run_connect)


def run_connect(stack: relay.Stack, options: argparse.Namespace) -> int:
    """Connect a bot and test both directions; return 4 if one does not work. Raise CommandFailed."""
    sides = BothSides(stack, options.bot, options)
    found = connect_sides(sides, *sides.read())
    return 0 if sides.test_both_ways(found) else 4


def connect_sides(sides: BothSides, relay_bot: RelayBot, found: Json | None) -> Json:
    """Make both sides fit together; return LangBot's bot."""
    bot, secret = relay_bot.bot, relay_bot.secret
    if secret is not None and secret_fields(secret) is None:
        raise CommandFailed(2, f"{bot.unusable}; correct it in Secrets Manager")
    planned = plan(relay_bot, found)
    changes = list(planned.changes)
    # The operator may have given the bot another address of the same LangBot.
    url = bot.url if found and bot.url.rstrip("/").endswith(found["uuid"]) else ""
    if not url:
        url = _webhook_url(sides.api, found) if found else ""
        shown = without_query(Bot(sides.name, url)) or f"{sides.api.url}, with the new bot's path"
        changes.append(f"the bot's secret: url: {without_query(bot) or 'none'} -> {shown}")
    if planned.secrets:
        changes.append("the bot's secret: new signing secrets")
    for warning in address_warnings(url or sides.api.url, deployed=not sides.stack.endpoint_url):
        sides.report(f"warning: {warning}")
    if found and not changes:
        sides.report(f"bot {sides.name} is connected, nothing changes")
        return found
    sides.ask(changes, secret)
    saves_langbot = bool(found and planned.changes)
    found = found or sides.api.create_bot(sides.name_in_langbot, planned.adapter_config)
    # The relay must know a secret before LangBot signs with it.
    after = with_secrets(secret, planned.secrets, url=url or _webhook_url(sides.api, found))
    if changed_fields(secret, after):
        write_secret(sides.stack, sides.name, secret, after)
    if saves_langbot:
        sides.save_in_langbot(found, planned.adapter_config)
    return found


def _webhook_url(api: LangBotApi, found: Json) -> str:
    """Return the URL to which messages for LangBot's bot are posted.

    LangBot's `webhook_full_url` can name a port that it does not listen on, so only its path is used. Raise
    CommandFailed if it is not a path, because that would choose the host.
    """
    values = api.bot(found["uuid"]).get("adapter_runtime_values") or {}
    path = values.get("webhook_url") or f"/bots/{found['uuid']}"
    if not (isinstance(path, str) and path.startswith("/")):
        raise CommandFailed(1, "LangBot's webhook_url of the bot is not a path that begins with /")
    return api.url + path
