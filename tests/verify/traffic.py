"""Minutes of messages through a deployed relay, each checked from the outside."""

import random
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any
from uuid import uuid4

from relay import PushQueue, Stack
from relay.domain.keys import message_key, session_id_of
from relay.domain.states import State
from relay.domain.timestamps import unix_seconds
from relay_cli.terminal import say
from support.tables import scan

RATE = 4
"""Messages a second, at random intervals."""
SESSIONS = 100
SEED = 20261129
KINDS = {"hello": 60, "LONG:6": 30, "LONG:25": 10}
"""What the messages ask the bot for, and how many of a hundred do."""
QUIET_AFTER = 120
"""Seconds without a change after which what is missing is lost."""


@dataclass(frozen=True)
class Traffic:
    """What was sent, what is wrong with it, and the figures of it as lines."""

    messages: int
    parts: int
    faults: list[str]
    lines: list[str]


def send_and_check(stack: Stack, seconds: float) -> Traffic:
    """Send messages for so many seconds, wait for their replies, and check both tables."""
    prefix = f"traffic-{uuid4().hex[:8]}-"
    say(f"sending messages for {seconds:.0f} s ...")
    expected = _send(stack, prefix, seconds)
    records, parts = _settled(stack, prefix, expected)
    faults = list(_faults(expected, records, parts))
    lines = [f"traffic: {len(expected)} messages, {sum(map(len, parts.values()))} parts"]
    if all(record["state"] == State.ANSWERED for record in records.values()) and len(records) > 1:
        lines += [*_latencies(records, parts)]
    return Traffic(len(expected), sum(map(len, parts.values())), faults, lines)


def _send(stack: Stack, prefix: str, seconds: float) -> dict[str, int]:
    """Return by the key of each message the number of parts that its reply must have."""
    push_queue, draw = PushQueue(stack), random.Random(SEED)  # noqa: S311 - no secret
    expected: dict[str, int] = {}
    due = time.monotonic()
    ends_at = due + seconds
    while (due := due + draw.expovariate(RATE)) < ends_at:
        (text,) = draw.choices(list(KINDS), list(KINDS.values()))
        time.sleep(max(0, due - time.monotonic()))
        sent = push_queue.push(f"{prefix}{draw.randrange(SESSIONS)}", text)
        long = re.search(r"\d+", text)
        expected[message_key(sent.sequence_number)] = int(long[0]) if long else 1
    return expected


Records = Mapping[str, Mapping[str, Any]]
Parts = Mapping[str, Sequence[Mapping[str, Any]]]
"""The parts of each turn, in the order of their keys."""


def _settled(stack: Stack, prefix: str, expected: Mapping[str, int]) -> tuple[Records, Parts]:
    """Return the records and the parts of the traffic, once nothing is missing or nothing changes."""
    seen, since = (-1, -1), time.monotonic()
    while True:
        records = {
            item["message"]: item
            for item in scan(stack, stack.messages_table)
            if session_id_of(item["session"]).startswith(prefix)
        }
        parts = defaultdict(list)
        for item in sorted(scan(stack, stack.replies_table), key=lambda item: item["part"]):
            if item["session_id"].startswith(prefix):
                parts[item["reply_to"]].append(item)
        answered = sum(record["state"] == State.ANSWERED for record in records.values())
        now = answered, sum(map(len, parts.values()))
        if now != seen:
            seen, since = now, time.monotonic()
        if now == (len(expected), sum(expected.values())) or time.monotonic() > since + QUIET_AFTER:
            return records, parts
        time.sleep(5)


def _faults(expected: Mapping[str, int], records: Records, parts: Parts) -> Iterator[str]:
    for key, count in expected.items():
        record = records.get(key)
        if record is None or record["state"] != State.ANSWERED:
            yield f"message {key} is {record['state'] if record else 'not recorded'}"
            continue
        sequences = [part["sequence"] for part in parts[record["accepted_message_id"]]]
        if sequences != list(range(1, count + 1)):
            yield f"the reply to message {key} has the parts {sequences}, not 1 to {count}"
    if more := set(records) - set(expected):
        yield f"{len(more)} records are of no message that was sent"


def _latencies(records: Records, parts: Parts) -> Iterator[str]:
    found: dict[str, list[float]] = defaultdict(list)
    for record in records.values():
        queued_at = unix_seconds(record["queued_at"])
        found["queued to delivered"].append(unix_seconds(record["delivered_at"]) - queued_at)
        last = parts[record["accepted_message_id"]][-1]
        found["queued to last part"].append(unix_seconds(last["received_at"]) - queued_at)
    for what, seconds in found.items():
        cuts = quantiles(seconds, n=100)
        yield f"{what:20} median {cuts[49]:.2f} s, 99th percentile {cuts[98]:.2f} s"
