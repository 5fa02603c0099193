"""relay: send a message to a bot, wait for its reply, follow a session, resend or drop what failed."""

import argparse
import os
import signal
import sys
from itertools import islice
from typing import Any, NoReturn

from botocore.exceptions import BotoCoreError, ClientError

from relay import (
    Conversation,
    InvalidMessage,
    InvalidState,
    MessageParked,
    Messages,
    PushQueue,
    ReplyTimeout,
    SentMessage,
    Stack,
    StackNotFound,
)
from relay.domain.part import ReplyPart
from relay.domain.record import MessageRecord, State
from relay_cli.terminal import complain, json_line, quoted, say, say_json

EXIT_CODES = """\
exit codes:
  0  done
  1  the stack could not be reached, or refused
  2  the command or the message is not valid, or there is no such message
  3  the message is parked: it is not tried again unless it is resent
  4  no reply in time
"""


_SWITCHES = ("-h", "--help", "--json")
_WITH_VALUE = ("--stack", "--bot", "--session-type", "--timeout")


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--stack", metavar="NAME", help="a deployed stack (default: the local one)")
    common.add_argument("--bot", default="default", help="which bot (default: %(default)s)")
    common.add_argument("--json", action="store_true", help="one JSON document a line, for programs")

    session = argparse.ArgumentParser(add_help=False)
    session.add_argument("session", help="the conversation, e.g. a ticket number")

    sending = argparse.ArgumentParser(add_help=False)
    sending.add_argument("--session-type", choices=["person", "group"], help="default: the bot's")

    text = argparse.ArgumentParser(add_help=False)
    text.add_argument("text", help="what to say; - reads it from standard input")

    top = argparse.ArgumentParser(
        prog="relay",
        description=__doc__,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "push", parents=[common, sending, session, text], help="send a message; the reply comes later"
    )
    sync = commands.add_parser(
        "sync", parents=[common, sending, session, text], help="send a message, print the reply"
    )
    sync.add_argument("--timeout", type=float, default=90, metavar="SECONDS", help="default: %(default)s")
    commands.add_parser(
        "reset", parents=[common, sending, session], help="start a new conversation in the session"
    )
    commands.add_parser("tail", parents=[common, session], help="print a session's last ten parts, follow it")
    parked = commands.add_parser(
        "parked",
        parents=[common],
        help="list parked messages; show those of one session, and its unanswered ones",
    )
    parked.add_argument("session", nargs="?", help="show those of this session, with their text")
    message = argparse.ArgumentParser(add_help=False)
    message.add_argument("message_id", help="as `relay push` and `relay parked` print it")
    commands.add_parser(
        "resend",
        parents=[common, session, message],
        help="send a parked or unanswered message again, as the next",
    )
    drop = commands.add_parser(
        "drop", parents=[common, session, message], help="close a parked or unanswered message for good"
    )
    drop.add_argument("reason", help="why; it is kept")
    return top


def options_first(words: list[str]) -> list[str]:
    """Put the options before the other words, so that a session or a text may begin with a dash."""
    command = words[0] if words else ""
    options: list[str] = []
    others: list[str] = []
    rest = iter(words[1:])
    for word in rest:
        if word == "--":
            others += rest
        elif word.partition("=")[0] in (*_SWITCHES, *_WITH_VALUE):
            options.append(word)
            if word in _WITH_VALUE:
                options += islice(rest, 1)
        else:
            others.append(word)
    return [command, *options, "--", *others] if others else words


def main() -> int:
    """Run one command; return its exit code."""
    # If its reader ends (`relay tail … | head`), relay ends without a message.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    options = parser().parse_args(options_first(sys.argv[1:]))
    try:
        stack = Stack.from_cloudformation(options.stack) if options.stack else Stack.from_file()
        match options.command:
            case "tail":
                tail(stack, options)
            case "parked":
                return parked(stack, options)
            case "resend" | "drop":
                return resend_or_drop(stack, options)
        return send(stack, options)
    except KeyboardInterrupt:
        return 0 if options.command == "tail" else 130
    except InvalidMessage as error:
        return fail(2, f"not a valid message: {error}")
    except (InvalidState, NoSuchMessage) as error:
        return fail(2, str(error))
    except MessageParked as error:
        return fail(3, f"parked: {error}")
    except ReplyTimeout as error:
        return fail(4, str(error))
    except StackNotFound as error:
        return fail(1, str(error))
    except (ClientError, BotoCoreError) as error:
        return fail(1, str(error))


