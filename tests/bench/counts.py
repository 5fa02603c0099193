"""The lines that are counted: capacity units, calls, dollars, bytes. Each is the same in every run."""

import re
import tempfile
import zlib
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from bench.table import Line
from callback.receiver import LOOKUPS_PER_SECOND
from local.local_stack import ROOT
from relay import ReplyTimeout, environment
from relay.adapters.bot_cache import LookupRateLimited
from relay.adapters.bot_registry import BotRegistry, UnknownBot
from relay_cli.commands.tail import Transcript
from support.api_calls import ApiCalls, counted_calls
from support.callbacks import lower_case, part_body, signed_headers
from support.deployed import Deployed, Talk, new_bot
from support.package import build_package
from support.queued_messages import deliver, queued
from support.workers import Workers, final_part

COST = ROOT / "docs/cost.md"
GROWN = 4096
"""Bytes of the text of the last part of a streamed turn."""


def counted_lines(deployed: Deployed) -> Iterator[Line]:
    """Count lines 6 to 11, 13 and 14."""
    workers = Workers(deployed)
    with (
        new_bot(deployed) as talk,
        counted_calls(deployed, "dynamodb", "secretsmanager", "events") as counted,
    ):
        receiver = workers.receiver()

        def receive(reply_to: str, sequence: int, text: str = "hi", last: bool = False) -> None:
            message = [{"type": "Plain", "text": text}]
            raw = part_body(talk, reply_to=reply_to, sequence=sequence, message=message, is_final=last)
            receiver.receive(talk.name, lower_case(signed_headers(raw)), raw)

        receive("in_0", 1)
        yield Line("6", "write units of a part", _writes(counted, lambda: receive("in_0", 2)), 1, None, 1)

        dispatcher = workers.dispatcher()
        deliver(dispatcher, queued(talk, "SILENT"))
        counted.clear()
        message = queued(talk, "SILENT")
        deliver(dispatcher, message)
        record = workers.record(message)
        if record is None:
            raise SystemExit("a message has no record")
        reply_to = record["accepted_message_id"]
        workers.settler().settle(final_part(talk, reply_to))
        for number in range(1, 6):
            receive(reply_to, number, last=number == 5)
        yield Line("7", "write units of a message of five parts", written(counted), None, None, 10)

        def stream(grown: int) -> float:
            counted.clear()
            for number in range(1, 101):
                receive(f"in_{grown}", number, "x" * (grown * number // 100), last=number == 100)
            return written(counted)

        yield Line("8", "write units of 100 cumulative parts, to 4 KB", stream(GROWN), None, None, 150)
        yield from _documented()
        yield from _secret_reads(deployed, talk, counted)
        yield from _waiting(deployed, talk, counted)
    yield _package()


def written(counted: ApiCalls) -> float:
    """Return the write units that were counted."""
    return float(sum(counted.units[name] for name in ("PutItem", "UpdateItem", "DeleteItem")))


def _writes(counted: ApiCalls, step: Callable[[], None]) -> float:
    counted.clear()
    step()
    return written(counted)


def _documented() -> Iterator[Line]:
    """Return what docs/cost.md says in dollars, from which the tests count its units."""
    tables = COST.read_text("utf-8").partition("## In dollars")[2].split("\n\n")
    million, idle = (
        sum(_dollars(row) for row in table.splitlines()[2:] if not row.startswith("| in all"))
        for head in ("| per million", "| each month |")
        for table in tables
        if table.startswith(head)
    )
    yield Line("9", "dollars a million messages of five parts", million, None, None, 18)
    yield Line("10", "dollars a month of an idle stack", idle, None, None, 2.5)


def _dollars(row: str) -> float:
    return float(row.split("|")[-2])


def _secret_reads(deployed: Deployed, talk: Talk, counted: ApiCalls) -> Iterator[Line]:
    """Count the reads of secrets by one environment, beside one for each cache life with a message."""
    prefix, now = deployed.local.outputs["BotSecretPrefix"], 0.0

    def reads(times: Iterable[float], use: Callable[[BotRegistry, float], object]) -> int:
        nonlocal now
        secrets = deployed.client("secretsmanager")
        registry = BotRegistry(secrets, prefix, lambda: now, lookups_per_second=LOOKUPS_PER_SECOND)
        counted.clear()
        for now in times:
            with suppress(UnknownBot, LookupRateLimited):
                use(registry, now)
        return counted.calls["GetSecretValue"]

    def used(registry: BotRegistry, _: float) -> None:
        registry.get(talk.name)

    def forged(registry: BotRegistry, _: float) -> None:
        registry.get(talk.name)
        registry.refresh(talk.name)

    flood = [number / 100 for number in range(6000)]
    for letter, what, floor, found in (
        ("a", "ten minutes, a message a second", 2, reads(range(600), used)),
        ("b", "an hour, one in five minutes", 12, reads(range(0, 3600, 300), used)),
        ("c", "a minute, 6,000 wrong signatures", 1, reads(flood, forged)),
        ("d", "a minute, 6,000 made-up bots", 1, reads(flood, lambda bots, at: bots.get(f"x{at * 100:.0f}"))),
    ):
        yield Line(f"11{letter}", f"reads of secrets in {what}", found, floor, found / floor, 1.0)


def _waiting(deployed: Deployed, talk: Talk, counted: ApiCalls) -> Iterator[Line]:
    """Count what waiting clients read in a minute in which nothing comes, without the minute."""
    conversation, message = talk.conversation(), talk.push("SILENT")
    deployed.accepted(message)
    machine, now = environment.current, 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    def wait() -> None:
        with suppress(ReplyTimeout):
            conversation.wait(message, timeout=60)

    def tail() -> None:
        options = Namespace(session=talk.session, bot=talk.name)
        transcript, began = Transcript(deployed.stack, options), machine.clock()
        for parts in takewhile(lambda _: now < 120, conversation.polls()):
            list(transcript.lines(parts, began + now))

    environment.current = replace(machine, sleep=sleep, monotonic=lambda: now)
    try:
        for line_id, name, read in (("13a", "wait", wait), ("13b", "tail", tail)):
            counted.clear()
            read()
            units = float(counted.units["Query"] + counted.units["GetItem"])
            yield _a_minute(line_id, name, units)
    finally:
        environment.current = machine
    # A test counts it, in a stack of one bot.
    documented = re.search(r"console takes about \d+ read units .* and (\d+) when", COST.read_text("utf-8"))
    yield _a_minute("13c", "console", float(documented[1]))  # type: ignore[index]


def _a_minute(line_id: str, name: str, units: float) -> Line:
    return Line(line_id, f"{name}: read units a minute, nothing comes", units, 60, units / 60, 1.0)


def _package() -> Line:
    """Compare the deployment package with its third-party packages as they come, zipped, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        whole = _zipped(build_package(Path(folder)).rglob("*"))
    packages = (path for path in (ROOT / ".local/package").rglob("*") if path.suffix != ".pyc")
    return Line("14", "deployment package, MB zipped", whole, _zipped(packages), None, 8)


def _zipped(paths: Iterable[Path]) -> float:
    """Return the MB of files as `sam deploy` uploads them, one by one."""
    return sum(len(zlib.compress(path.read_bytes(), 6)) for path in paths if path.is_file()) / 1e6
