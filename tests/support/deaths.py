"""Functions that die at one of their calls."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Literal, TypeVar

from push.dispatcher import Dispatcher
from relay.sender import Sender

When = Literal["before", "after"]
Worker = TypeVar("Worker")


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


def dying(dispatcher: Dispatcher, part: str, method: str, when: When) -> Dispatcher:
    """Return a dispatcher that dies in one of its parts, or of its sender's."""
    if hasattr(dispatcher, part):
        mortal: dict[str, Any] = {part: Dying(getattr(dispatcher, part), method, when)}
        return replace(dispatcher, **mortal)
    mortal = {part: Dying(getattr(dispatcher.sender, part), method, when)}
    return replace(dispatcher, sender=replace(dispatcher.sender, **mortal))


class Life:
    """Ends before or after the `calls`-th call of all the adapters that share it."""

    def __init__(self, calls: int, when: When) -> None:
        self.calls, self.when = calls, when

    def of(self, worker: Worker) -> Worker:
        """Return `worker` with adapters that share this life."""
        parts = {field.name: getattr(worker, field.name) for field in fields(worker)}  # type: ignore[arg-type]
        mortal = {
            name: self.of(part) if isinstance(part, Sender) else _Mortal(part, self)
            for name, part in parts.items()
            if isinstance(part, Sender) or not _is_plain(part)
        }
        return replace(worker, **mortal)  # type: ignore[type-var]


def _is_plain(part: Any) -> bool:
    """Tell whether a part of a worker is no adapter: its policy, numbers, metrics and clock."""
    module: str = type(part).__module__
    return callable(part) or module in ("builtins", "relay.domain.retry", "relay.metrics")


class _Mortal:
    def __init__(self, thing: Any, life: Life) -> None:
        self._thing, self._life = thing, life

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def method(*arguments: Any, **named: Any) -> Any:
            self._life.calls -= 1
            last = self._life.calls == 0
            if self._life.calls < 0 or (last and self._life.when == "before"):
                raise Died
            result = getattr(self._thing, name)(*arguments, **named)
            if last:
                raise Died
            return result

        return method
