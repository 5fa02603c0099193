"""What is printed: texts of users, models and proxies must not steer the operator's terminal."""

import json
import re
import shlex
import sys
from typing import Any

# C0 but tab and newline, DEL, C1, and the marks that change the direction of a text.
_STEERING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb]"
)


def say(text: str) -> None:
    """Print a text for people."""
    print(_STEERING.sub("\N{REPLACEMENT CHARACTER}", text), flush=True)


def complain(text: str) -> None:
    """Print an error in one line."""
    print(_STEERING.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split())), file=sys.stderr)


def say_json(value: Any) -> None:
    """Print a value as one line of JSON, for programs."""
    print(json_line(value), flush=True)


def json_line(value: Any) -> str:
    """Return one line of JSON that a terminal shows as it is."""
    text = json.dumps(value, ensure_ascii=False)
    return _STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def quoted(word: str) -> str:
    """Return a word as bash takes it; it may have any characters."""
    if not _STEERING.search(word) and "\n" not in word and "\t" not in word:
        return shlex.quote(word)
    escaped = word.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\t", "\\t")
    return "$'" + _STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", escaped) + "'"
