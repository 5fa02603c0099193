"""JSON as LangBot writes it, read as it was meant: a reply that was received is never thrown away.

LangBot's `json.dumps` can write NaN, and a plugin can write half an emoji. Strictness is for producers, see
`strict_json`.
"""

import json
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from relay.domain.strict_json import BYTE_ORDER_MARK, MAX_VALUES, Malformed, refuse_too_many_values

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_SURROGATE = re.compile("[\ud800-\udfff]")


class _Reader:
    """Reads one document; `exact` says whether it could be read without a change."""

    def __init__(self, parse_float: Callable[[str], Any]) -> None:
        self.exact = True
        self._parse_float = parse_float

    def float(self, text: str) -> Any:
        return self._changed(text) if math.isinf(float(text)) else self._parse_float(text)

    def int(self, text: str) -> Any:
        try:
            return int(text)
        except ValueError:
            return self._changed(text)

    def constant(self, name: str) -> str:
        return self._changed(name)

    def object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        self.exact = self.exact and len(result) == len(pairs)
        return result

    def clean(self, value: Any) -> Any:
        """Replace lone surrogates."""
        if isinstance(value, str):
            whole = _SURROGATE.sub(_REPLACEMENT, value)
            self.exact = self.exact and whole == value
            return whole
        if isinstance(value, dict):
            return {self.clean(key): self.clean(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.clean(item) for item in value]
        return value

    def _changed(self, text: str) -> str:
        self.exact = False
        return text


def loads(
    raw: bytes, parse_float: Callable[[str], Any] = float, max_values: int = MAX_VALUES
) -> tuple[Any, bool]:
    """Return the value of a JSON document, and whether it was read without a change. Raise Malformed.

    NaN, Infinity and numbers that a double or Python cannot hold become texts. A lone surrogate and invalid
    UTF-8 become U+FFFD. Of a key that an object has twice, the last value counts. More than
    `max_values` values are refused.
    """
    reader = _Reader(parse_float)
    text = raw.decode(errors="replace")
    refuse_too_many_values(text, max_values)
    read = partial(
        json.loads,
        text.removeprefix(BYTE_ORDER_MARK),
        parse_float=reader.float,
        parse_constant=reader.constant,
        object_pairs_hook=reader.object,
        strict=False,  # a control character in a text
    )
    try:
        try:
            value = read()
        except json.JSONDecodeError:
            raise
        except ValueError:  # Python converts no more than 4,300 digits
            value = read(parse_int=reader.int)
        # A surrogate can only come from an escape: decoding UTF-8 gives none.
        if "\\ud" in text or "\\uD" in text:
            value = reader.clean(value)
    except RecursionError:
        raise Malformed("nested too deep") from None
    except ValueError:
        raise Malformed("not valid JSON") from None
    return value, reader.exact and text.encode() == raw
