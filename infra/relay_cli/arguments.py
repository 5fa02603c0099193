"""The arguments that several commands share, as argparse's parent parsers."""

import argparse
from itertools import islice

from relay.domain.bot import BOT_NAME
from relay.domain.timestamps import UtcText, given_time


def positive_seconds(text: str) -> float:
    """Return a number of seconds above 0. Raise ArgumentTypeError."""
    return _positive(text, "a number of seconds")


def positive_rate(text: str) -> float:
    """Return a number of messages a second above 0. Raise ArgumentTypeError."""
    return _positive(text, "a number of messages a second")


def _positive(text: str, what: str) -> float:
    try:
        if (number := float(text)) > 0:
            return number
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not {what} above 0")


def utc_time(text: str) -> UtcText:
    """Return a time in UTC. Raise ArgumentTypeError."""
    try:
        return given_time(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time such as 2026-11-25T10:30, which is UTC"
        ) from None


def bot_name(text: str) -> str:
    """Return a bot's name, if it is one. Raise ArgumentTypeError."""
    if not BOT_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"not a bot's name: {text!r}; a name has a-z, 0-9 and -")
    return text


STACK = argparse.ArgumentParser(add_help=False)
STACK.add_argument("--stack", metavar="NAME", help="a deployed stack (default: the local one)")
STACK.add_argument("--json", action="store_true", help="one JSON document a line, for programs")

BOT = argparse.ArgumentParser(add_help=False, parents=[STACK])
BOT.add_argument("--bot", default="default", help="which bot (default: %(default)s)")

SESSION = argparse.ArgumentParser(add_help=False, parents=[BOT])
SESSION.add_argument("session", help="the conversation, e.g. a ticket number")

MESSAGE = argparse.ArgumentParser(add_help=False, parents=[SESSION])
MESSAGE.add_argument("message", metavar="MESSAGE", help="its id, as the other commands print it")

TIMEOUT = argparse.ArgumentParser(add_help=False)
TIMEOUT.add_argument(
    "--timeout",
    type=positive_seconds,
    default=90,
    metavar="SECONDS",
    help="when to stop waiting (default: %(default)s)",
)

YES = argparse.ArgumentParser(add_help=False)
YES.add_argument("--yes", action="store_true", help="do not ask")

_HELP = ("-h", "--help")


def options_first(words: list[str], commands: dict[str, argparse.ArgumentParser]) -> list[str]:
    """Put the options before the other words, so that a session or a text may begin with a dash."""
    if words == ["bots"] or (words[:1] == ["bots"] and words[1][0] == "-" and words[1] not in _HELP):
        return ["bots", "list", *words[1:]]
    if not words or words[0] not in commands or commands[words[0]]._subparsers:
        return words
    known = commands[words[0]]._option_string_actions
    options: list[str] = []
    others: list[str] = []
    rest = iter(words[1:])
    for word in rest:
        if word == "--":
            others += rest
        elif action := known.get(word.partition("=")[0]):
            options.append(word)
            if action.nargs != 0 and "=" not in word:
                options += islice(rest, 1)
        else:
            others.append(word)
    return [words[0], *options, *(["--", *others] if others else [])]
