"""JSON read so that what passes can be stored and written again; nothing is guessed."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 200

MAX_VALUES = 200_000
"""Values of a document, where an empty list or object counts as two. To read them takes up to 0.4 s of CPU.
A body of callback's largest size can have three million, which take seconds and more memory than it has."""

MAX_KEY_SHOWN = 40
"""Characters of a sender's key that an error text shows."""

_Path = tuple["_Path", str | int] | None
# The steps to a value, the last one first: to write the path of each value would take quadratic time.

BYTE_ORDER_MARK = "\ufeff"
"""What some tools of Windows write before a text."""

_TEXT = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
# The end is optional and nothing is given back, so that no text takes quadratic time.


class Malformed(ValueError):
    """JSON that the relay does not accept; the text names the place and the fault, never a value."""


def loads(raw: str | bytes, parse_float: Callable[[str], Any] | None = None) -> Any:
    """Return the value of a JSON document. Raise Malformed.

    Besides what is not JSON it refuses invalid UTF-8, NaN and Infinity, a key twice in one object, lone
    surrogates, integers past 4,300 digits, more than MAX_VALUES values and nesting deeper than MAX_DEPTH.
    """
    try:
        text = raw.decode() if isinstance(raw, bytes) else raw
        refuse_too_many_values(text, MAX_VALUES)
        value = json.loads(
            text.removeprefix(BYTE_ORDER_MARK),
            parse_float=parse_float or _finite,
            parse_constant=_constant,
            object_pairs_hook=_object,
        )
    except Malformed:
        raise
    except UnicodeDecodeError:
        raise Malformed("not valid UTF-8") from None
    except RecursionError:
        raise Malformed(f"nested deeper than {MAX_DEPTH} levels") from None
    except ValueError:
        raise Malformed("not valid JSON") from None
    _check(value, None, 0)
    return value


def refuse_too_many_values(text: str, most: int) -> None:
    """Raise Malformed if a document has more than `most` values, without reading it."""
    if _most_values(text) <= most:
        return
    # A text can hold what looks like values. Each text is a value itself, or the key of one.
    without_texts, texts = _TEXT.subn("", text, 2 * most + 1)
    if texts > 2 * most or _most_values(without_texts) > most:
        raise Malformed(f"more than {most:,} values")


def _most_values(text: str) -> int:
    # A value comes after one of these, or is the document.
    return 1 + sum(map(text.count, "[{,"))


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise Malformed("a number is too large")
    return number


def _constant(name: str) -> Any:
    raise Malformed(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise Malformed("an object has the same key twice")
    return result


def _check(value: Any, path: _Path, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Malformed(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        if _has_lone_surrogate(value):
            raise Malformed(f"{_written(path) or 'the document'} holds a lone surrogate")
    elif isinstance(value, dict):
        for key, item in value.items():
            if _has_lone_surrogate(key):
                of = f" of {_written(path)}" if path else ""
                raise Malformed(f"a key{of} holds a lone surrogate")
            _check(item, (path, key), depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check(item, (path, index), depth + 1)


def _has_lone_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)


def _written(path: _Path) -> str:
    steps = []
    while path:
        path, step = path
        steps.append(f"[{step}]" if isinstance(step, int) else f".{_printable(step)}")
    return "".join(reversed(steps)).removeprefix(".")


def _printable(key: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in key[:MAX_KEY_SHOWN])
