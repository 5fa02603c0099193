"""The commands waiting, resend and drop: the messages that wait for an operator."""

from __future__ import annotations

import argparse
from typing import Any

import relay
from relay.domain.keys import session_key
from relay.domain.record import MessageRecord
from relay.domain.states import State
from relay_cli.arguments import BOT, MESSAGE
from relay_cli.commands.send import print_id
from relay_cli.commands.show import time_of
from relay_cli.terminal import one_line, say, say_json, shell_quote


def add_commands(commands: Any) -> None:
    """Add the parsers of the commands."""
    waiting = commands.add_parser(
        "waiting", parents=[BOT], help="list the messages that wait for an operator"
    )
    waiting.add_argument("session", nargs="?", help="only those of this session of the bot")
    waiting.set_defaults(run=run_waiting)
    resend = commands.add_parser(
        "resend", parents=[MESSAGE], help="send a parked or unanswered message again, as the next"
    )
    resend.set_defaults(run=run_resend)
    drop = commands.add_parser(
        "drop", parents=[MESSAGE], help="close a parked or unanswered message for good"
    )
    drop.add_argument("reason", help="why; it is kept")
    drop.set_defaults(run=run_drop)


def run_waiting(stack: relay.Stack, options: argparse.Namespace) -> None:
    """List what waits for an operator, a line a message and without its text."""
    only = None if options.session is None else session_key(options.bot, options.session)
    for record in relay.Messages(stack).awaiting_operator():
        if only in (None, record["session"]):
            say_json(fields(record)) if options.json else say(summary(record))


def run_resend(stack: relay.Stack, options: argparse.Namespace) -> None:
    """Send a message again; print the new one's id."""
    messages = relay.Messages(stack)
    record = messages.known(options.session, options.message, options.bot)
    if sent := messages.resend(record):
        print_id(sent, options.json)
    else:
        record = messages.known(options.session, options.message, options.bot)
        resend = messages.known(options.session, record["resent_as"], options.bot)
        say(f"resent before, as {resend['message_id']}")


def run_drop(stack: relay.Stack, options: argparse.Namespace) -> None:
    """Close a message; say so."""
    messages = relay.Messages(stack)
    record = messages.known(options.session, options.message, options.bot)
    messages.drop(record, options.reason)
    say(f"dropped {record['message_id']}")


def fields(record: MessageRecord) -> dict[str, Any]:
    """Return what the list says of a message, for programs."""
    parked = record["state"] == State.PARKED
    return {
        "state": record["state"],
        "since": record["parked_at"] if parked else record["unanswered_at"],
        "bot": record.get("bot"),
        "session_id": record.get("session_id"),
        "session": record["session"],
        "message_id": record["message_id"],
        "attempts": record["attempts"],
        "reason": record["reason"] if parked else record["last_error"],
    }


def summary(record: MessageRecord) -> str:
    """Return what the list says of a message, on one line."""
    known = fields(record)
    bot, _, session_id = record["session"].partition("#")
    words = f"--bot {shell_quote(bot)} {shell_quote(session_id)}  {record['message_id']}"
    return f"{time_of(known['since'])}  {words}  {record['state']}: {one_line(known['reason'])}"
