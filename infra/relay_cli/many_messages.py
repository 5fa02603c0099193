"""Resends or drops the messages that wait for an operator and that the options select."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from typing import Any

import relay
from relay import environment
from relay.domain.diagnosis import pluralize
from relay.domain.keys import RecordKey, bot_of, record_key, session_id_of
from relay.domain.record import MessageRecord
from relay.domain.selection import Handled, Result, Selection, reason_of, waits_since
from relay.domain.states import AWAITING_OPERATOR
from relay.domain.timestamps import time_of
from relay_cli.arguments import STACK, YES, positive_rate, utc_time
from relay_cli.terminal import (
    CommandFailed,
    complain,
    confirmed,
    one_line,
    progress,
    say,
    say_json,
    shell_quote,
)

LISTED = 10
"""Messages that are shown before the question."""

ONE_OR_MANY = argparse.ArgumentParser(add_help=False, parents=[STACK, YES])
ONE_OR_MANY.add_argument("--bot", help="the message's bot (default: default), or of many, those of this bot")
ONE_OR_MANY.add_argument("--reason", metavar="TEXT", help="of many: those with this text in their reason")
ONE_OR_MANY.add_argument("--state", choices=AWAITING_OPERATOR, help="of many: those in this state")
ONE_OR_MANY.add_argument(
    "--since", type=utc_time, metavar="TIME", help="of many: those that became so at this time (UTC) or later"
)
ONE_OR_MANY.add_argument(
    "--until",
    type=utc_time,
    metavar="TIME",
    help="of many: those that became so at this time (UTC) or before",
)
ONE_OR_MANY.add_argument("--rate", type=positive_rate, metavar="N", help="of many: N a second at the most")
ONE_OR_MANY.add_argument("--dry-run", action="store_true", help="of many: only count them")
ONE_OR_MANY.add_argument("session", nargs="?", help="the session of one message")
ONE_OR_MANY.add_argument(
    "message", metavar="MESSAGE", nargs="?", help="its id, as the other commands print it"
)

_FILTERS = ("bot", "reason", "state", "since", "until")
_OF_MANY = (*_FILTERS[1:], "rate", "dry_run")


def selection_of(options: argparse.Namespace) -> Selection | None:
    """Return the messages that the options select; None if they name one message. Raise CommandFailed."""
    if options.message is not None:
        if given := [name for name in _OF_MANY if getattr(options, name)]:
            option = given[0].replace("_", "-")
            raise CommandFailed(
                2, f"--{option} is for many messages: leave it out, or the session and the message"
            )
        options.bot = "default" if options.bot is None else options.bot
        return None
    chosen = {name: getattr(options, name) for name in _FILTERS if getattr(options, name) is not None}
    if options.session is not None or not chosen:
        names = ", ".join(f"--{name}" for name in _FILTERS)
        raise CommandFailed(
            2, f"give a session and a message, or for many at least one of {names} and no session"
        )
    if options.json and not (options.yes or options.dry_run):
        raise CommandFailed(2, "with --json nothing is asked: add --yes, or --dry-run to count the messages")
    return Selection(**chosen)


def handle_many(
    messages: relay.Messages,
    selection: Selection,
    options: argparse.Namespace,
    action: Callable[[MessageRecord], object],
) -> int:
    """Show which messages are selected, ask, and resend or drop them by `action`; return the exit code."""
    done = {"resend": "resent", "drop": "dropped"}[options.command]
    keys = show_selected(messages, selection, options.json)
    if options.dry_run or not keys:
        return 0
    if not confirmed(f"{options.command.capitalize()} {pluralize(len(keys), 'message')}?", options.yes):
        say("nothing was changed")
        return 0
    results, refused = Counter[Result](), list[Handled]()
    began = environment.monotonic()
    try:
        for handled in messages.handle(keys, selection, action):
            results[handled.result] += 1
            if handled.result is Result.REFUSED:
                refused.append(handled)
            progress(results.total(), len(keys))
            if options.rate:
                ahead = began + results.total() / options.rate - environment.monotonic()
                environment.sleep(max(ahead, 0))
    finally:
        tell_results(results, refused, done, options.json)
        if results.total() < len(keys):
            complain(
                f"relay: {results.total()} of {len(keys)} were handled; run the same command to continue"
            )
    return 2 if refused else 0


def show_selected(messages: relay.Messages, selection: Selection, as_json: bool) -> list[RecordKey]:
    """Show the first of the selected messages, and how many there are; return the keys of all."""
    keys: list[RecordKey] = []
    for record in messages.selected(selection):
        if len(keys) < LISTED:
            say_json(fields(record)) if as_json else say(summary(record))
        keys.append(record_key(record["session"], record["message"]))
    if as_json:
        say_json({"selected": len(keys)})
    else:
        more = f"; the first {LISTED} are above" if len(keys) > LISTED else ""
        say(f"selected: {pluralize(len(keys), 'message')}{more}")
    return keys


def tell_results(results: Counter[Result], refused: list[Handled], done: str, as_json: bool) -> None:
    """Say which messages were refused and why, and how many messages came to what."""
    for one in refused:
        session, message = one.key["session"], one.key["message"]
        if as_json:
            say_json({"session": session, "message": message, "fault": one.fault})
        else:
            say(f"not {done}: {_named(session, message)}  {one_line(one.fault)}")
    counts = {done: results[Result.DONE], "left": results[Result.LEFT], "refused": len(refused)}
    if as_json:
        say_json(counts)
    else:
        left = f", {counts['left']} left, because they wait no longer" if counts["left"] else ""
        say(f"{done}: {counts[done]}{left}" + (f", {len(refused)} not possible" if refused else ""))


def fields(record: MessageRecord) -> dict[str, Any]:
    """Return what the list says of a message, for programs."""
    return {
        "state": record["state"],
        "since": waits_since(record),
        "bot": record.get("bot"),
        "session_id": record.get("session_id"),
        "session": record["session"],
        "message_id": record["message_id"],
        "attempts": record["attempts"],
        "reason": reason_of(record),
    }


def summary(record: MessageRecord) -> str:
    """Return what the list says of a message, on one line."""
    known = fields(record)
    words = _named(record["session"], record["message_id"])
    return f"{time_of(known['since'])}  {words}  {record['state']}: {one_line(known['reason'])}"


def _named(session: str, message: str) -> str:
    """Return what the other commands take for a message; `session` is its session's key in the tables."""
    return f"--bot {shell_quote(bot_of(session))} {shell_quote(session_id_of(session))}  {message}"
