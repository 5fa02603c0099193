"""What the functions use of Python's threads and time, in the world's time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any, Self

from simulation.world import Task, World


class Threads:
    """The names of `threading`, `concurrent.futures` and `time`, for the code of the relay."""

    def __init__(self, world: World) -> None:
        self.time = SimpleNamespace(time=world.clock, monotonic=world.monotonic, sleep=world.sleep)
        self.threading = SimpleNamespace(
            Lock=lambda: _Semaphore(world, 1),
            Semaphore=lambda value: _Semaphore(world, value),
        )
        self.pool: Callable[[int], _Pool] = lambda max_workers: _Pool(world)


class _Semaphore:
    def __init__(self, world: World, value: int) -> None:
        self._world, self._value = world, value
        self._waiting: deque[Task] = deque()

    def __enter__(self) -> Self:
        while self._value == 0:
            self._waiting.append(self._world.current)
            self._world.suspend()
        self._value -= 1
        return self

    def __exit__(self, *_: object) -> None:
        self._value += 1
        if self._waiting:
            self._world.wake(self._waiting.popleft())


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
