"""DynamoDB's expressions, as far as the code of the relay uses them; anything else is refused.

Source: "Comparison operator and function reference" and "Update expressions" of the developer guide.
"""

import operator
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

Item = dict[str, Any]
"""An item as DynamoDB's API writes it: a value is {"S": "…"}, {"N": "…"} and so on."""

Test = Callable[[Item, Mapping[str, Any]], bool]
Change = Callable[[Item, Mapping[str, Any]], Item]

_TOKEN = re.compile(r"\s*(<>|<=|>=|[=<>(),+]|[#:]?\w+)")
_COMPARISONS = {"=": operator.eq, "<>": operator.ne, "<": operator.lt, ">": operator.gt, "<=": operator.le}


def plain(value: Any) -> Any:
    """Return what a string or a number is compared by."""
    if value is None:
        return None
    ((kind, content),) = value.items()
    return Decimal(content) if kind == "N" else content


class _Reader:
    """Reads an expression by tokens."""

    def __init__(self, text: str) -> None:
        self.tokens = _TOKEN.findall(text)
        if "".join(self.tokens) != re.sub(r"\s", "", text):
            raise NotImplementedError(text)
        self.position = 0
        self.groups: dict[int, int] = {}
        """Where each group in parentheses begins and ends."""

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self, *expected: str) -> str:
        token = self.peek()
        if expected and token not in expected:
            raise NotImplementedError(f"{token!r} in place of {expected}")
        self.position += 1
        return token

    def name(self) -> str:
        return self.take().removeprefix("#")

    def any_of(self) -> Test:
        tests = [self.all_of()]
        while self.peek() == "OR":
            self.take()
            tests.append(self.all_of())
        return lambda item, values: any(test(item, values) for test in tests)

    def all_of(self) -> Test:
        tests = [self.one()]
        while self.peek() == "AND":
            self.take()
            tests.append(self.one())
        return lambda item, values: all(test(item, values) for test in tests)

    def one(self) -> Test:
        if self.peek() == "(":
            begin = self.position
            self.take()
            test = self.any_of()
            if self.groups.get(begin + 1) == self.position:
                raise NotImplementedError("redundant parentheses, which DynamoDB refuses")
            self.take(")")
            self.groups[begin] = self.position
            return test
        if self.peek() in ("attribute_exists", "attribute_not_exists"):
            wanted = self.take() == "attribute_exists"
            self.take("(")
            name = self.name()
            self.take(")")
            return lambda item, _: (name in item) is wanted
        left = self.operand()
        match self.take("IN", "BETWEEN", *_COMPARISONS):
            case "IN":
                self.take("(")
                choices = [self.operand()]
                while self.take(",", ")") == ",":
                    choices.append(self.operand())
                return lambda item, values: left(item, values) in [one(item, values) for one in choices]
            case "BETWEEN":
                low = self.operand()
                self.take("AND")
                high = self.operand()
                return lambda item, values: _between(
                    left(item, values), low(item, values), high(item, values)
                )
            case sign:
                right, compare = self.operand(), _COMPARISONS[sign]
                return lambda item, values: _compare(compare, left(item, values), right(item, values))

    def operand(self) -> Callable[[Item, Mapping[str, Any]], Any]:
        token = self.take()
        if token.startswith(":"):
            return lambda _, values: plain(values[token])
        name = token.removeprefix("#")
        return lambda item, _: plain(item.get(name))


def _compare(compare: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    if left is None or right is None:
        return compare is operator.ne
    return compare(left, right)


def _between(value: Any, low: Any, high: Any) -> bool:
    return value is not None and low <= value <= high


@cache
def condition_of(expression: str) -> Test:
    """Return the test that a condition, a filter or a key condition is."""
    reader = _Reader(expression)
    test = reader.any_of()
    if reader.peek():
        raise NotImplementedError(expression)
    return test


@cache
def change_of(expression: str) -> Change:
    """Return the change that an update expression is."""
    reader = _Reader(expression)
    setters: list[tuple[str, Callable[[Item, Mapping[str, Any]], Any]]] = []
    removed: list[str] = []
    while section := reader.peek() and reader.take("SET", "REMOVE"):
        while True:
            name = reader.name()
            if section == "SET":
                reader.take("=")
                setters.append((name, _new_value(reader)))
            else:
                removed.append(name)
            if reader.peek() != ",":
                break
            reader.take()

    def change(item: Item, values: Mapping[str, Any]) -> Item:
        after = item | {name: value(item, values) for name, value in setters}
        for name in removed:
            after.pop(name, None)
        return after

    return change


def _new_value(reader: _Reader) -> Callable[[Item, Mapping[str, Any]], Any]:
    if reader.peek() == "if_not_exists":
        reader.take()
        reader.take("(")
        name = reader.name()
        reader.take(",")
        default = _new_value(reader)
        reader.take(")")
        return lambda item, values: item.get(name) or default(item, values)
    token = reader.take()
    if token.startswith(":"):
        return lambda _, values: values[token]
    name = token.removeprefix("#")
    if reader.peek() == "+":
        reader.take()
        added = reader.take()
        return lambda item, values: {"N": str(int(item[name]["N"]) + int(values[added]["N"]))}
    return lambda item, _: item[name]
