"""The command tail: what a session says, as it comes."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

import relay
from relay.domain.part import ReplyPart
from relay.domain.segments import readable
from relay_cli.arguments import SESSION
from relay_cli.commands.show import said, time_of
from relay_cli.terminal import complain, one_line, say, say_json, truncate


def add_commands(commands: Any) -> None:
    """Add the parser of the command."""
    tail = commands.add_parser("tail", parents=[SESSION], help="print a session's last ten parts, follow it")
    tail.set_defaults(run=run_tail)


def run_tail(stack: relay.Stack, options: argparse.Namespace) -> None:
    """Print parts as they are stored, each turn after the message that it answers, until interrupted."""
    messages = relay.Messages(stack)
    if not messages.is_known(options.bot):
        complain(f"relay: no message was sent to the bot {options.bot!r} yet; waiting for the first reply")
    width = os.get_terminal_size().columns if sys.stdout.isatty() else None
    turn = ""
    for part in relay.Conversation(stack, options.session, options.bot).follow():
        if options.json:
            say_json(part)
            continue
        if part["reply_to"] != turn:
            turn = part["reply_to"]
            if turn and (record := messages.begun_by(part)):
                say(truncate(f"{time_of(record['queued_at'])}    >  {said(messages, record)}", width))
        say(truncate(line(part), width))


def line(part: ReplyPart) -> str:
    """Return a part for people, on one line; the last one of a reply is marked."""
    end = "  ■" if part["is_final"] else ""
    text = one_line(readable(part["message"]))
    return f"{time_of(part['created_at'])}  {part['sequence']:>3}  {text}{end}"
