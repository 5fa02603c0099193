"""`make bench`: what a message and a part cost, each line beside its floor and its peers, in one table.

docs/cost.md says how to read it. A cold start is measured under Lambda's own runtime client, from the
start of the process until it asks for its first event (init). The function is the one that `sam build` makes.
Beside it is a handler that does nothing but import boto3, and for push requests, and make the clients of the
function's happy path. The machine is this one, so compare the figures with each other and not with AWS.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

from awslambdaric.lambda_runtime_log_utils import JsonFormatter

from bench import side_by_side
from bench.counts import counted_lines
from bench.isolation import print_isolation
from bench.reading import reading_lines
from bench.side_by_side import PEERS, environment_of
from bench.table import HEAD, Line, write
from bench.throughput import throughput_lines
from local.local_stack import LocalStack, local_stack
from local.sample_bot import SampleBot
from relay import Conversation, PushQueue, Stack
from relay.domain.signing import sign
from support.callback_function import callback_in_this_process
from support.deployed import Deployed, new_bot
from support.floods import Flood
from support.package import build_package

ROOT = Path(__file__).parents[2]
PAIRS = 9
MESSAGES = 100
FLOOD_REQUESTS = 40
CLIENTS = {
    "callback": ["boto3.client('dynamodb')", "boto3.client('secretsmanager')"],
    "push": ["boto3.client('dynamodb')", "boto3.client('secretsmanager')", "requests.Session()"],
    "settle": ["boto3.client('dynamodb')"],
    "publish": ["boto3.client('dynamodb')", "boto3.client('events')"],
}
"""The clients of each function's happy path."""


class Runtime(ThreadingHTTPServer):
    """Lambda's Runtime API for one process and one event."""

    def __init__(self, event: dict[str, Any] | None) -> None:
        """Without an event the process waits for one until it is ended."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.event = None if event is None else json.dumps(event).encode()
        self.asked = threading.Event()
        self.answered = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The process is ended while it waits for its next event."""


class _Handler(BaseHTTPRequestHandler):
    server: Runtime
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.server.asked.is_set():
            return  # there is no second event
        self.server.asked.set()
        if self.server.event is None:
            self.server.answered.wait()
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Lambda-Runtime-Aws-Request-Id", "1")
        self.send_header("Lambda-Runtime-Trace-Id", "Root=1-0-0;Sampled=0")
        self.send_header("Lambda-Runtime-Deadline-Ms", str(int(time.time() * 1000) + 80_000))
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:0:function:f")
        self.send_header("Content-Length", str(len(self.server.event)))
        self.end_headers()
        self.wfile.write(self.server.event)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.answered.set()

    def log_message(self, *_: Any) -> None:
        pass


@dataclass(frozen=True)
class Handler:
    """A handler, and the folders in which Python looks for it and for its packages."""

    name: str
    path: tuple[Path, ...]


def cold_start(
    stack: LocalStack,
    function: str,
    handler: Handler,
    init_only: bool,
    started_as: Callable[[int], None] = lambda _pid: None,
) -> float:
    """Return the milliseconds of CPU of init, or those that pass until the first event is answered."""
    runtime = Runtime(None if init_only else fresh_event(stack, function))
    env = environment_of(stack, function) | {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime.server_port}"}
    env |= {
        "BENCH_BOT": "default",
        "PYTHONPATH": os.pathsep.join([*map(str, handler.path), f"{ROOT}/tests", *sys.path]),
    }
    started = time.perf_counter()
    command = [sys.executable, "-m", "awslambdaric", handler.name]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    started_as(process.pid)
    if not (runtime.asked if init_only else runtime.answered).wait(60):
        raise SystemExit(f"{handler.name} did not come so far within 60 s")
    passed = time.perf_counter() - started
    process.kill()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    runtime.answered.set()
    runtime.shutdown()
    runtime.server_close()
    return ((used.ru_utime + used.ru_stime) if init_only else passed) * 1000


def write_baselines(folder: Path) -> None:
    """Write the handlers that the functions are compared with."""
    for function, clients in CLIENTS.items():
        imports = [f"import {name}" for name in sorted({client.partition(".")[0] for client in clients})]
        handler = ["def handler(event, context):", "    return {}", ""]
        (folder / f"baseline_{function}.py").write_text("\n".join([*imports, *clients, *handler]))


