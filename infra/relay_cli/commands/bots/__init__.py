"""relay bots: list, change, test, retry and remove bots; `rotate` and `pause` have files of their own."""

from __future__ import annotations

import argparse
import time
from typing import Any

import relay
from relay.adapters.queue_size import queue_size
from relay.domain.admission import MAX_PAUSE, BotState
from relay.domain.bot import parse_bot, weakness
from relay.domain.diagnosis import pluralize
from relay.domain.timestamps import date_and_time, utc_text
from relay_cli import langbot_api
from relay_cli.arguments import STACK, TIMEOUT, YES, bot_name
from relay_cli.bot_secret import changed, changed_fields
from relay_cli.commands.bots.pause import run_pause, run_resume
from relay_cli.commands.bots.rotate import run_rotate
from relay_cli.connection import without_query
from relay_cli.connection_test import run_test
from relay_cli.deployment import Deployment, no_bot, write_secret
from relay_cli.finding import show
from relay_cli.terminal import CommandFailed, ask_secret, confirmed, say, say_json

_FIELDS = ("url", "session_type", "timezone", "replies", "group_at")
_SECRETS = ("inbound_secret", "outbound_secret")
_COLUMNS = ("BOT", "URL", "CIRCUIT", "IN FLIGHT", "FAILURES", "LAST ERROR")


def add_commands(commands: Any) -> None:
    """Add the parsers of the commands."""
    bots = commands.add_parser("bots", help="list, change, test, retry, pause, rotate or remove bots")
    actions = bots.add_subparsers(dest="action", required=True, metavar="ACTION")
    bot = argparse.ArgumentParser(add_help=False, parents=[STACK])
    bot.add_argument("name", type=bot_name, metavar="NAME", help="the bot's name")

    listing = actions.add_parser(
        "list", parents=[STACK], help="list all bots, a line each, without their secrets"
    )
    listing.set_defaults(run=run_list)
    fields = actions.add_parser(
        "set", parents=[bot], help="change fields of a bot, keep all others; an empty value removes a field"
    )
    fields.add_argument("--url", help="LangBot's Inbound Webhook URL")
    fields.add_argument("--session-type", metavar="person|group", help="the type of its sessions")
    fields.add_argument("--timezone", help="of LangBot's host, e.g. Asia/Shanghai")
    fields.add_argument("--replies", metavar="push", help="push: its replies name no message")
    fields.add_argument(
        "--group-at", action=argparse.BooleanOptionalAction, help="address the bot in each message to a group"
    )
    for direction, label in (("inbound", "Inbound"), ("outbound", "Outbound")):
        fields.add_argument(
            f"--{direction}-secret",
            action="store_true",
            help=f"ask for LangBot's {label} Signing Secret, or read it from standard input",
        )
    fields.set_defaults(run=run_set)
    test = actions.add_parser("test", parents=[bot, TIMEOUT], help="send a message, wait for its reply")
    test.set_defaults(run=run_bot_test)
    retry = actions.add_parser("retry", parents=[bot], help="try a failing bot again at once")
    retry.set_defaults(run=run_retry)
    pause = actions.add_parser("pause", parents=[bot], help="keep a bot's messages on the queue")
    pause.add_argument("--drain", action="store_true", help="wait until its open turns have ended")
    pause.set_defaults(run=run_pause)
    resume = actions.add_parser("resume", parents=[bot], help="end the pause of a bot")
    resume.set_defaults(run=run_resume)
    rotate = actions.add_parser(
        "rotate",
        parents=[bot, TIMEOUT, YES],
        help="give both sides new secrets, without a gap; it takes 3 minutes or more",
    )
    langbot_api.add_options(rotate, required=True)
    rotate.set_defaults(run=run_rotate)
    remove = actions.add_parser("remove", parents=[bot, YES], help="delete a bot's secret")
    remove.set_defaults(run=run_remove)


def existing_secret(admin: relay.BotAdmin, name: str) -> str:
    """Return the secret of a bot that must exist."""
    secret = admin.secret(name)
    if secret is None:
        raise no_bot(name)
    return secret


# ---------------------------------------------------------------- list


