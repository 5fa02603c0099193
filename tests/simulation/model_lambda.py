"""Lambda: instances of the functions, and the mappings that bring them the events of queues and streams."""

import json
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from zlib import crc32

from simulation.dynamodb_expressions import Item
from simulation.faults import Faults, Trouble
from simulation.model_dynamodb import DynamoTable
from simulation.model_sqs import SqsQueue, Stored
from simulation.template_facts import ROOT, properties
from simulation.world import Process, ProcessDied, Task, World

MAX_SKEW = 0.4
"""Seconds by which the clock of an instance is off at the most."""

STREAM_RETENTION = 86_400
"""Seconds."""

FUNCTIONS = ("push", "callback", "settle", "publish")
_CODE = {
    name: compile((ROOT / f"functions/{name}/app.py").read_text(), f"{name}/app.py", "exec")
    for name in FUNCTIONS
}


class InvocationFailed(Exception):
    """The function gave no response."""


@dataclass(eq=False)
class Instance:
    """An instance of a function. Its app.py has run."""

    process: Process
    handler: Callable[[Any, Any], Any]


@dataclass(eq=False)
class Lambda:
    """The service; `settings` are the variables of all functions."""

    world: World
    faults: Faults
    settings: dict[str, str]
    instances: int = 0
    _idle: dict[str, list[Instance]] = field(default_factory=dict)

    def invoke(self, function: str, event: Any) -> Any:
        """Invoke a function and return its response. Raise InvocationFailed."""
        world = self.world
        if self.faults.strikes(Trouble.THROTTLES, 0.05):
            world.sleep(world.chance("throttle").choice([1, 5, 30, 100]))
        instance = self._instance(function)
        process = instance.process
        process.crash = self.faults.crash_of(function)
        world.note(process.name, "is invoked")
        timeout = properties(f"{function.title()}Function")["Timeout"]
        ends_at = world.now + timeout
        context = SimpleNamespace(get_remaining_time_in_millis=lambda: (ends_at - world.now) * 1000)
        world.thaw(process)
        task = world.spawn(process, lambda: instance.handler(event, context))
        if not task.wait(timeout):
            world.note(process.name, "is out of time")
            world.kill(process)
            raise InvocationFailed("timed out")
        if process.dead:
            raise InvocationFailed("died")
        process.frozen = True
        if self.world.chance("instances").random() < 0.95:
            self._idle.setdefault(function, []).append(instance)
        try:
            return json.loads(json.dumps(task.result()))
        except ProcessDied:
            raise InvocationFailed("died") from None
        except Exception as error:
            world.note(process.name, f"raises {error!r}")
            raise InvocationFailed(type(error).__name__) from error

    def replace_instances(self, **settings: str) -> None:
        """Deploy with changed settings: new instances take over."""
        self.settings = self.settings | settings
        self._idle.clear()

    def _instance(self, function: str) -> Instance:
        idle = self._idle.get(function)
        if idle:
            return idle.pop()
        self.instances += 1
        skew = (self.world.chance("skew").random() * 2 - 1) * MAX_SKEW
        process = Process(
            f"{function}.{self.instances}", True, skew if self.faults.has(Trouble.CLOCKS) else 0
        )
        app: dict[str, Any] = {"__name__": f"{function}.app"}
        with patch.dict(os.environ, self.settings):
            exec(_CODE[function], app)  # noqa: S102 - each instance has a module of its own
        return Instance(process, app["handler"])


def batch_failures(response: Any, ids: list[str]) -> list[str] | None:
    """Return the ids that a response names, or None if it is malformed: then the whole batch has failed.

    Source: "Reporting batch item failures" in Lambda's developer guide.
    """
    try:
        failures = [failure["itemIdentifier"] for failure in response["batchItemFailures"]]
    except (KeyError, TypeError):
        return None
    return failures if set(failures) <= set(ids) else None


