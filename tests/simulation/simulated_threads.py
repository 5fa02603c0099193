"""What the functions use of Python's threads and time, in the world's time."""

from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any, Self

from simulation.world import Task, World


class Threads:
    """The names of `concurrent.futures` and `time`, for the code of the relay."""

    def __init__(self, world: World) -> None:
        self.time = SimpleNamespace(time=world.clock, monotonic=world.monotonic, sleep=world.sleep)
        self.pool: Callable[[int], _Pool] = lambda max_workers: _Pool(world)


class _Pool:
    def __init__(self, world: World) -> None:
        self._world = world

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, action: Callable[..., Any], *arguments: Any) -> Task:
        return self._world.spawn(self._world.current.process, lambda: action(*arguments))

    def map(self, action: Callable[[Any], Any], values: Iterable[Any]) -> Iterator[Any]:
        tasks = [self.submit(action, value) for value in values]
        return iter([task.result() for task in tasks])