def run_list(stack: relay.Stack, options: argparse.Namespace) -> None:
    """Print a line for each bot."""
    most = int(Deployment(stack).parameters["MaxInFlight"])
    bots = [listed(relay.BotAdmin(stack), name, most) for name in relay.BotAdmin(stack).names()]
    if options.json:
        for fields in bots:
            say_json(fields)
        return
    table = [_COLUMNS, *map(row, bots)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        say("  ".join(padded).replace("\n", " ").rstrip())


def listed(admin: relay.BotAdmin, name: str, most: int) -> dict[str, Any]:
    """Return what the list says of a bot, for programs; `most` is the stack's MaxInFlight."""
    bot, state = parse_bot(name, admin.secret(name) or ""), admin.state(name)
    return {
        "bot": name,
        "url": without_query(bot),
        "circuit": circuit(state, time.time()),
        "paused_since": utc_text(state.paused_since) if state.paused_since else None,
        "in_flight": len(admin.open_messages(name)),
        "max_in_flight": most,
        "failures": state.failures,
        "last_error": state.last_error,
        "problem": bot.unusable or weakness(bot),
    }


def row(bot: dict[str, Any]) -> tuple[str, ...]:
    """Return what the list says of a bot, for people."""
    in_flight, most = bot["in_flight"], bot["max_in_flight"]
    slots = f"{in_flight} of {most}" if most else str(in_flight)
    error = bot["last_error"] or bot["problem"] or "-"
    return bot["bot"], bot["url"] or "-", bot["circuit"], slots, str(bot["failures"]), error


def circuit(state: BotState, now: float) -> str:
    """Return the state of a bot's circuit breaker, or its pause, at `now` (Unix seconds), for people."""
    if state.paused_since:
        return f"paused since {date_and_time(utc_text(state.paused_since))}"
    if pause := state.pause_left(now):
        return f"paused for {pause:.0f} s"
    if not state.probe_at:
        return "closed"
    if state.probe_at <= now:
        return "open, the next message is tried"
    seconds = f"{state.probe_at - now:.0f} s"
    return f"probing, for up to {seconds}" if state.probing else f"open for {seconds}"


# ---------------------------------------------------------------- set, test, retry, remove


def run_set(stack: relay.Stack, options: argparse.Namespace) -> None:
    """Change fields of a bot's secret, and keep the rest of it."""
    given = {name: getattr(options, name) for name in _FIELDS}
    changes = {name: value for name, value in given.items() if value is not None}
    secrets = [name for name in _SECRETS if getattr(options, name)]
    if not changes and not secrets:
        known = (f"--{name.replace('_', '-')}" for name in (*_FIELDS, *_SECRETS))
        raise CommandFailed(2, f"name a field to change: {', '.join(known)}")
    changes |= {name: ask_secret(name) for name in secrets}
    before = relay.BotAdmin(stack).secret(options.name)
    after = changed(options.name, before, changes)
    names = changed_fields(before, after)
    if names:
        write_secret(stack, options.name, before, after)
    if options.json:
        say_json({"bot": options.name, "changed": names})
    elif before is None:
        say(
            f"made bot {options.name} with new secrets. LangBot needs them, and the callback URL "
            f"{stack.callback_url(options.name)}: `relay connect --bot {options.name}` sets all three"
        )
    elif names:
        say(f"bot {options.name}: {', '.join(names)} changed; the relay uses it within a minute")
    else:
        say(f"bot {options.name}: nothing changes")


def run_bot_test(stack: relay.Stack, options: argparse.Namespace) -> int:
    """Test both directions; return 4 if one does not work."""
    bot = parse_bot(options.name, existing_secret(relay.BotAdmin(stack), options.name))
    return 0 if show(run_test(stack, bot, options.timeout), options) else 4


def run_retry(stack: relay.Stack, options: argparse.Namespace) -> None:
    """Let the next message probe a failing bot."""
    admin = relay.BotAdmin(stack)
    existing_secret(admin, options.name)
    state = admin.state(options.name)
    is_open = bool(state.probe_at)
    if is_open:
        admin.retry(options.name)
    if options.json:
        say_json({"bot": options.name, "was_open": is_open, "last_error": state.last_error})
    elif is_open:
        say(
            f"bot {options.name}: the next message is tried now; the last error was: "
            f"{state.last_error or 'none'}\n"
            f"Messages that were tried before are hidden on the queue for up to {MAX_PAUSE} s more. "
            f"`relay bots test {options.name}` sends one at once."
        )
    else:
        say(f"bot {options.name}: its circuit is closed, so no message waits for it")


def run_remove(stack: relay.Stack, options: argparse.Namespace) -> None:
    """Delete a bot's secret, after a question."""
    admin = relay.BotAdmin(stack)
    existing_secret(admin, options.name)
    queued = queue_size(stack.client("sqs"), stack.push_queue_url)
    if not options.json:
        waiting = pluralize(len(admin.open_messages(options.name)), "message")
        say(
            f"Bot {options.name} has {waiting} that wait for a reply, which would be refused. About "
            f"{pluralize(queued, 'message')} of all bots on the push queue: those of this bot would be "
            "parked. Its records and replies stay."
        )
    if not confirmed(f"Remove bot {options.name}?", options.yes):
        raise CommandFailed(1, "nothing was removed")
    deleted_at = admin.delete_secret(options.name)
    secret = stack.bot_secret_prefix + options.name
    if options.json:
        say_json({"bot": options.name, "secret": secret, "deleted_at": deleted_at.isoformat()})
    else:
        say(
            f"removed; until {deleted_at:%Y-%m-%d} it can be restored: "
            f"aws secretsmanager restore-secret --secret-id {secret}"
        )
