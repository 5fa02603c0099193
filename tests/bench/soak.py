"""Minutes of traffic through the deployed template on the local stack; `make soak`.

Sessions talk as in chats: a few much, most little. The bots stream, and one request of a hundred meets a
fault. At the end each message and each part is looked up in the tables. The exit code is 1 if something is
lost, doubled or out of order, or if the memory of a function grew.
"""

import hashlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from math import inf
from pathlib import Path
from statistics import quantiles
from typing import Any

from bench.soak_verdict import Acceptance, Growth, Outcome, Sample, growths, is_flat
from local.local_stack import local_stack
from local.sample_bot import OVERLOADED, Answer, Received, SampleBot
from relay import PushQueue, SentMessage, Stack
from relay.domain.keys import message_key
from relay.domain.states import AnswerKind, State
from relay.domain.timestamps import unix_seconds, utc_text
from relay_cli.terminal import say
from support.deployed import Deployed, new_bot
from support.due_items import handle_due
from support.tables import scan

RATE = 8
"""Messages a second, at random intervals. Each of the BOTS then streams almost as fast as LangBot does."""
BOTS, SESSIONS = 3, 400
SEED = 20261126
MAX_ON_QUEUE = 50
"""Messages that wait at the most: a machine that is too slow for RATE is sent fewer."""
KINDS = {"hello": 60, "LONG:6:80": 28, "MULTI": 8, "LONG:25:40": 4}
"""What the messages ask the bots for, and how many of a hundred do."""
FAULT_RATE = 0.01
FORGOTTEN = "turn forgotten"
FAULTS = {
    "503 that burns the key": OVERLOADED,
    "429": Answer(429, {"code": "blocking_work_capacity_exceeded"}),
    "502": Answer(502),
    "502 after acceptance": Answer(502, takes="message"),
    "connection dropped": Answer(drop=True),
    "connection dropped after acceptance": Answer(drop=True, takes="message"),
    FORGOTTEN: Answer(takes="message"),
}
PARAMETERS = {"AnswerDeadlineSeconds": "60", "MaxResends": "1"}
SAMPLE_EVERY = 5
"""Seconds between two samples of the memory. Every second one is shown."""
STUCK_AFTER = 300
"""Seconds without any change after which what is missing is lost. A forgotten message takes less: its
deadline and the run of each minute, twice."""


@dataclass
class Traffic:
    """What was sent, and what the bots, which share this, did with it in the order in which they did it."""

    forgets_until: float = 0
    """Monotonic seconds. What a bot forgets late would keep the soak waiting at its end."""
    draw: random.Random = field(default_factory=lambda: random.Random(SEED))  # noqa: S311 - no secret
    sent: list[SentMessage] = field(default_factory=list)
    accepted: list[Acceptance] = field(default_factory=list)
    forgotten: set[int] = field(default_factory=set)
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def on_queue(self) -> int:
        """The number of messages that no bot has accepted."""
        return len(self.sent) - len({one.number for one in self.accepted})


class FaultyBot(SampleBot):
    """A bot that meets one request of a hundred with a fault."""

    def __init__(
        self, traffic: Traffic, callback_url: str, inbound_secret: str, outbound_secret: str
    ) -> None:
        # In the emulator each callback at the same time has a process of its own. To start one takes long.
        super().__init__(callback_url, inbound_secret, outbound_secret, max_parallel_callbacks=2)
        # That is slower than LangBot's bots speak: what waits for it is not to be lost.
        self.outbound_limit = inf
        self._traffic = traffic
        self._to_forget: set[int] = set()

    def choose_answer(self, request: Received) -> Answer:
        traffic = self._traffic
        fault = traffic.draw.choice(list(FAULTS)) if traffic.draw.random() < FAULT_RATE else ""
        if not fault or (fault == FORGOTTEN and time.monotonic() > traffic.forgets_until):
            return Answer(takes="message")
        traffic.faults[fault] += 1
        if fault == FORGOTTEN:
            self._to_forget.add(number_in(json.loads(request.body)["message"][0]["text"]))
        return FAULTS[fault]

    def accept(self, turn: Any) -> None:
        number = number_in(turn.text)
        self._traffic.accepted.append(Acceptance(turn.session, number, turn.id))
        if number in self._to_forget:
            self._to_forget.remove(number)
            self._traffic.forgotten.add(number)
        else:
            super().accept(turn)


def number_in(text: str) -> int:
    """Return the number with which the text of each message begins."""
    return int(text.partition(" ")[0])