def fresh_event(stack: LocalStack, function: str) -> dict[str, Any]:
    """Return the function's sample event, as if it came just now for the first time."""
    event: dict[str, Any] = json.loads((ROOT / f"events/{function}.json").read_text("utf-8"))
    if function == "push":
        queue = stack.outputs["PushQueueUrl"].rpartition("/")[2]
        event["Records"][0] |= {"messageId": uuid4().hex, "eventSourceARN": f"arn:aws:sqs:::{queue}"}
    if function == "callback":
        now = str(int(time.time()))
        event["headers"] |= {
            "x-lb-timestamp": now,
            "x-lb-signature": sign("out", now, event["body"].encode()),
        }
    return event


def cold_start_lines(local: LocalStack) -> Iterator[Line]:
    """Measure line 5."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_baselines(folder)
        ours, others = (build_package(folder),), (ROOT / ".local/package", folder)
        for letter, function in zip("abcd", CLIENTS, strict=True):
            handlers = {
                "ours": Handler(f"{function}.app.handler", ours),
                "floor": Handler(f"baseline_{function}.handler", others),
            }
            if function in PEERS:
                handlers["a"] = Handler(f"bench.{PEERS[function]['a']}.handler", others)
            took: dict[str, list[float]] = {name: [] for name in handlers}
            firsts = []
            for _ in range(PAIRS):
                for name, handler in handlers.items():
                    took[name].append(cold_start(local, function, handler, init_only=True))
                firsts.append(cold_start(local, function, handlers["ours"], init_only=False))
            what = f"cold start of {function}, ms of CPU"
            print(f"{'':4}{function}: {median(firsts):.0f} ms until the first response", flush=True)
            yield side_by_side.line(f"5{letter}", what, took, 0.75)


def print_throughput(stack: Stack) -> None:
    """Measure how long many messages take from the queue to their replies."""
    push_queue = PushQueue(stack)
    started = time.perf_counter()
    sent = [push_queue.push(f"session-{number % 10}", f"message {number}") for number in range(MESSAGES)]
    for one in sent:
        Conversation(stack, one.session_id).wait(one, timeout=240)
    seconds = time.perf_counter() - started
    print(f"{MESSAGES} messages of 10 sessions, all answered: {seconds:.1f} s")


def print_floods(deployed: Deployed) -> None:
    """Measure callback's CPU time for each request of the table in docs/security.md."""
    table = (ROOT / "docs/security.md").read_text("utf-8").partition("| request |")[2].partition("\n\n")[0]
    kinds = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2:]]
    with (
        new_bot(deployed) as talk,
        callback_in_this_process(deployed) as callback,
        open(os.devnull, "w") as log,
    ):
        formatted = logging.StreamHandler(log)
        formatted.setFormatter(JsonFormatter())
        logging.getLogger().addHandler(formatted)
        handler = callback.app.handler
        for kind in kinds:
            spent: list[float] = []

            def timed(event: dict[str, Any], context: Any, spent: list[float] = spent) -> Any:
                started = time.thread_time()
                response = handler(event, context)
                spent.append((time.thread_time() - started) * 1000)
                return response

            with redirect_stdout(log), Flood(callback, talk).of(kind) as post:
                callback.app.handler = timed  # type: ignore[attr-defined]
                for _ in range(FLOOD_REQUESTS):
                    post()
                callback.app.handler = handler  # type: ignore[attr-defined]
            print(f"flood, {kind:42}  {median(spent):5.2f} ms of CPU", flush=True)


def main() -> None:
    """Print the table and the figures that have no goal, and write the table for programs."""
    with (
        tempfile.TemporaryDirectory() as folder,
        local_stack(folder=Path(folder)) as local,
        SampleBot(local.outputs["CallbackUrl"], "in", "out") as bot,
    ):
        local.connect(bot.url, "in", "out")
        stack = Stack.from_file(f"{folder}/outputs.json")
        deployed = Deployed(local, stack)
        print(HEAD, flush=True)
        lines = []
        for line in chain(
            side_by_side.warm_lines(local),
            throughput_lines(),
            cold_start_lines(local),
            counted_lines(deployed),
            reading_lines(deployed),
        ):
            print(line, flush=True)
            lines.append(line)
        write(lines)
        print_throughput(stack)
        print_floods(deployed)
        print_isolation(deployed)


if __name__ == "__main__":
    main()
