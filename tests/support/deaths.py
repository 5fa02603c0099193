"""Functions that die at one of their calls."""

from typing import Any, Literal

When = Literal["before", "after"]


class Died(BaseException):
    """The function died."""


class Dying:
    """Does what `thing` does, and dies before or after its `method`, once."""

    def __init__(self, thing: Any, method: str, when: When) -> None:
        self._thing, self._method = thing, method
        self._when: When | None = when

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._thing, name)
        if name != self._method or not self._when:
            return method
        when, self._when = self._when, None

        def dying(*arguments: Any, **named: Any) -> None:
            if when == "after":
                method(*arguments, **named)
            raise Died

        return dying