def send(stack: Stack, bots: list[str], traffic: Traffic, seconds: float) -> None:
    """Send messages at random intervals for so many seconds."""
    push_queue, draw = PushQueue(stack), random.Random(SEED)  # noqa: S311 - no secret
    weights = [1 / rank for rank in range(1, SESSIONS + 1)]  # Zipf's law
    due = time.monotonic()
    ends_at = due + seconds
    while (due := due + draw.expovariate(RATE)) < ends_at:
        (session,) = draw.choices(range(SESSIONS), weights)
        (kind,) = draw.choices(list(KINDS), list(KINDS.values()))
        time.sleep(max(0, due - time.monotonic()))
        while traffic.on_queue >= MAX_ON_QUEUE:
            time.sleep(0.1)
            due = time.monotonic()
        text = f"{len(traffic.sent)} {kind}"
        traffic.sent.append(push_queue.push(f"s-{session}", text, bot=bots[session % BOTS]))


class Observer(threading.Thread):
    """Samples the memory of the functions, and says how it goes, as long as messages are sent."""

    def __init__(self, traffic: Traffic, bots: list[SampleBot]) -> None:
        super().__init__(daemon=True)
        self._traffic, self._bots = traffic, bots
        self._ended = threading.Event()
        self.samples = [Sample(0, function_processes())]

    def run(self) -> None:
        began = time.monotonic()
        while not self._ended.wait(SAMPLE_EVERY):
            self.samples.append(Sample(time.monotonic() - began, function_processes()))
            if len(self.samples) % 2:
                self._say(self.samples[-1])

    def end(self) -> None:
        """Take no more samples."""
        self._ended.set()
        self.join()

    def _say(self, sample: Sample) -> None:
        traffic = self._traffic
        largest: dict[str, float] = {}
        for function, megabytes in sample.processes.values():
            largest[function] = max(megabytes, largest.get(function, 0))
        say(
            f"{sample.at:4.0f} s  {len(traffic.sent)} messages, {len(traffic.sent) / sample.at:.1f}/s; "
            f"{traffic.on_queue} on the queue; "
            f"{sum(len(bot.emitted) for bot in self._bots)} parts, {traffic.faults.total()} faults; MB: "
            + ", ".join(f"{function} {megabytes:.0f}" for function, megabytes in sorted(largest.items()))
        )


def function_processes() -> dict[int, tuple[str, float]]:
    """Return by process id the function and the resident memory (MB) of each process of this stack."""
    command = ["ps", "-A", "-o", "pid=,ppid=,rss=,args="]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = [line.split(None, 3) for line in listed.splitlines()]
    emulators = {pid for pid, parent, *_ in rows if int(parent) == os.getpid()}
    return {
        int(pid): (function[1].lower(), int(kilobytes) / 1024)
        for pid, parent, kilobytes, arguments in rows
        if parent in emulators and (function := re.search(r"-(\w+)Function-[^/]*/_worker", arguments))
    }


class Tables:
    """What the tables hold of the traffic. The record of a message that was resent is that of its resend."""

    def __init__(self, stack: Stack, traffic: Traffic) -> None:
        by_key = {item["message"]: item for item in scan(stack, stack.messages_table) if "state" in item}
        keys = [message_key(sent.sequence_number) for sent in traffic.sent]
        self.records = {number: last_of(by_key, key) for number, key in enumerate(keys)}
        names = ("session", "part", "session_id", "reply_to", "digest", "created_at", "received_at")
        self.parts = sorted(scan(stack, stack.replies_table, *names), key=lambda part: part["part"])

    def outcome(self, traffic: Traffic, bots: Iterable[SampleBot]) -> Outcome:
        """Return what became of all that was sent and emitted."""
        emitted, stored = defaultdict(list), defaultdict(list)
        for part in list(chain.from_iterable(bot.emitted for bot in bots)):
            raw = json.dumps(part, ensure_ascii=False).encode()
            emitted[part["session_id"]].append(hashlib.sha256(raw).hexdigest())
        for part in self.parts:
            stored[part["session_id"]].append(part["digest"])
        return Outcome(self.records, traffic.accepted, traffic.forgotten, emitted, stored)


def last_of(records: Mapping[str, dict[str, Any]], key: str) -> dict[str, Any] | None:
    """Return the record of a message, or of its last resend; its `resends` counts all that were queued."""
    record, resends = records.get(key), 0
    while record and record["state"] == State.RESENT:
        record, resends = records.get(record["resent_as"]), resends + 1
    # A late reply can answer a message that was resent.
    return record and record | {"resends": resends + ("resent_as" in record)}


def wait_for_end(stack: Stack, traffic: Traffic, bots: list[SampleBot]) -> tuple[Tables, Outcome]:
    """Wait until nothing is missing any more, or nothing changes; return what is there then."""
    missing, since = -1, time.monotonic()
    while True:
        time.sleep(2 * SAMPLE_EVERY)  # a bot may still be speaking after the part that answers its message
        tables = Tables(stack, traffic)
        outcome = tables.outcome(traffic, bots)
        still = len(outcome.lost())
        if not still or (still == missing and time.monotonic() > since + STUCK_AFTER):
            return tables, outcome
        if still != missing:
            missing, since = still, time.monotonic()
            say(f"waiting for {missing} messages, or sessions that lack parts")


