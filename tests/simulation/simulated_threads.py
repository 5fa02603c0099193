"""What the functions use of Python's threads, queues and time, in the world's time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from queue import Empty
from threading import local
from types import SimpleNamespace
from typing import Any, Self

from simulation.world import Task, World


class Threads:
    """The names of `threading`, `concurrent.futures`, `queue` and `time`, for the code of the relay."""

    def __init__(self, world: World) -> None:
        self.time = SimpleNamespace(time=world.clock, monotonic=world.monotonic, sleep=world.sleep)
        self.threading = SimpleNamespace(
            Lock=lambda: _Semaphore(world, 1),
            Semaphore=lambda value: _Semaphore(world, value),
            Thread=lambda target, daemon: _Thread(world, target),
            local=local,
        )
        self.pool = lambda max_workers: _Pool(world)
        self.queue = lambda: _Queue(world)


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


class _Thread:
    def __init__(self, world: World, target: Callable[[], Any]) -> None:
        self._world, self._target = world, target

    def start(self) -> None:
        self._world.spawn(self._world.current.process, self._target)


class _Pool:
    def __init__(self, world: World) -> None:
        self._world = world

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, action: Callable[[Any], Any], values: Iterable[Any]) -> Iterator[Any]:
        process = self._world.current.process
        tasks = [self._world.spawn(process, partial(action, value)) for value in values]
        return iter([task.result() for task in tasks])


class _Queue:
    def __init__(self, world: World) -> None:
        self._world = world
        self._values: deque[Any] = deque()
        self._waiting: deque[Task] = deque()

    def put(self, value: Any) -> None:
        self._values.append(value)
        if self._waiting:
            self._world.wake(self._waiting.popleft())

    def get(self, timeout: float) -> Any:
        ends_at = self._world.now + timeout
        while not self._values:
            if self._world.now >= ends_at:
                raise Empty
            self._waiting.append(self._world.current)
            self._world.suspend(ends_at - self._world.now)
        return self._values.popleft()
