"""The command show: the story of a message, from the queue to its reply."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import relay
from relay.adapters.queue_size import queue_size
from relay.domain.attempt import AttemptEntry
from relay.domain.diagnosis import Diagnosis, pluralize
from relay.domain.message import parse_message, without_task
from relay.domain.record import MessageRecord, without_secrets
from relay.domain.segments import readable
from relay.domain.states import State
from relay.domain.timestamps import time_of
from relay.domain.turn import Turn
from relay.errors import InvalidMessage
from relay_cli.arguments import SESSION
from relay_cli.terminal import one_line, say, say_json

LISTED = 10
"""Messages of a session that are listed."""


def add_commands(commands: Any) -> None:
    """Add the parser of the command."""
    show = commands.add_parser(
        "show", parents=[SESSION], help="tell what became of a message, by default the session's last"
    )
    show.add_argument(
        "message",
        metavar="MESSAGE",
        nargs="?",
        help="its id, as the other commands print it (default: the last, and each that waits)",
    )
    show.set_defaults(run=run_show)


def run_show(stack: relay.Stack, options: argparse.Namespace) -> None:
    """Tell the story of a message; of a session without a message, list its last ones first."""
    messages = relay.Messages(stack)
    if options.message:
        tell(stack, messages.known(options.session, options.message, options.bot), options)
        return
    listed = list(islice(messages.newest_first(options.session, options.bot), LISTED))
    if not listed:
        raise messages.not_found(options.session, options.bot)
    last = listed[0]
    if not options.json and len(listed) > 1:
        say("\n".join([*(summary(messages, one) for one in reversed(listed)), ""]))
    for record in messages.waiting(options.session, options.bot):
        if record["message"] == last["message"]:
            continue
        if options.json:
            tell(stack, record, options)
        else:
            explained = explanation(record["state"], messages.diagnose(record, options.bot))
            say("\n".join([f"message     {record['message_id']}", *explained, ""]))
    tell(stack, last, options)


def tell(stack: relay.Stack, record: MessageRecord, options: argparse.Namespace) -> None:
    """Tell the story of a message."""
    messages = relay.Messages(stack)
    diagnosis = messages.diagnose(record, options.bot)
    turn = relay.Conversation(stack, options.session, options.bot).reply(record)
    if options.json:
        reply = turn.message if turn else None
        say_json({"record": without_secrets(record), "diagnosis": vars(diagnosis), "reply": reply})
        return
    say("\n".join(story(record, said(messages, record), diagnosis, turn)))
    if record["state"] == State.RETRYING and (queued := on_queue(stack)) > 1:
        say(f"behind it   its session's messages; the push queue has about {queued}, of all sessions")


def on_queue(stack: relay.Stack) -> int:
    """Return how many messages are on the push queue, 0 if the operator may not look.

    SQS does not count those of one session.
    """
    from botocore.exceptions import ClientError

    try:
        return queue_size(stack.client("sqs"), stack.push_queue_url)
    except ClientError:
        return 0


def summary(messages: relay.Messages, record: MessageRecord) -> str:
    """Return a message on one line."""
    text = said(messages, record)
    return f"{time_of(record['queued_at'])}  {record['state']:10}  {record['message_id']}  {text}"


def said(messages: relay.Messages, record: MessageRecord) -> str:
    """Return what a message says, on one line."""
    body = messages.body(record)
    try:
        return one_line(readable(parse_message(body).segments)) or f"({record.get('action')})"
    except InvalidMessage:
        return one_line(without_task(body))


def story(record: MessageRecord, text: str, diagnosis: Diagnosis, turn: Turn | None) -> Iterator[str]:
    """Return the lines that tell what became of a message, in the order in which it happened."""
    yield f"message     {record['message_id']}"
    yield f"says        {text}"
    if "context" in record:
        yield f"context     {one_line(record['context'])}"
    yield f"queued      {time_of(record['queued_at'])}"
    for entry in record.get("last_attempts", ()):
        yield f"attempt     {attempt(entry)}"
    for name in ("delivered_at", "answered_at", "unanswered_at", "parked_at", "resent_at", "dropped_at"):
        if name in record:
            yield f"{name.removesuffix('_at'):12}{time_of(record[name])}"
    yield ""
    yield from explanation(record["state"], diagnosis)
    if turn:
        yield ""
        count = pluralize(len(turn.parts), "part")
        end = "" if turn.finished else ", not finished"
        yield f"reply       {turn.reply_to or '(pushed)'}, {count}{end}"
        for paragraph in turn.paragraphs:
            yield from (f"            {line}" for line in paragraph.splitlines())


def attempt(entry: AttemptEntry) -> str:
    """Return an attempt on one line."""
    words = [
        time_of(entry["at"]),
        f"{entry['ms']:>6} ms",
        f"{entry['verdict']:8}",
        f"{entry.get('status', '-'):>3}",
        entry["key"],
        one_line(entry.get("error", "")),
    ]
    return "  ".join(words).rstrip()


def explanation(state: str, diagnosis: Diagnosis) -> Iterable[str]:
    """Return what became of a message, a line a question."""
    answers = {
        "state": state,
        "what": diagnosis.summary,
        "why": one_line(diagnosis.why),
        "next": diagnosis.next,
        "do": diagnosis.advice,
    }
    return (f"{name:12}{answer}" for name, answer in answers.items() if answer)
