"""The command logs: what the functions of a stack log, in one place."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import relay
from relay import environment
from relay.domain.timestamps import time_of, utc_text
from relay_cli.arguments import STACK, positive_seconds
from relay_cli.terminal import one_line, say, say_json

if TYPE_CHECKING:
    from relay.adapters.function_logs import LogLine

FUNCTIONS = ("push", "callback", "settle", "publish")

POLL_INTERVAL = 3
"""Seconds: CloudWatch Logs takes five such questions a second of an account."""

OVERLAP = 30
"""Seconds that are read again each time, since CloudWatch Logs shows a line late."""


def add_commands(commands: Any) -> None:
    """Add the parser of the command."""
    logs = commands.add_parser("logs", parents=[STACK], help="print what the functions log, until Ctrl-C")
    logs.add_argument("function", nargs="?", choices=FUNCTIONS, help="default: all")
    logs.add_argument(
        "--since", type=positive_seconds, default=600, metavar="SECONDS", help="default: %(default)s"
    )
    logs.set_defaults(run=run_logs)


def run_logs(stack: relay.Stack, options: argparse.Namespace) -> None:
    """Print the lines as they come, until interrupted."""
    functions = [options.function] if options.function else FUNCTIONS
    for line in follow(stack, functions, stack.now() - options.since):
        if options.json:
            say_json({"function": line.function, **(line.fields or {"message": line.text})})
        else:
            say(shown(line))


def follow(stack: relay.Stack, functions: Sequence[str], moment: float) -> Iterator[LogLine]:
    """Return the lines since `moment` (Unix seconds) and then each new one, without end."""
    logs = stack.open_logs()
    seen: set[LogLine] = set()
    while True:
        lines = [line for line in logs.since(moment, functions) if _is_ours(line)]
        yield from (line for line in lines if line not in seen)
        seen = set(lines)
        # Not by the time here: whoever takes the lines may stop to do so for a while.
        moment = max([moment, *(line.at - OVERLAP for line in lines)])
        environment.sleep(POLL_INTERVAL)


def _is_ours(line: LogLine) -> bool:
    """Tell whether it is neither a line of Lambda itself nor one with metrics."""
    return "_aws" not in line.fields and not line.text.startswith(("START ", "END ", "REPORT "))


def shown(line: LogLine) -> str:
    """Return a line for people: time, function, level, message, and the other fields."""
    fields = line.fields
    if "message" not in fields:
        return f"{time_of(utc_text(line.at))}  {line.function:8}  {one_line(line.text)}"
    hidden = ("timestamp", "level", "message", "logger", "requestId", "taskName")
    more = " ".join(f"{name}={value}" for name, value in fields.items() if name not in hidden)
    level, message = fields.get("level", ""), fields["message"]
    words = [time_of(utc_text(line.at)), f"{line.function:8}", f"{level:7}", one_line(f"{message}  {more}")]
    return "  ".join(words)
