"""The command cancel: take back a message that waits on the queue."""

from __future__ import annotations

import argparse
from typing import Any

import relay
from relay.domain.record import MessageRecord
from relay.domain.states import State
from relay_cli.arguments import MESSAGE
from relay_cli.deployment import check_bot
from relay_cli.terminal import say, say_json


def add_commands(commands: Any) -> None:
    """Add the parser of the command."""
    cancel = commands.add_parser(
        "cancel", parents=[MESSAGE], help="have push drop a message that waits on the queue"
    )
    cancel.set_defaults(run=run_cancel)


def run_cancel(stack: relay.Stack, options: argparse.Namespace) -> None:
    """Cancel a message; say what became of it."""
    check_bot(stack, options.bot)
    record = relay.Messages(stack).cancel(options.session, options.message, options.bot)
    if options.json:
        say_json({"cancelled": options.message, "state": record["state"] if record else None})
        return
    say(f"cancelled {options.message}: {_outlook(record)}")


def _outlook(record: MessageRecord | None) -> str:
    """Return what is known of a cancelled message."""
    if record is None:
        return "if it is on the queue, push does not send it, and drops it when its turn comes"
    if record["state"] == State.DROPPED:
        return "push has dropped it"
    sent = "; an earlier attempt may have reached LangBot" if record["outcome_unknown"] else ""
    return f"push does not send it again, and drops it when its turn comes{sent}"
