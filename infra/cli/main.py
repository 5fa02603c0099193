"""relay: send a message to a bot, wait for its answer, follow a session, see to what ended badly."""

import argparse
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any, NoReturn

from botocore.exceptions import BotoCoreError, ClientError

from relay import Conversation, Messages, NotAnswered, NotOpen, Parked, Queue, Sent, Stack
from relay.client import StackNotFound
from relay.rules.ledger import State
from relay.rules.message import InvalidMessage

EXIT_CODES = """\
exit codes:
  0  done
  1  the stack could not be reached, or refused
  2  the command or the message is not valid, or there is no such message
  3  the message was parked: it will not be tried again by itself
  4  no answer in time
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
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
        "reset", parents=[common, sending, session], help="start the session's conversation anew"
    )
    commands.add_parser("tail", parents=[common, session], help="print a session's last ten parts, follow it")
    parked = commands.add_parser(
        "parked", parents=[common], help="list what is parked; of one session, show it and what is unanswered"
    )
    parked.add_argument("session", nargs="?", help="show all of this session's, with what was said")
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


def main() -> int:
    """Runs one command; its exit code."""
    # A reader that has seen enough (`relay tail … | head`) ends us without a word.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    options = parser().parse_args()
    try:
        stack = Stack.from_cloudformation(options.stack) if options.stack else Stack.from_file()
        match options.command:
            case "tail":
                tail(stack, options)
            case "parked":
                return parked(stack, options)
            case "resend" | "drop":
                return see_to(stack, options)
        return send(stack, options)
    except KeyboardInterrupt:
        return 0 if options.command == "tail" else 130
    except InvalidMessage as error:
        return fail(2, f"not a valid message: {error}")
    except (NotOpen, NoSuchMessage) as error:
        return fail(2, str(error))
    except Parked as error:
        return fail(3, f"parked: {error}")
    except NotAnswered as error:
        return fail(4, str(error))
    except StackNotFound as error:
        return fail(1, str(error))
    except (ClientError, BotoCoreError) as error:
        return fail(1, " ".join(str(error).split()))


class NoSuchMessage(Exception):
    """The session has no message of that id; the text says where it was looked for."""


def fail(code: int, text: str) -> int:
    """Says in one line what is wrong; the exit code."""
    print(f"relay: {text}", file=sys.stderr)
    return code


def send(stack: Stack, options: argparse.Namespace) -> int:
    """push, sync and reset."""
    text = getattr(options, "text", None)
    if text == "-":
        text = sys.stdin.read()
    sent = Queue(stack).push(
        options.session, text, bot=options.bot, action=options.command, session_type=options.session_type
    )
    if options.command == "sync":
        turn = Conversation(stack, options.session, options.bot).wait(sent, options.timeout)
        print(dump({"reply_to": turn.reply_to, "message": turn.message}) if options.json else turn.text)
    else:
        print_id(sent, options)
    return 0


def print_id(sent: Sent, options: argparse.Namespace) -> None:
    """Prints what a message on the queue is found by."""
    if options.json:
        print(dump({"message_id": sent.message_id, "sequence_number": sent.sequence_number}))
    else:
        print(sent.message_id)


def parked(stack: Stack, options: argparse.Namespace) -> int:
    """Lists what is parked, a line each; of one session shows everything that ended badly."""
    messages = Messages(stack)
    if options.session is None:
        for item in messages.parked():
            fields = {name: item.get(name) for name in ("parked_at", "bot", "session_id", "session")}
            fields |= {name: item[name] for name in ("message_id", "attempts", "reason")}
            print(dump(fields) if options.json else summary(item))
        return 0
    for item in messages.of_session(options.session, options.bot):
        if item["state"] in (State.PARKED, State.UNANSWERED):
            shown = item | {"body": messages.body(item)}
            print(dump(shown) if options.json else details(shown), flush=True)
    return 0


def summary(item: dict[str, Any]) -> str:
    """A parked message on one line, without what was said in it."""
    bot, _, session_id = item["session"].partition("#")
    where = f"--bot {shlex.quote(bot)} {shlex.quote(session_id)}"
    reason = " ".join(item["reason"].split())
    return f"{item['parked_at'][:19]}Z  {where}  {item['message_id']}  {item['attempts']} attempts: {reason}"


def details(item: dict[str, Any]) -> str:
    """All that is known of a message, a line a field."""
    lines = [f"{name:20} {dump(value) if name == 'last_answer' else value}" for name, value in item.items()]
    return "\n".join([*sorted(lines), ""])


def see_to(stack: Stack, options: argparse.Namespace) -> int:
    """resend and drop."""
    messages = Messages(stack)
    for item in messages.of_session(options.session, options.bot):
        if item["message_id"] == options.message_id:
            break
    else:
        raise NoSuchMessage(
            f"no message {options.message_id} in session {options.session} of bot {options.bot!r}"
        )
    if options.command == "drop":
        messages.drop(item, options.reason)
        return 0
    if sent := messages.resend(item):
        print_id(sent, options)
    else:
        print(f"sent again before, as {item['resent_as']}")
    return 0


def tail(stack: Stack, options: argparse.Namespace) -> NoReturn:
    """Prints parts as they land, until it is interrupted."""
    for part in follow(Conversation(stack, options.session, options.bot)):
        print(dump(part) if options.json else line(part), flush=True)
    raise AssertionError("following never ends")


def follow(talk: Conversation) -> Iterator[dict[str, Any]]:
    """The last ten parts of a session and then each new one, forever."""
    parts = talk.parts()[-10:]
    seen: dict[str, None] = {}
    while True:
        for part in parts:
            if part["part"] not in seen:
                seen[part["part"]] = None
                yield part
        time.sleep(0.5)
        # A part may land a little behind one that was stamped later; so look back over the last ten.
        recent = sorted(seen)[-10:]
        seen = dict.fromkeys(recent)
        parts = talk.parts(after=recent[0][:-1] if recent else "")


def line(part: dict[str, Any]) -> str:
    """A part for people, on one line."""
    text = " ".join(part["text"].split()) or ", ".join(str(s.get("type")) for s in part["message"])
    text = f"{part['created_at'][11:19]}  {part['sequence']:>3}  {text}"
    width = os.get_terminal_size().columns - 2 if sys.stdout.isatty() else len(text)
    return (text if len(text) <= width else text[: width - 1] + "…") + ("  ■" if part["is_final"] else "")


def dump(value: Any) -> str:
    """One line of JSON."""
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
