"""JSON read so that what passes can be stored and written again; nothing is guessed."""

import json
import math
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 200

MAX_KEY_SHOWN = 40
"""Characters of a sender's key that an error text shows."""

_Path = tuple["_Path", str | int] | None
# The steps to a value, the last one first: to write the path of each value would take quadratic time.

BYTE_ORDER_MARK = "\ufeff"
"""What some tools of Windows write before a text."""


class Malformed(ValueError):
    """JSON that the relay does not accept; the text names the place and the fault, never a value."""


def loads(raw: str | bytes, parse_float: Callable[[str], Any] | None = None) -> Any:
    """Return the value of a JSON document. Raise Malformed.

    Besides what is not JSON it refuses invalid UTF-8, NaN and Infinity, a key twice in one object, lone
    surrogates, integers past 4,300 digits and nesting deeper than MAX_DEPTH.
    """
    try:
        text = raw.decode() if isinstance(raw, bytes) else raw
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
