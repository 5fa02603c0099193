"""The world: its clock, its chance, and the processes that run in it one step at a time."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from greenlet import getcurrent, greenlet

START = 1_795_352_400.0
"""When each world begins, in Unix seconds: a Sunday in November 2026."""


class Killed(BaseException):
    """The process died. No code of the relay catches this."""


@dataclass
class Crash:
    """A death that is to come: before or after the last of so many side effects whose names begin so."""

    effects: int
    before: bool
    effect: str = ""

    def is_now(self, effect: str) -> bool:
        """Count a side effect; tell whether it is the last one."""
        self.effects -= effect.startswith(self.effect)
        return self.effects == 0 and effect.startswith(self.effect)


@dataclass(eq=False)
class Process:
    """What lives and dies together: an instance of a function, a LangBot, a person.

    `runs_relay` says that it runs code of the relay, whose errors are its own affair; an error anywhere else
    ends the simulation. `skew` in seconds is how far its clock is ahead. A frozen process takes no step:
    Lambda freezes an instance between two invocations.
    """

    name: str
    runs_relay: bool = False
    skew: float = 0
    crash: Crash | None = None
    dead: bool = False
    frozen: bool = False
    tasks: list["Task"] = field(default_factory=list)
    held_back: list["Task"] = field(default_factory=list)

    @property
    def program(self) -> str:
        """What runs in it, as "push" in "push.3"."""
        return self.name.partition(".")[0]


class Task:
    """A thread of a process. It ends with a result or an error, and those that wait for it go on."""

    def __init__(self, world: "World", process: Process, action: Callable[[], Any]) -> None:
        self.process = process
        self.done = False
        self.error: Exception | None = None
        self.turn = 0
        self.world = world
        self._action = action
        self._value: Any = None
        self._waiting: list[Task] = []
        self.steps = greenlet(self._run)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the task; return what it returned or raise what it raised."""
        if not self.wait(timeout):
            raise TimeoutError
        if self.error:
            raise self.error
        return self._value

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the task has ended; return False if it has not within so many seconds."""
        ends_at = None if timeout is None else self.world.now + timeout
        while not self.done:
            left = None if ends_at is None else ends_at - self.world.now
            if left is not None and left <= 0:
                return False
            self._waiting.append(self.world.current)
            self.world.suspend(left)
        return True

    def _run(self) -> None:
        try:
            if self.process.dead:
                raise Killed
            self._value = self._action()
        except Killed:
            self.error = ProcessDied(self.process.name)
        except Exception as error:
            if not self.process.runs_relay:
                raise
            self.error = error
        self.done = True
        self.world.ended(self)
        for task in self._waiting:
            self.world.wake(task)


class ProcessDied(Exception):
    """A task ended since its process died."""


class World:
    """Runs tasks in the order of their times. Nothing but `seed` decides what happens."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now = START
        self.trace: list[tuple[float, str, str]] = []
        self.stopped = False
        self._agenda: list[tuple[float, int, Task, int]] = []
        self._numbers = count()
        self._current: Task | None = None
        self._tasks: dict[Task, None] = {}
        self._chances: dict[str, random.Random] = {}
        self._hub = getcurrent()

    def chance(self, of: str) -> random.Random:
        """Return the source of chance of one thing; what one thing draws changes no other's."""
        if of not in self._chances:
            self._chances[of] = random.Random(f"{self.seed} {of}")  # noqa: S311 - no secret
        return self._chances[of]

    def note(self, who: str, what: str) -> None:
        """Write a line of the trace."""
        self.trace.append((self.now, who, what))

    # ---------------------------------------------------------------- time

    def clock(self) -> float:
        """Return the time in Unix seconds on the clock of the process that asks."""
        return self.now + (self._current.process.skew if self._current else 0)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass for the task that calls this."""
        self.suspend(max(seconds, 0))

    # ---------------------------------------------------------------- tasks

    @property
    def current(self) -> Task:
        """The task that runs."""
        assert self._current, "only a task can wait"
        return self._current

    @property
    def program(self) -> str:
        """The program of the task that runs; "" for a caller that is no task."""
        return self._current.process.program if self._current else ""

    def spawn(self, process: Process, action: Callable[[], Any], delay: float = 0) -> Task:
        """Start a task of `process` after so many seconds."""
        task = Task(self, process, action)
        task.steps.parent = self._hub
        process.tasks.append(task)
        self._tasks[task] = None
        self._schedule(task, delay)
        return task

    def ended(self, task: "Task") -> None:
        """Forget a task that has ended."""
        task.process.tasks.remove(task)
        del self._tasks[task]

    def suspend(self, seconds: float | None = None) -> None:
        """Stop the task that runs until another one wakes it, or so many seconds have gone by."""
        task = self.current
        if task.process.dead:
            raise Killed
        task.turn += 1
        if seconds is not None:
            self._schedule(task, seconds)
        self._hub.switch()
        if task.process.dead:
            raise Killed

    def wake(self, task: Task) -> None:
        """Let a stopped task go on."""
        self._schedule(task, 0)

    def kill(self, process: Process) -> None:
        """End all tasks of a process; the one that runs has to raise Killed itself."""
        process.dead, process.frozen = True, False
        for task in process.tasks:
            self.wake(task)

    def thaw(self, process: Process) -> None:
        """Let a frozen process go on."""
        process.frozen = False
        held_back, process.held_back = process.held_back, []
        for task in held_back:
            self.wake(task)

    def effect(self, process: Process, name: str, effect: Callable[[], Any]) -> Any:
        """Do what others can see; if the process' crash is here, it dies before or after that."""
        crash = process.crash
        if crash is None or not crash.is_now(name):
            return effect()
        if not crash.before:
            effect()
        self.note(process.name, f"dies at {name}")
        self.kill(process)
        raise Killed

    def run(self, until: float) -> None:
        """Run until the world is stopped, or that time (Unix seconds)."""
        while self._agenda and not self.stopped and self._agenda[0][0] <= until:
            moment, _, task, turn = heapq.heappop(self._agenda)
            if task.done or turn != task.turn:
                continue
            if task.process.frozen:
                task.process.held_back.append(task)
                continue
            self.now, self._current = moment, task
            task.steps.switch()
            self._current = None

    def close(self) -> None:
        """End all tasks, so that Python can free the world: it never frees a greenlet that is stopped."""
        for task in list(self._tasks):
            task.process.dead = True
            self._current = task
            task.steps.switch()
        self._current = None

    def _schedule(self, task: Task, delay: float) -> None:
        heapq.heappush(self._agenda, (self.now + delay, next(self._numbers), task, task.turn))
