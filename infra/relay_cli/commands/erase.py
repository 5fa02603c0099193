"""The command erase: erases what the relay keeps of a session."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import relay
from relay import environment
from relay.domain.diagnosis import command, pluralize, with_stack
from relay.domain.message import QUEUE_RETENTION
from relay.domain.timestamps import DAY
from relay_cli.arguments import SESSION
from relay_cli.deployment import Deployment
from relay_cli.terminal import say, say_json

QUEUE_DAYS, BACKUP_DAYS = QUEUE_RETENTION // DAY, 35
"""For how long SQS keeps what is on a queue of the stack, and DynamoDB can restore a table."""


def add_commands(commands: Any) -> None:
    """Add the parser of the command."""
    erase = commands.add_parser(
        "erase", parents=[SESSION], help="erase all messages and replies of a session, e.g. of a person"
    )
    erase.add_argument("--yes", action="store_true", help="erase; without it, only say what there is")
    erase.set_defaults(run=run_erase)


def run_erase(stack: relay.Stack, options: argparse.Namespace) -> None:
    """Erase a session, or count what there is of it; say what remains until when."""
    days = {
        "queues": QUEUE_DAYS,
        "logs": int(Deployment(stack).parameters["LogRetentionDays"]),
        "point_in_time_recovery": BACKUP_DAYS,
    }
    eraser = relay.SessionEraser(stack, options.session, options.bot)
    erased = eraser.erase() if options.yes else eraser.count()
    until = {name: day_after(number) for name, number in days.items()}
    if options.json:
        say_json({"erased": options.yes, **vars(erased), "remains_until": until})
        return
    counted = (
        f"{pluralize(erased.messages, 'message')}, {pluralize(erased.parts, 'part')}, {bodies(erased.bodies)}"
    )
    if options.yes:
        lines = [f"erased      {counted} in the overflow bucket"]
    else:
        of_bot = [] if options.bot == "default" else ["--bot", options.bot]
        again = command("erase", "--yes", *of_bot, options.session)
        lines = [f"there are   {counted} in the overflow bucket", f"do          {again} erases them"]
    lines += [f"stays       {line}" for line in staying(erased)]
    lines += [f"remains     {line}" for line in remaining(until)]
    say(with_stack("\n".join(lines), options.stack))


def staying(erased: relay.Erased) -> Iterator[str]:
    """Return what stays of the session, or can still come, a line each."""
    if erased.queued:
        text = "that push may get again: erase them when they have ended, and 15 minutes later"
        yield f"{pluralize(erased.queued, 'message')} {text}"
    if erased.unanswered:
        yield f"replies to {pluralize(erased.unanswered, 'message')}, if they come: erase them then"
    if erased.spilled:
        yield f"{bodies(erased.spilled)} of spilled parts: erase them after {QUEUE_DAYS} days"
    if erased.unreadable:
        yield (
            f"{bodies(erased.unreadable)} of the bot that name no session: "
            "look at them under quarantine/ in the overflow bucket"
        )


def remaining(until: dict[str, str]) -> Iterator[str]:
    """Return what the command cannot erase, a line each."""
    yield f"what is on a queue, until {until['queues']}"
    yield f"the session's id in the functions' logs, without a text, until {until['logs']}"
    yield f"both tables' point-in-time recovery, until {until['point_in_time_recovery']}"
    yield "what LangBot and the receivers of events have kept: erase it there"


def bodies(number: int) -> str:
    """Return a number of bodies for people."""
    return "1 body" if number == 1 else f"{number} bodies"


def day_after(days: int) -> str:
    """Return the day (UTC) that is so many days from now."""
    return (datetime.fromtimestamp(environment.now(), UTC) + timedelta(days=days)).date().isoformat()
