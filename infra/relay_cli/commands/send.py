"""The commands push, sync, reset and wait."""

from __future__ import annotations

import argparse
import base64
import json
import mimetypes
import sys
import time
from pathlib import Path
from typing import Any

import relay
from relay.domain.diagnosis import command_about, with_stack
from relay.domain.keys import bot_of, message_key, session_key
from relay.domain.polling import until_next_look
from relay.domain.record import MessageRecord
from relay.domain.segments import Segment
from relay.domain.states import State
from relay.domain.turn import Turn
from relay.errors import InvalidMessage, MessageParked, ReplyTimeout
from relay_cli.arguments import BOT, MESSAGE, SESSION, TIMEOUT
from relay_cli.deployment import check_bot
from relay_cli.push_file import push_file
from relay_cli.terminal import CommandFailed, complain, say, say_json

_OF_ONE_MESSAGE = ("session", "text", "message", "image", "sender", "dedup_id", "session_type", "context")


def add_commands(commands: Any) -> None:
    """Add the parsers of the commands."""
    sending = argparse.ArgumentParser(add_help=False)
    sending.add_argument("--session-type", choices=["person", "group"], help="default: the bot's")

    push = commands.add_parser(
        "push", parents=[BOT, sending], help="send a message, or those of a file; the replies come later"
    )
    push.add_argument("session", nargs="?", help="the conversation, e.g. a ticket number")
    add_content(push)
    push.add_argument("--file", type=Path, help="send the messages of a file, one JSON document a line")
    push.set_defaults(run=run_push)
    sync = commands.add_parser(
        "sync", parents=[SESSION, sending, TIMEOUT], help="send a message, print the reply"
    )
    add_content(sync)
    sync.set_defaults(run=run_sync)
    reset = commands.add_parser(
        "reset", parents=[SESSION, sending, TIMEOUT], help="start a new conversation in the session"
    )
    reset.set_defaults(run=run_reset)
    wait = commands.add_parser(
        "wait", parents=[MESSAGE, TIMEOUT], help="wait for a message's reply, print it"
    )
    wait.set_defaults(run=run_wait)


def add_content(parser: argparse.ArgumentParser) -> None:
    """Add what a message says, behind its session."""
    parser.add_argument("text", nargs="?", help="what to say; - reads it from standard input")
    parser.add_argument("--message", metavar="JSON", help="LangBot's segments, in place of a text")
    parser.add_argument("--image", metavar="FILE", action="append", default=[], help="an image to add")
    parser.add_argument("--sender", metavar="ID", help="the person who says it")
    parser.add_argument("--context", metavar="JSON", help="an object that comes back in the events")
    parser.add_argument(
        "--dedup-id", metavar="ID", help="a repetition with it within five minutes is the same message"
    )


def run_push(stack: relay.Stack, options: argparse.Namespace) -> None:
    """Send a message and print its id, or send the messages of a file and print how many."""
    if options.session is None and options.file is None:
        raise InvalidMessage("give a session and a text, or --file")
    if options.file is None:
        print_id(push(stack, options), options.json)
        return
    if any(getattr(options, name) for name in _OF_ONE_MESSAGE):
        raise CommandFailed(2, "a file's lines say all of their messages: give --file alone, or with --bot")
    sent = push_file(stack, options.file, options.bot)
    if options.json:
        say_json({"sent": sent.now, "sent_before": sent.before})
    else:
        before = f" ({sent.before} were sent before)" if sent.before else ""
        say(f"messages sent: {sent.now}{before}")


def run_sync(stack: relay.Stack, options: argparse.Namespace) -> None:
    """Send a message, wait for its reply and print it."""
    # No function waits for the reply of a push, and it is not lost with a response.
    print_turn(wait_for(stack, push(stack, options), options.timeout), options.json)


def run_reset(stack: relay.Stack, options: argparse.Namespace) -> None:
    """Reset a session and wait until LangBot has done it. Raise MessageParked if it cannot."""
    check_bot(stack, options.bot)
    sent = relay.PushQueue(stack).push(
        options.session, bot=options.bot, action="reset", session_type=options.session_type
    )
    print_id(sent, options.json)
    messages, key = relay.Messages(stack), message_key(sent.sequence_number)
    began = time.monotonic()
    while True:
        record = messages.find(options.session, key, options.bot)
        if record and record["state"] != State.RETRYING:
            break
        waited = time.monotonic() - began
        if waited > options.timeout:
            diagnosis = messages.diagnose(record, options.bot).line()
            raise ReplyTimeout(f"nothing within {options.timeout:g} s: {diagnosis}")
        time.sleep(until_next_look(waited))
    if record["state"] == State.PARKED:
        # LangBot 4.11.2 cannot reset any session.
        raise MessageParked(_with_advice(messages, record, record["reason"]))