def latencies(tables: Tables, without: Container[int]) -> dict[str, list[float]]:
    """Return, by what is measured, the seconds that each message or part took.

    `without` are messages that do not count. A part's `received_at` is some milliseconds before its row is in
    the table.
    """
    received: dict[str, list[float]] = defaultdict(list)
    of_parts = []
    for part in tables.parts:
        received_at = unix_seconds(part["received_at"])
        received[part["reply_to"]].append(received_at)
        of_parts.append(received_at - unix_seconds(part["created_at"]))
    rows = []
    for number, record in tables.records.items():
        if number not in without and record and (times := received.get(record.get("answered_by", ""))):
            queued_at = unix_seconds(record["queued_at"])
            ends_at = unix_seconds(record["delivered_at"]), min(times), max(times)
            rows.append([end_at - queued_at for end_at in ends_at])
    accepted, first, last = map(list, zip(*rows, strict=True))
    return {
        "SendMessage to accepted": accepted,
        "SendMessage to first part": first,
        "SendMessage to last part": last,
        "part emitted to received": of_parts,
    }


def print_report(traffic: Traffic, tables: Tables, began: float, ended: float) -> None:
    """Print the figures of what was sent from `began` until `ended` (Unix seconds)."""
    records = [record for record in tables.records.values() if record]
    in_time = sum(record.get("answered_at", "Z") < utc_text(ended) for record in records)
    sessions = len({sent.session_id for sent in traffic.sent})
    say(f"\n{len(traffic.sent)} messages of {sessions} sessions and {BOTS} bots, {len(tables.parts)} parts")
    took = ended - began
    say(f"{in_time} answered in the {took:.0f} s in which they were sent: {in_time / took:.1f} a second")
    say(f"faults: {counted(traffic.faults)}")
    forgotten = filter(None, (tables.records[number] for number in traffic.forgotten))
    say(f"messages of the forgotten turns: {counted(Counter(map(end_of, forgotten)))}")
    say(f"\n{'seconds':26}  p50    p99")
    for what, seconds in latencies(tables, traffic.forgotten | set(range(BOTS))).items():
        cuts = quantiles(seconds, n=100)
        say(f"{what:26} {cuts[49]:5.2f}  {cuts[98]:5.2f}")


def counted(counter: Counter[str]) -> str:
    """Return what was counted, the most frequent first."""
    return ", ".join(f"{what} ({number})" for what, number in counter.most_common()) or "none"


def end_of(record: Mapping[str, Any]) -> str:
    """Return how a message ended."""
    kind = record.get("answer_kind", AnswerKind.OWN)
    doubt = "" if kind == AnswerKind.OWN else f" ({kind})"
    return f"{record['state']}{doubt}" + (" after a resend" if record["resends"] else "")


def print_verdict(outcome: Outcome, memory: Mapping[str, Growth | None]) -> bool:
    """Print what is not as it must be; return whether all is well."""
    say(f"\n{'resident MB':26} warm    end")
    for function, growth in memory.items():
        verdict = "flat" if is_flat(growth) else "NOT FLAT"
        figures = f"{growth.warm:5.1f}  {growth.end:5.1f}" if growth else "no process lived"
        say(f"{function:26} {figures}  {verdict}")
    found = {"lost": outcome.lost(), "doubled": outcome.doubled(), "out of order": outcome.out_of_order()}
    say("")
    for what, lines in found.items():
        say("\n  ".join([f"{what}: {len(lines)}", *lines]))
    return all(map(is_flat, memory.values())) and not any(found.values())


def main() -> int:
    """Run the soak and return the exit code."""
    seconds = float(os.environ.get("SOAK_SECONDS", "600"))
    traffic = Traffic()
    say("Starting the stack, and each function (half a minute) ...")
    with ExitStack() as ends:
        folder = ends.enter_context(tempfile.TemporaryDirectory())
        local = ends.enter_context(local_stack(parameters=PARAMETERS, folder=Path(folder)))
        stack = Stack.from_file(f"{folder}/outputs.json")
        kind, deployed = partial(FaultyBot, traffic), Deployed(local, stack)
        talks = [ends.enter_context(new_bot(deployed, kind)) for _ in range(BOTS)]
        bots = [talk.bot for talk in talks]
        for number, talk in enumerate(talks):
            traffic.sent.append(talk.push(f"{number} hello", session=f"s-{number}"))
            talk.conversation(f"s-{number}").wait(traffic.sent[-1], timeout=300)
        handle_due(talks[0])
        traffic.forgets_until = time.monotonic() + seconds / 2
        observer = Observer(traffic, bots)
        observer.start()
        began = time.time()
        send(stack, [talk.name for talk in talks], traffic, seconds)
        ended = time.time()
        observer.end()
        tables, outcome = wait_for_end(stack, traffic, bots)
    print_report(traffic, tables, began, ended)
    return 0 if print_verdict(outcome, growths(observer.samples, ended - began)) else 1


if __name__ == "__main__":
    sys.exit(main())