@dataclass(eq=False)
class QueueMapping:
    """The event source mapping of a queue: at least once, and what a response names stays on the queue."""

    service: Lambda
    function: str
    queue: SqsQueue
    batch_size: int
    concurrency: int
    busy: int = 0

    def start(self, process: Process) -> None:
        self.service.world.spawn(process, partial(self._poll, process))

    def _poll(self, process: Process) -> None:
        while True:
            batch = self.queue.receive(self.batch_size) if self.busy < self.concurrency else []
            if batch:
                self.busy += 1
                self.service.world.spawn(process, partial(self._handle, batch))
            else:
                self.queue.wait()

    def _handle(self, batch: list[Stored]) -> None:
        world, latencies = self.service.world, self.service.faults.scenario.latencies
        world.sleep(world.chance("mapping").random() * latencies.handover)
        event = {"Records": [self.record(message) for message in batch]}
        receipts = {message.id: message.receipt for message in batch}
        # "at least once": the same batch can reach two instances.
        twice = self.service.faults.strikes(Trouble.DUPLICATES, 0.05)
        other = world.spawn(world.current.process, partial(self._deliver, event, {})) if twice else None
        self._deliver(event, receipts)
        if other:
            other.wait()
        self.busy -= 1
        self.queue.changed()

    def _deliver(self, event: Any, receipts: dict[str, str]) -> None:
        service = self.service
        try:
            response = service.invoke(self.function, event)
        except InvocationFailed:
            return
        if service.faults.strikes(Trouble.GARBLED, 0.03):
            response = {"batchItemFailures": [{"itemIdentifier": ""}]}
        failures = batch_failures(response, list(receipts))
        if failures is None:
            return
        for message_id, receipt in receipts.items():
            if message_id not in failures and not service.faults.strikes(Trouble.DUPLICATES, 0.02):
                try:
                    self.queue.delete(receipt)
                except Exception as error:
                    service.world.note("mapping", f"cannot delete {message_id}: {error}")

    def record(self, message: Stored) -> dict[str, Any]:
        """Return a message as Lambda hands it to the function."""
        return {
            "messageId": message.id,
            "receiptHandle": message.receipt,
            "body": message.body,
            "attributes": {
                "ApproximateReceiveCount": str(message.receives),
                "SentTimestamp": str(int(message.sent_at * 1000)),
                "SequenceNumber": str(message.number),
                "MessageGroupId": message.group,
            },
            "messageAttributes": {
                name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
                for name, value in message.attributes.items()
            },
            "eventSource": "aws:sqs",
            "eventSourceARN": self.queue.arn,
        }


@dataclass(eq=False)
class StreamMapping:
    """The event source mapping of a table's stream: in order by key, and from the failed record on again.

    AWS begins again with the lowest sequence number that failed; the emulator of the local stack skips it
    ("Configuring partial batch response with DynamoDB and Lambda", Lambda's developer guide).
    """

    service: Lambda
    function: str
    table: DynamoTable
    batch_size: int
    max_age: float
    filters: list[dict[str, Any]]
    lanes: list[deque[tuple[float, dict[str, Any]]]] = field(default_factory=list)
    _watching: list[Task | None] = field(default_factory=list)
    _number: int = 0

    def start(self, process: Process, lanes: int) -> None:
        self.table.on_change.append(self._changed)
        for lane in range(lanes):
            self.lanes.append(deque())
            self._watching.append(None)
            self.service.world.spawn(process, partial(self._poll, lane))

    def _changed(self, old: Item, new: Item) -> None:
        world = self.service.world
        images = {"OldImage": old, "NewImage": new}
        change: dict[str, Any] = {name: image for name, image in images.items() if image}
        if not any(matches(pattern, {"dynamodb": change}) for pattern in self.filters):
            return
        self._number += 1
        change |= {"SequenceNumber": f"{self._number:06}", "ApproximateCreationDateTime": int(world.now)}
        lane = crc32((new or old)[self.table.key[0]]["S"].encode()) % len(self.lanes)
        record: dict[str, Any] = {"eventSource": "aws:dynamodb", "dynamodb": change}
        if not new:
            # No function deletes an item.
            record["userIdentity"] = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
        self.lanes[lane].append((world.now, record))
        if task := self._watching[lane]:
            self._watching[lane] = None
            world.wake(task)

    def _poll(self, lane: int) -> None:
        world, entries, size = self.service.world, self.lanes[lane], self.batch_size
        while True:
            while entries and entries[0][0] + self.max_age <= world.now:
                world.note(
                    self.function, f"record {entries.popleft()[1]['dynamodb']['SequenceNumber']} is too old"
                )
            if not entries:
                self._watching[lane] = world.current
                world.suspend()
                continue
            world.sleep(world.chance("mapping").random() * 0.3)
            batch = [record for _, record in list(entries)[:size]]
            done = self._deliver(batch)
            for _ in range(done):
                entries.popleft()
            size = self.batch_size if done else max(1, len(batch) // 2)
            if done < len(batch):
                world.sleep(1 + world.chance("mapping").random() * 10)

    def _deliver(self, batch: list[dict[str, Any]]) -> int:
        """Return how many of the first records are done."""
        service = self.service
        try:
            response = service.invoke(self.function, {"Records": batch})
        except InvocationFailed:
            return 0
        if service.faults.strikes(Trouble.DUPLICATES, 0.05) or service.faults.strikes(Trouble.GARBLED, 0.03):
            return 0
        numbers = [record["dynamodb"]["SequenceNumber"] for record in batch]
        failures = batch_failures(response, numbers)
        if failures is None:
            return 0
        return min(map(numbers.index, failures), default=len(batch))


def matches(pattern: Any, value: Any) -> bool:
    """Tell whether an event matches a filter pattern, as far as the template uses them."""
    if isinstance(pattern, dict):
        return all(name in value and matches(part, value[name]) for name, part in pattern.items())
    return any(one == {"exists": True} or one == value for one in pattern)
