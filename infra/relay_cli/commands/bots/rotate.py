"""relay bots rotate: give both sides of a bot new signing secrets, without a gap."""

from __future__ import annotations

import argparse

import relay
from relay import environment
from relay.domain.admission import SLOT_TIMEOUT
from relay.domain.bot import Bot
from relay.domain.diagnosis import pluralize
from relay.domain.keys import RecordKey
from relay_cli.bot_secret import changed_meanwhile, new_secret, with_secrets
from relay_cli.both_sides import BothSides
from relay_cli.connection import fits, secrets_of
from relay_cli.deployment import write_secret
from relay_cli.langbot_api import Json
from relay_cli.terminal import CommandFailed

STEPS = (
    "the bot's secret: new signing secrets before the old ones",
    "LangBot: the new signing secrets, when no turn is open; it reloads the bot",
    "the bot's secret: the old signing secrets are taken out, when LangBot has ended the turns that it began "
    f"with them, in {SLOT_TIMEOUT // 60} minutes or more",
)
"""What the operator is told of each step."""


def run_rotate(stack: relay.Stack, options: argparse.Namespace) -> int:
    """Take the steps that are still to do; return 4 if a direction does not work. Raise CommandFailed."""
    sides = BothSides(stack, options.name, options)
    relay_bot, found = sides.read()
    if found is None:
        raise CommandFailed(2, f"LangBot has no HTTP bot for this one: {_connect_first(sides.name)}")
    has_begun = rotation_has_begun(relay_bot.bot, found["adapter_config"])
    if has_begun:
        sides.report("an earlier rotation was interrupted, and is finished now")
    sides.ask(STEPS[has_begun:], relay_bot.secret)
    if not has_begun:
        _add_new_secrets(sides, relay_bot.secret, found["adapter_config"])
    newest = sides.relay_bot().newest
    # Also if LangBot's form has them: it may not use what its form has.
    open_before = sides.save_in_langbot(found, found["adapter_config"] | newest)
    if not sides.test_both_ways(found):
        sides.report("the relay still knows both secrets; run the command again when both directions work")
        return 4
    sides.report("the relay knows both secrets until the last step: if you stop here, run the command again")
    _wait_for_turns(sides, open_before)
    relay_bot = sides.relay_bot()
    if relay_bot.newest != newest:
        raise changed_meanwhile(sides.name)
    write_secret(sides.stack, sides.name, relay_bot.secret, with_secrets(relay_bot.secret, newest))
    sides.report("the old secrets are taken out")
    return 0


def rotation_has_begun(bot: Bot, adapter_config: Json) -> bool:
    """Tell whether a rotation was interrupted, and has to be finished first. Raise CommandFailed."""
    if not fits(bot, adapter_config):
        raise CommandFailed(2, f"LangBot and the relay have different secrets: {_connect_first(bot.name)}")
    known = bot.inbound_secrets, bot.outbound_secrets
    return known != tuple((secret,) for secret in secrets_of(adapter_config).values())


def _connect_first(bot: str) -> str:
    return f"run `relay connect --bot {bot}` first"


def _add_new_secrets(sides: BothSides, secret: str | None, adapter_config: Json) -> None:
    """Give the relay new secrets, which it uses before those that LangBot has."""
    both = {field: [new_secret(), old] for field, old in secrets_of(adapter_config).items()}
    write_secret(sides.stack, sides.name, secret, with_secrets(secret, both))


def _wait_for_turns(sides: BothSides, messages: list[RecordKey]) -> None:
    """Wait until LangBot has ended the turns that it began with the old secrets.

    `messages` are those of them that wait for a reply.
    """
    began = environment.now()
    while True:
        still_open = sides.admin.open_messages(sides.name)
        left = [message for message in messages if message in still_open]
        waited = environment.now() - began
        if not may_sign_with_old(waited, len(left)):
            return
        seen = f"; {pluralize(len(left), 'message')} without a reply" if left else ""
        sides.report(f"waiting for the turns that LangBot began before, {waited:.0f} s so far{seen}")
        environment.sleep(5)


def may_sign_with_old(waited: float, open_turns: int) -> bool:
    """Tell whether LangBot may still sign with an old secret, so many seconds after it got a new one.

    It finishes a turn with the secret with which it began. `open_turns` are those whose message waits for a
    reply. Others cannot be seen, and have SLOT_TIMEOUT seconds to end.
    """
    return open_turns > 0 or waited < SLOT_TIMEOUT
