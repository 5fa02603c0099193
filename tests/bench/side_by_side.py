"""Measures the functions warm, beside their floors and peers: each in a process of its own, in turn."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.lambda_events import SESSION
from bench.quick_bot import quick_bots
from bench.table import Line
from local.local_stack import ROOT, LocalStack
from relay.domain.keys import session_key
from support.deployed import IN, OUT, Deployed

ROUNDS = 7
EACH_ROUND = 40

PEERS = {
    "callback": {"a": "peers.powertools_callback", "b": "peers.flask_receiver"},
    "push": {"a": "peers.powertools_push", "c": "peers.sequential_posts"},
}
"""a: Powertools; b: Flask; c: a loop of requests.post."""


@dataclass(frozen=True)
class Process:
    """A subject's process."""

    process: "subprocess.Popen[str]"

    def ask(self, count: int) -> dict[str, float]:
        """Return the milliseconds that the work took, each time: `cpu` and `wall`."""
        if not self.process.stdin or not self.process.stdout:
            raise SystemExit("a subject has no pipes")
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.process.args!r} failed")
        took: dict[str, float] = json.loads(answer)
        return took


@contextmanager
def subjects(environment: Mapping[str, str], modules: Mapping[str, str]) -> Iterator[dict[str, Process]]:
    """Start the modules `bench.…`, by their names, and make each do its work once."""
    with ExitStack() as ends:
        started = {}
        for name, module in modules.items():
            command = [sys.executable, "-m", "bench.subject", f"bench.{module}"]
            process = ends.enter_context(
                subprocess.Popen(
                    command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            ends.callback(process.kill)
            started[name] = Process(process)
            started[name].ask(10)
        yield started


def rounds(started: Mapping[str, Process], kind: str) -> dict[str, list[float]]:
    """Return by name what each round took, `cpu` or `wall`; in each round all subjects have their turn."""
    took: dict[str, list[float]] = {name: [] for name in started}
    for _ in range(ROUNDS):
        for name, process in started.items():
            took[name].append(process.ask(EACH_ROUND)[kind])
    return took


def environment_of(local: LocalStack, function: str) -> dict[str, str]:
    """Return the environment of a deployed function for a process of this machine."""
    deployed = Deployed(local, None)  # type: ignore[arg-type]
    name = deployed.physical_id(f"{function.capitalize()}Function")
    configuration = deployed.client("lambda").get_function_configuration(FunctionName=name)
    variables: dict[str, str] = configuration["Environment"]["Variables"]
    path = [f"{ROOT}/functions", f"{ROOT}/infra", f"{ROOT}/tests", f"{ROOT}/.local/peers"]
    return variables | {
        # No bot of this answers, and a round of 40 messages must find slots.
        "MAX_IN_FLIGHT": "120",
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(path),
        "AWS_ENDPOINT_URL": local.outputs["EndpointUrl"],
        "AWS_DEFAULT_REGION": local.outputs["Region"],
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "BENCH_OUTBOUND": OUT,
        "BENCH_IDEMPOTENCY_TABLE": "bench-idempotency",
    }


def make_idempotency_table(local: LocalStack) -> None:
    """Make the table that the documentation of Powertools' Idempotency names."""
    local.client("dynamodb").create_table(
        TableName="bench-idempotency",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


def newest_item(local: LocalStack, table: str, bot: str) -> str:
    """Return the newest item of the measured session as JSON."""
    found = local.client("dynamodb").query(
        TableName=local.outputs[table],
        KeyConditionExpression="#session = :session",
        ExpressionAttributeNames={"#session": "session"},
        ExpressionAttributeValues={":session": {"S": session_key(bot, SESSION)}},
        ScanIndexForward=False,
        Limit=1,
    )
    return json.dumps(found["Items"][0])


def line(name: str, what: str, took: Mapping[str, list[float]], goal: float) -> Line:
    """Return a line of the table from rounds of `ours`, `floor` and peers."""
    ratios = [ours / floor for ours, floor in zip(took["ours"], took["floor"], strict=True)]
    peers = {
        peer: median(other / ours for other, ours in zip(took[peer], took["ours"], strict=True))
        for peer in took
        if peer not in ("ours", "floor")
    }
    spread = (min(ratios), max(ratios))
    return Line(name, what, median(took["ours"]), median(took["floor"]), median(ratios), goal, spread, peers)


def warm_lines(local: LocalStack) -> Iterator[Line]:
    """Measure lines 1 to 3."""
    make_idempotency_table(local)
    with quick_bots() as url:
        for delay in (0, 50):
            local.connect(f"{url}{delay}", IN, OUT, bot=f"bench-{delay}")

        def environment(function: str, delay: int, **more: Any) -> dict[str, str]:
            bot = {"BENCH_BOT": f"bench-{delay}", "BENCH_BOT_URL": f"{url}{delay}/push"}
            return environment_of(local, function) | bot | more

        given = environment("callback", 0)
        with subjects(given, {"ours": "callback_subject"}) as ours:
            floor = {"floor": "floors.put"}
            given |= {"BENCH_PART": newest_item(local, "RepliesTableName", "bench-0")}
            with subjects(given, floor | PEERS["callback"]) as others:
                took = rounds({**ours, **others}, "cpu")
                yield line("1", "callback, ms of CPU a part", took, 1.0)
        # The record of the first message is taken before its subject deletes it.
        given = environment("push", 0)
        given |= {"BENCH_RECORD": record_of_a_message(local, given)}
        modules = {"ours": "push_subject", "floor": "floors.post_and_put"} | PEERS["push"]
        with subjects(given, modules) as all_of_them:
            yield line("2", "push, ms of CPU a message", rounds(all_of_them, "cpu"), 1.0)
        given |= environment("push", 50)
        modules = {"ours": "push_subject", "floor": "floors.post"} | PEERS["push"]
        with subjects(given, modules) as all_of_them:
            took = rounds(all_of_them, "wall")
            yield line("3", "push, ms of a message to a bot of 50 ms", took, 1.25)


def record_of_a_message(local: LocalStack, given: Mapping[str, str]) -> str:
    """Deliver a message by push's own handler, and return its record as JSON."""
    code = "from bench.push_subject import Subject; s = Subject(); [s.run(one) for one in s.prepare(1)]"
    subprocess.run(
        [sys.executable, "-c", code],
        env=dict(given),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return newest_item(local, "MessagesTableName", given["BENCH_BOT"])