class NoSuchMessage(Exception):
    """The session has no message of that id; the text names the session and the bot."""


def fail(code: int, text: str) -> int:
    """Say in one line what is wrong; return the exit code."""
    complain(f"relay: {text}")
    return code


def send(stack: Stack, options: argparse.Namespace) -> int:
    """Run push, sync and reset."""
    text = getattr(options, "text", None)
    if text == "-":
        text = sys.stdin.read()
    sent = PushQueue(stack).push(
        options.session,
        text,
        bot=options.bot,
        # The reply of a push is waited for here: no function waits, and no reply is lost with its response.
        action="reset" if options.command == "reset" else "push",
        session_type=options.session_type,
    )
    if options.command == "sync":
        turn = Conversation(stack, options.session, options.bot).wait(sent, options.timeout)
        if options.json:
            say_json({"reply_to": turn.reply_to, "message": turn.message})
        else:
            say(turn.text)
    else:
        print_id(sent, options)
    return 0


def print_id(sent: SentMessage, options: argparse.Namespace) -> None:
    """Print what names a sent message."""
    if options.json:
        say_json({"message_id": sent.message_id, "sequence_number": sent.sequence_number})
    else:
        say(sent.message_id)


def parked(stack: Stack, options: argparse.Namespace) -> int:
    """List parked messages, a line each; of one session show them and the unanswered ones in full."""
    messages = Messages(stack)
    if options.session is None:
        for record in messages.parked():
            say_json(fields(record)) if options.json else say(summary(record))
        return 0
    for record in messages.of_session(options.session, options.bot):
        if record["state"] in (State.PARKED, State.UNANSWERED):
            body = messages.body(record)
            say_json({**record, "body": body}) if options.json else say(details(record, body))
    return 0


def fields(record: MessageRecord) -> dict[str, Any]:
    """Return what the list says of a parked message, for programs."""
    return {
        "parked_at": record["parked_at"],
        "bot": record.get("bot"),
        "session_id": record.get("session_id"),
        "session": record["session"],
        "message_id": record["message_id"],
        "attempts": record["attempts"],
        "reason": record["reason"],
    }


def summary(record: MessageRecord) -> str:
    """Return what the list says of a parked message, on one line and without its text."""
    bot, _, session_id = record["session"].partition("#")
    session = f"--bot {quoted(bot)} {quoted(session_id)}"
    reason = " ".join(record["reason"].split())
    return (
        f"{record['parked_at'][:19]}Z  {session}  {record['message_id']}  "
        f"{record['attempts']} attempts: {reason}"
    )


def details(record: MessageRecord, body: str) -> str:
    """Return all that is known of a message, a line a field."""
    shown = {**record, "body": body}
    lines = [
        f"{name:20} {json_line(value) if name == 'last_answer' else value}" for name, value in shown.items()
    ]
    return "\n".join([*sorted(lines), ""])


def resend_or_drop(stack: Stack, options: argparse.Namespace) -> int:
    """Run resend and drop."""
    messages = Messages(stack)
    for record in messages.of_session(options.session, options.bot):
        if record["message_id"] == options.message_id:
            break
    else:
        raise NoSuchMessage(
            f"no message {options.message_id} in session {options.session} of bot {options.bot!r}"
        )
    if options.command == "drop":
        messages.drop(record, options.reason)
        return 0
    if sent := messages.resend(record):
        print_id(sent, options)
    else:
        say(f"resent before, as {record['resent_as']}")
    return 0


def tail(stack: Stack, options: argparse.Namespace) -> NoReturn:
    """Print parts as they are stored, until it is interrupted."""
    for part in Conversation(stack, options.session, options.bot).follow():
        say_json(part) if options.json else say(line(part))
    raise AssertionError("follow has no end")


def line(part: ReplyPart) -> str:
    """Return a part for people, on one line."""
    text = " ".join(part["text"].split()) or ", ".join(str(s.get("type")) for s in part["message"])
    text = f"{part['created_at'][11:19]}  {part['sequence']:>3}  {text}"
    width = os.get_terminal_size().columns - 2 if sys.stdout.isatty() else len(text)
    return (text if len(text) <= width else text[: width - 1] + "…") + ("  ■" if part["is_final"] else "")


if __name__ == "__main__":
    sys.exit(main())
