"""The commands waiting, resend and drop: the messages that wait for an operator."""

from __future__ import annotations

import argparse
from typing import Any

import relay
from relay.domain.keys import bot_of, session_id_of
from relay.domain.record import MessageRecord
from relay.domain.states import State
from relay_cli.arguments import MESSAGE, STACK
from relay_cli.commands.send import print_id
from relay_cli.commands.show import time_of
from relay_cli.deployment import check_bot
from relay_cli.terminal import complain, one_line, say, say_json, shell_quote


def add_commands(commands: Any) -> None:
    """Add the parsers of the commands."""
    waiting = commands.add_parser(
        "waiting", parents=[STACK], help="list the messages that wait for an operator"
    )
    waiting.add_argument("--bot", help="only those of this bot")
    waiting.add_argument("session", nargs="?", help="only those of this session")
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
    is_empty = True
    for record in relay.Messages(stack).awaiting_operator(options.session, options.bot):
        is_empty = False
        say_json(fields(record)) if options.json else say(summary(record))
    if is_empty and not options.json:
        complain("relay: no message waits for an operator")


def run_resend(stack: relay.Stack, options: argparse.Namespace) -> None:
    """Send a message again; print the new one's id."""
    messages = relay.Messages(stack)
    record = messages.find(options.session, options.message, options.bot)
    if record is None:
        record = of_no_bot(stack, options)
        print_id(messages.resend_to(record, options.bot), options.json)
    elif sent := messages.resend(record):
        print_id(sent, options.json)
    else:
        record = messages.known(options.session, options.message, options.bot)
        resend = messages.find(options.session, record["resent_as"], options.bot)
        say(f"resent before, as {resend['message_id']}" if resend else "resent before, it is on the queue")


def of_no_bot(stack: relay.Stack, options: argparse.Namespace) -> MessageRecord:
    """Return the record of a message that waits under a bot that does not exist.

    Raise CommandFailed and MessageNotFound. A message of a bot that exists is not sent to another one.
    """
    messages, admin = relay.Messages(stack), relay.BotAdmin(stack)
    for record in messages.awaiting_operator(options.session):
        if record["message_id"] == options.message and not admin.exists(bot_of(record["session"])):
            check_bot(stack, options.bot)
            return record
    raise messages.not_found(options.session, options.bot, options.message)


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
    bot, session_id = bot_of(record["session"]), session_id_of(record["session"])
    words = f"--bot {shell_quote(bot)} {shell_quote(session_id)}  {record['message_id']}"
    return f"{time_of(known['since'])}  {words}  {record['state']}: {one_line(known['reason'])}"
