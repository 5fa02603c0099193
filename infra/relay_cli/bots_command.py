"""relay bots: list, change, test, retry and remove the bots of a stack."""

from __future__ import annotations

import argparse
import time
from typing import Any
from urllib.parse import urlsplit

import relay
from relay.adapters.queue_size import queue_size
from relay.domain.admission import MAX_PAUSE, BotState
from relay.domain.bot import BOT_NAME, Bot, parse_bot, weakness
from relay.domain.diagnosis import pluralize
from relay_cli.arguments import STACK, TIMEOUT
from relay_cli.bot_secret import changed, differing
from relay_cli.finding import show
from relay_cli.terminal import CommandFailed, confirmed, say, say_json

_FIELDS = ("url", "session_type", "timezone", "replies", "group_at")
_COLUMNS = ("BOT", "URL", "CIRCUIT", "IN FLIGHT", "FAILURES", "LAST ERROR")


def add_commands(commands: Any) -> None:
    """Add the command to the command line."""
    bots = commands.add_parser("bots", help="list, change, test, retry or remove bots")
    bots.set_defaults(run=run)
    actions = bots.add_subparsers(dest="action", required=True, metavar="ACTION")
    name = argparse.ArgumentParser(add_help=False)
    name.add_argument("name", type=bot_name, metavar="NAME", help="the bot's name")
    yes = argparse.ArgumentParser(add_help=False)
    yes.add_argument("--yes", action="store_true", help="do not ask")

    actions.add_parser("list", parents=[STACK], help="list all bots, a line each, without their secrets")
    fields = actions.add_parser(
        "set",
        parents=[STACK, name],
        help="change fields of a bot, keep all others; an empty value removes a field",
    )
    fields.add_argument("--url", help="LangBot's Inbound Webhook URL")
    fields.add_argument("--session-type", metavar="person|group", help="the type of its sessions")
    fields.add_argument("--timezone", help="of LangBot's host, e.g. Asia/Shanghai")
    fields.add_argument("--replies", metavar="push", help="push: its replies name no message")
    fields.add_argument(
        "--group-at", action=argparse.BooleanOptionalAction, help="address the bot in each message to a group"
    )
    actions.add_parser("test", parents=[STACK, TIMEOUT, name], help="send a message, wait for its reply")
    actions.add_parser("retry", parents=[STACK, name], help="try a failing bot again at once")
    actions.add_parser("remove", parents=[STACK, name, yes], help="delete a bot's secret")


def bot_name(text: str) -> str:
    """Return a bot's name as it was typed, if it is one."""
    if not BOT_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"not a bot's name: {text!r}; a name has a-z, 0-9 and -")
    return text


def run(stack: relay.Stack, options: argparse.Namespace) -> int:
    """Run one action; return its exit code. Raise CommandFailed and botocore's errors."""
    from relay_cli.trial import run_test

    admin = relay.BotAdmin(stack)
    match options.action:
        case "list":
            list_bots(stack, admin, options)
        case "set":
            set_fields(stack, admin, options)
        case "test":
            bot = parse_bot(options.name, existing_secret(admin, options.name))
            return 0 if show(run_test(stack, bot, options.timeout), options) else 4
        case "retry":
            retry(admin, options)
        case "remove":
            remove(stack, admin, options)
    return 0


def existing_secret(admin: relay.BotAdmin, name: str) -> str:
    """Return the secret of a bot that must exist."""
    secret = admin.secret(name)
    if secret is None:
        raise CommandFailed(2, f"there is no bot {name!r}; `relay connect --bot {name}` makes it")
    return secret


# ---------------------------------------------------------------- list


def list_bots(stack: relay.Stack, admin: relay.BotAdmin, options: argparse.Namespace) -> None:
    """Print a line for each bot."""
    from relay_cli.deployment import Deployment

    most = int(Deployment(stack).parameters["MaxInFlight"])
    rows = []
    for name in admin.names():
        bot, state = parse_bot(name, admin.secret(name) or ""), admin.state(name)
        in_flight = len(admin.open_messages(name))
        problem = bot.unusable or weakness(bot)
        if options.json:
            say_json(
                {
                    "bot": name,
                    "url": without_query(bot),
                    "circuit": circuit(state, time.time()),
                    "in_flight": in_flight,
                    "max_in_flight": most,
                    "failures": state.failures,
                    "last_error": state.last_error,
                    "problem": problem,
                }
            )
        slots = f"{in_flight} of {most}" if most else str(in_flight)
        url = without_query(bot) or "-"
        rows.append(
            (
                name,
                url,
                circuit(state, time.time()),
                slots,
                str(state.failures),
                state.last_error or problem or "-",
            )
        )
    if not options.json:
        table = [_COLUMNS, *rows]
        widths = [max(len(row[column]) for row in table) for column in range(len(_COLUMNS))]
        for row in table:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            say(" ".join("  ".join(cells).split("\n")).rstrip())


def without_query(bot: Bot) -> str:
    """Return a bot's url without what can be secret in it: its query, and a user's name and password."""
    if not bot.url:
        return ""
    url = urlsplit(bot.url)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}" + ("?…" if url.query else "")


def circuit(state: BotState, now: float) -> str:
    """Return the state of a bot's circuit breaker at `now` (Unix seconds), for people."""
    if not state.probe_at:
        return "closed"
    if state.probe_at <= now:
        return "open, the next message is tried"
    seconds = f"{state.probe_at - now:.0f} s"
    return f"probing, for up to {seconds}" if state.probing else f"open for {seconds}"


# ---------------------------------------------------------------- set, retry, remove


def set_fields(stack: relay.Stack, admin: relay.BotAdmin, options: argparse.Namespace) -> None:
    """Change fields of a bot's secret, and keep the rest of it."""
    given = {name: getattr(options, name) for name in _FIELDS}
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise CommandFailed(
            2, "name a field to change: " + ", ".join(f"--{n.replace('_', '-')}" for n in _FIELDS)
        )
    before = admin.secret(options.name)
    after = changed(options.name, before, changes)
    names = differing(before, after)
    if names:
        write_secret(stack, options.name, before, after)
    if options.json:
        say_json({"bot": options.name, "changed": names})
    elif before is None:
        say(
            f"made bot {options.name} with new secrets. LangBot needs them, and the callback URL "
            f"{stack.callback_url(options.name)}: `relay connect --bot {options.name}` sets all three"
        )
    else:
        changes_text = ", ".join(names) + " changed; the relay uses it within a minute"
        say(f"bot {options.name}: {changes_text if names else 'nothing changes'}")


def write_secret(stack: relay.Stack, name: str, before: str | None, after: str) -> None:
    """Write a bot's secret; `before` is None for a new bot, which gets the key of the stack."""
    from relay_cli.deployment import Deployment

    admin = relay.BotAdmin(stack)
    if before is None:
        admin.create_secret(name, after, Deployment(stack).parameters.get("KmsKeyArn", ""))
    else:
        admin.replace_secret(name, after)


def retry(admin: relay.BotAdmin, options: argparse.Namespace) -> None:
    """End the pause of a failing bot."""
    existing_secret(admin, options.name)
    state = admin.state(options.name)
    is_open = bool(state.probe_at)
    if is_open:
        admin.resume(options.name)
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


def remove(stack: relay.Stack, admin: relay.BotAdmin, options: argparse.Namespace) -> None:
    """Delete a bot's secret, after a question."""
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
