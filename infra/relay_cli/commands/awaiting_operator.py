"""The commands waiting, resend and drop: the messages that wait for an operator, one or many."""

from __future__ import annotations

import argparse
from typing import Any

import relay
from relay.domain.keys import bot_of
from relay.domain.record import MessageRecord
from relay_cli.arguments import STACK
from relay_cli.commands.send import print_id
from relay_cli.deployment import check_bot
from relay_cli.many_messages import ONE_OR_MANY, fields, handle_many, selection_of, summary
from relay_cli.terminal import complain, say, say_json


def add_commands(commands: Any) -> None:
    """Add the parsers of the commands."""
    waiting = commands.add_parser(
        "waiting",
        # The name that the command had before.
        aliases=["parked"],
        parents=[STACK],
        help="list the messages that wait for an operator",
    )
    waiting.add_argument("--bot", help="only those of this bot")
    waiting.add_argument("session", nargs="?", help="only those of this session")
    waiting.set_defaults(run=run_waiting)
    resend = commands.add_parser(
        "resend", parents=[ONE_OR_MANY], help="send parked or unanswered messages again, one or many"
    )
    resend.set_defaults(run=run_resend)
    drop = commands.add_parser(
        "drop", parents=[ONE_OR_MANY], help="close parked or unanswered messages for good, one or many"
    )
    drop.add_argument("why", metavar="REASON", help="why; it is kept")
    drop.set_defaults(run=run_drop)


def run_waiting(stack: relay.Stack, options: argparse.Namespace) -> None:
    """List what waits for an operator, a line a message and without its text."""
    is_empty = True
    for record in relay.Messages(stack).awaiting_operator(options.session, options.bot):
        is_empty = False
        say_json(fields(record)) if options.json else say(summary(record))
    if is_empty and not options.json:
        complain("relay: no message waits for an operator")


def run_resend(stack: relay.Stack, options: argparse.Namespace) -> int:
    """Send a message again and print the new one's id, or send many; return the exit code."""
    messages = relay.Messages(stack)
    if selection := selection_of(options):
        return handle_many(messages, selection, options, messages.resend)
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
    return 0


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


def run_drop(stack: relay.Stack, options: argparse.Namespace) -> int:
    """Close a message and say so, or close many; return the exit code."""
    messages = relay.Messages(stack)
    if selection := selection_of(options):
        return handle_many(messages, selection, options, lambda record: messages.drop(record, options.why))
    record = messages.known(options.session, options.message, options.bot)
    messages.drop(record, options.why)
    say(f"dropped {record['message_id']}")
    return 0
