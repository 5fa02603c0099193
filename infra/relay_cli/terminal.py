"""What is printed: texts of users, models and proxies must not steer the operator's terminal."""

import argparse
import json
import re
import shlex
import sys
import traceback
import unicodedata
from bisect import bisect_right
from getpass import getpass
from itertools import accumulate
from types import TracebackType
from typing import Any, NoReturn, TextIO

# C0 but tab and newline, DEL, C1, the marks that change the direction of a text, and lone surrogates: in the
# locale C, Python prints some of them as the bytes of C1.
_STEERING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f"
    r"\ud800-\udfff\ufeff\ufff9-\ufffb]"
)


class CommandFailed(Exception):
    """A command ends here; the text says why and what to do, `code` is its exit code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def lacks_extra(command: str, extra: str, error: ImportError) -> CommandFailed:
    """Return the error of a command whose extra of the package is not installed."""
    install = f"run pip install '.[{extra}]' in a clone of the repository"
    return CommandFailed(1, f"{command} needs {error.name}: {install}")


def say(text: str, file: TextIO | None = None) -> None:
    """Print a text for people, to standard output if no file is given."""
    print(_STEERING.sub("\N{REPLACEMENT CHARACTER}", text), file=file, flush=True)


def complain(text: str) -> None:
    """Print an error in one line."""
    say(one_line(text), sys.stderr)


def progress(done: int, total: int) -> None:
    """Show how much of some work is done, if standard error is a terminal."""
    if sys.stderr.isatty():
        bar = "#" * (40 * done // total)
        end = "\n" if done == total else ""
        sys.stderr.write(f"\r[{bar:40}] {done} of {total}{end}")
        sys.stderr.flush()


def one_line(text: str) -> str:
    """Return a text on one line."""
    return " ".join(text.split())


def truncate(line: str, width: int | None) -> str:
    """Return a line that takes at most `width` cells of a terminal; None is no limit."""
    taken = list(accumulate(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line))
    if not width or not taken or taken[-1] <= width:
        return line
    return line[: bisect_right(taken, width - 1)] + "…"


def show_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an unforeseen error with its traceback. It is for `sys.excepthook`."""
    say("".join(traceback.format_exception(kind, error, trace)).rstrip(), sys.stderr)


class Parser(argparse.ArgumentParser):
    """A parser whose errors, which repeat the arguments, are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line; end with exit code 2."""
        complain(f"{self.prog}: {message}; see `{self.prog} --help`")
        sys.exit(2)


def say_json(value: Any) -> None:
    """Print a value as one line of JSON, for programs, which a terminal shows as it is."""
    text = json.dumps(value, ensure_ascii=not (sys.stdout.encoding or "utf").lower().startswith("utf"))
    print(_STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", text), flush=True)


def confirmed(question: str, yes: bool) -> bool:
    """Ask a question of which the answer is no unless it is given; `yes` answers it beforehand."""
    if yes:
        return True
    say(f"{question} [y/N]")
    try:
        return input().strip().lower() in ("y", "yes")
    except EOFError:
        raise CommandFailed(2, "there was no answer; --yes says yes beforehand") from None


def ask_secret(name: str) -> str:
    """Return a secret that is typed unseen, or the next line of standard input. Raise CommandFailed."""
    secret = getpass(f"{name}: ") if sys.stdin.isatty() else sys.stdin.readline()
    if not secret.strip():
        raise CommandFailed(2, f"{name} is empty; nothing was changed")
    return secret.strip()


def shell_quote(word: str) -> str:
    """Return a word as bash takes it; it may have any characters."""
    if not _STEERING.search(word) and "\n" not in word and "\t" not in word:
        return shlex.quote(word)
    escaped = word.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\t", "\\t")
    return "$'" + _STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", escaped) + "'"
