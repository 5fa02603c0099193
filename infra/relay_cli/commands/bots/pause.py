"""relay bots pause, relay bots resume: keep a bot's messages on the queue while its LangBot is upgraded."""

from __future__ import annotations

import argparse
import sys

import relay
from relay.domain.admission import MAX_PAUSE
from relay.domain.diagnosis import pluralize
from relay.domain.message import leaves_queue_at
from relay.domain.timestamps import date_and_time, utc_text
from relay_cli.deployment import no_bot
from relay_cli.open_turns import until_drained
from relay_cli.terminal import CommandFailed, say, say_json

REPORT_INTERVAL = 15
"""Seconds between two lines that say what a drain waits for."""


def run_pause(stack: relay.Stack, options: argparse.Namespace) -> None:
    """Pause a bot; with `--drain` wait until its open turns have ended. Raise CommandFailed."""
    admin, bot = _admin_of(stack, options.name), options.name
    admin.pause(bot)
    state = admin.state(bot)
    if options.drain:
        _drain(admin, bot, state.paused_since)
    if options.json:
        say_json({"bot": bot, "paused_since": state.item["paused_since"], "drained": options.drain})
        return
    parked_from = date_and_time(utc_text(leaves_queue_at(state.paused_since)))
    drained = " and drained: LangBot has no open turn of it" if options.drain else ""
    say(
        f"bot {bot} is paused{drained}. Its messages wait on the queue until `relay bots resume {bot}`. "
        f"Those since the pause began are parked from {parked_from} on."
    )


def run_resume(stack: relay.Stack, options: argparse.Namespace) -> None:
    """End the pause of a bot. Raise CommandFailed."""
    admin, bot = _admin_of(stack, options.name), options.name
    was_paused = admin.resume(bot)
    if options.json:
        say_json({"bot": bot, "was_paused": was_paused})
    elif was_paused:
        say(f"bot {bot} is resumed: new messages go out now, those that waited within {MAX_PAUSE} s")
    else:
        say(f"bot {bot} is not paused")


def _admin_of(stack: relay.Stack, bot: str) -> relay.BotAdmin:
    """Return what can change a bot that must exist. Raise CommandFailed."""
    admin = relay.BotAdmin(stack)
    if not admin.exists(bot):
        raise no_bot(bot)
    return admin


def _drain(admin: relay.BotAdmin, bot: str, since: float) -> None:
    """Wait until a bot that is paused since then has no open turn. Raise CommandFailed if it stays paused."""
    from botocore.exceptions import BotoCoreError, ClientError

    stays = f"bot {bot} stays paused and may have open turns; `relay bots resume {bot}` resumes it"
    next_report = 0.0
    try:
        for left, waited in until_drained(admin, bot):
            if admin.state(bot).paused_since != since:
                break
            # A bot that was idle is drained before the first line.
            if waited >= (next_report if left else max(next_report, REPORT_INTERVAL)):
                next_report = waited + REPORT_INTERVAL
                what = f"the replies to {pluralize(len(left), 'message')}" if left else "attempts to end"
                say(f"waiting for {what}, {waited:.0f} s so far", sys.stderr)
        if admin.state(bot).paused_since != since:
            raise CommandFailed(1, f"bot {bot} was resumed meanwhile, so it is not drained")
    except KeyboardInterrupt:
        raise CommandFailed(130, stays) from None
    except (ClientError, BotoCoreError) as error:
        raise CommandFailed(1, f"{error}; {stays}") from error
