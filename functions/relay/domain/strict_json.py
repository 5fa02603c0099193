"""JSON read so that what passes can be stored and written again; nothing is guessed."""

import json
import math
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 200

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
        text = raw.decode("utf-8") if isinstance(raw, bytes) else raw
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
    _check(value, "", 0)
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


def _check(value: Any, path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Malformed(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise Malformed(f"{path or 'the document'} holds a lone surrogate")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check(key, f"a key of {path}" if path else "a key", depth)
            _check(item, f"{path}.{key}" if path else key, depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]", depth + 1)
