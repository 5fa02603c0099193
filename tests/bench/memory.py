"""What the functions take, and cost, with the CPU that Lambda gives them by their memory.

Lambda gives CPU in proportion to memory: one core at 1,769 MB. A control group of Linux gives a process such
a share: `quota` microseconds of each period of 20 ms. The emulator and the bot run outside of it.

`python -m bench.memory` needs to be root, and the CPU controller of cgroup version 1.
"""

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.bench import CLIENTS, Handler, cold_start
from bench.quick_bot import quick_bots
from bench.side_by_side import Process, environment_of, newest_item, record_of_a_message, subjects
from local.local_stack import LocalStack, local_stack
from local.sample_bot import SampleBot
from support.deployed import IN, OUT
from support.package import build_package

MEMORIES = (128, 256, 512, 1024, 1769)
"""MB."""

ROUNDS, EACH_ROUND, COLD_ROUNDS = 7, 10, 5
GB_SECOND = 13.33
"""Dollars a million on arm64, as in docs/cost.md."""

_CONTROLLER, _PERIOD = Path("/sys/fs/cgroup/cpu"), 20_000
BOT = "bench-0"


@dataclass(frozen=True)
class CpuShare:
    """A control group, whose processes get the CPU of so much memory."""

    folder: Path

    def set(self, memory: int) -> None:
        """Give its processes the CPU of so many MB."""
        (self.folder / "cpu.cfs_quota_us").write_text(str(_PERIOD * memory // 1769))

    def add(self, pid: int) -> None:
        """Let a process have this share."""
        (self.folder / "cgroup.procs").write_text(str(pid))

    @staticmethod
    def remove(pid: int) -> None:
        """Let a process have all CPU again."""
        (_CONTROLLER / "cgroup.procs").write_text(str(pid))


@contextmanager
def cpu_share() -> Iterator[CpuShare]:
    """Make a control group, and remove it when its processes have ended."""
    folder = _CONTROLLER / f"bench-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "cpu.cfs_period_us").write_text(str(_PERIOD))
    except OSError as error:
        raise SystemExit(
            f"{error}: this needs root, and the CPU controller of cgroup version 1 at {_CONTROLLER}"
        ) from None
    try:
        yield CpuShare(folder)
    finally:
        folder.rmdir()


Took = dict[tuple[str, int], list[float]]
"""Milliseconds of each round, by function and memory."""


def warm(local: LocalStack, share: CpuShare) -> Took:
    """Measure an invocation of each function, warm, with each memory in turn."""
    took: Took = defaultdict(list)
    with quick_bots() as url, ExitStack() as ends:
        local.connect(f"{url}0", IN, OUT, bot=BOT)
        given = {"BENCH_BOT": BOT}
        given["BENCH_RECORD"] = record_of_a_message(local, environment_of(local, "push") | given)
        running: dict[str, Process] = {}

        def start(function: str) -> None:
            environment = environment_of(local, function) | given
            running.update(ends.enter_context(subjects(environment, {function: f"{function}_subject"})))

        start("callback")
        start("push")
        given["BENCH_PART"] = newest_item(local, "RepliesTableName", BOT)
        # The bot of push would be full of their messages.
        given["BENCH_BOT"] = "another"
        start("settle")
        start("publish")
        for _ in range(ROUNDS):
            for memory in MEMORIES:
                share.set(memory)
                for function, subject in running.items():
                    share.add(subject.process.pid)
                    took[function, memory].append(subject.ask(EACH_ROUND)["wall"])
                    share.remove(subject.process.pid)
    return took


def cold(local: LocalStack, share: CpuShare) -> Took:
    """Measure the time from the start of a process until it has answered its first event."""
    took: Took = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        package = build_package(Path(folder))
        for _ in range(COLD_ROUNDS):
            for memory in MEMORIES:
                share.set(memory)
                for function in CLIENTS:
                    handler = Handler(f"{function}.app.handler", (package,))
                    passed = cold_start(local, function, handler, init_only=False, started_as=share.add)
                    took[function, memory].append(passed)
    return took


def print_table(took: Took, what: str) -> None:
    """Print the medians: milliseconds, and dollars a million."""
    print(f"| {what} | {' | '.join(f'{memory:,} MB' for memory in MEMORIES)} |")
    print("|---" * (len(MEMORIES) + 1) + "|")
    for function in CLIENTS:
        cells = []
        for memory in MEMORIES:
            milliseconds = median(took[function, memory])
            cells.append(f"{milliseconds:.0f} ms, ${milliseconds / 1000 * memory / 1024 * GB_SECOND:.2f}")
        print(f"| {function} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print two tables for docs/cost.md, and how busy the machine was."""
    with (
        cpu_share() as share,
        tempfile.TemporaryDirectory() as folder,
        local_stack(folder=Path(folder)) as local,
        SampleBot(local.outputs["CallbackUrl"], "in", "out") as bot,
    ):
        local.connect(bot.url, "in", "out")
        print("load before:", *os.getloadavg(), flush=True)
        print_table(warm(local, share), "warm")
        print_table(cold(local, share), "cold start")
        print("load after:", *os.getloadavg())


if __name__ == "__main__":
    main()