def run_wait(stack: relay.Stack, options: argparse.Namespace) -> None:
    """Wait for the reply of a message that was sent before, and print it."""
    began = time.monotonic()
    messages, searched = relay.Messages(stack), ""
    while True:
        newest = next(messages.newest_first(options.session, options.bot), None)
        record = messages.find(options.session, options.message, options.bot, after=searched)
        if record:
            break
        waited = time.monotonic() - began
        if waited > options.timeout:
            missing = messages.not_found(options.session, options.bot, options.message)
            raise ReplyTimeout(f"nothing within {options.timeout:g} s: {missing}")
        searched = newest["message"] if newest else ""
        time.sleep(until_next_look(waited))
    sent = relay.SentMessage(options.bot, options.session, record["message_id"], record["message"])
    print_turn(wait_for(stack, sent, max(began + options.timeout - time.monotonic(), 0)), options.json)


def wait_for(stack: relay.Stack, sent: relay.SentMessage, timeout: float) -> Turn:
    """Return the reply to a message. An error, and Ctrl-C, come with a command that continues."""
    session = session_key(sent.bot, sent.session_id)
    again = f"{command_about(session, sent.message_id, 'wait')} waits for it again"
    try:
        return relay.Conversation(stack, sent.session_id, sent.bot).wait(sent, timeout)
    except KeyboardInterrupt:
        complain(f"relay: {with_stack(again, None if stack.endpoint_url else stack.name)}")
        raise
    except ReplyTimeout as error:
        raise ReplyTimeout(f"{error}; {again}") from None
    except MessageParked as error:
        messages = relay.Messages(stack)
        record = messages.known(sent.session_id, message_key(sent.sequence_number), sent.bot)
        raise MessageParked(_with_advice(messages, record, str(error))) from None


def _with_advice(messages: relay.Messages, record: MessageRecord, reason: str) -> str:
    advice = messages.diagnose(record, bot_of(record["session"])).advice
    return f"{reason}; {advice}" if advice else reason


def push(stack: relay.Stack, options: argparse.Namespace) -> relay.SentMessage:
    """Send the message that the options describe. Raise InvalidMessage."""
    check_bot(stack, options.bot)
    segments = [*given_segments(options.message), *map(image, options.image)]
    text = options.text
    if text == "-":
        text = standard_input()
    if segments and text is not None:
        segments.insert(0, {"type": "Plain", "text": text})
    return relay.PushQueue(stack).push(
        options.session,
        None if segments else text,
        message=segments or None,
        bot=options.bot,
        session_type=options.session_type,
        sender={"id": options.sender} if options.sender else None,
        context=given_json("--context", options.context),
        deduplication_id=options.dedup_id,
    )


def standard_input() -> str:
    """Return what stands on standard input. Raise InvalidMessage."""
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise InvalidMessage("standard input is not text in UTF-8") from None


def given_segments(text: str | None) -> list[Segment]:
    """Return the segments that a user wrote as JSON. Raise InvalidMessage."""
    segments = given_json("--message", text)
    if segments is None:
        return []
    if not isinstance(segments, list):
        raise InvalidMessage('--message must be a list such as [{"type": "Plain", "text": "hello"}]')
    return segments


def given_json(option: str, text: str | None) -> Any:
    """Return the value that a user wrote as JSON, None without one. Raise InvalidMessage."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidMessage(f"{option} is not JSON: {error}") from None


def image(path: str) -> Segment:
    """Return the segment of an image file. Raise InvalidMessage."""
    try:
        content = base64.b64encode(Path(path).read_bytes()).decode()
    except OSError as error:
        raise InvalidMessage(f"image {path} cannot be read: {error.strerror}") from None
    kind, _ = mimetypes.guess_type(path)
    if not (kind or "").startswith("image/"):
        raise InvalidMessage(f"image {path} needs a name that ends like one, such as photo.png")
    return {"type": "Image", "base64": f"data:{kind};base64,{content}"}


def print_id(sent: relay.SentMessage, as_json: bool) -> None:
    """Print what names a sent message."""
    if as_json:
        say_json({"message_id": sent.message_id, "sequence_number": sent.sequence_number})
    else:
        say(sent.message_id)


def print_turn(turn: Turn, as_json: bool) -> None:
    """Print a reply; for people each of its parts begins a line."""
    if as_json:
        say_json({"reply_to": turn.reply_to, "message": turn.message})
    else:
        say("\n".join(turn.paragraphs))
