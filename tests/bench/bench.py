"""Cold starts under Lambda's own runtime client, the throughput of the local stack, and what floods cost.

A cold start is timed from the start of the process until the runtime asks for its first event (init), and
until the first event is answered (first). Each function is compared with a handler that does nothing but
import boto3 and make the clients of that function's happy path. The two run in turn, and the ratio is taken
pair by pair. The runtime client is Lambda's own. The machine is this one, so compare the figures with each
other and not with AWS.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

from awslambdaric.lambda_runtime_log_utils import JsonFormatter

from bench.isolation import print_isolation
from local.local_stack import NAME, LocalStack, local_stack
from local.sample_bot import SampleBot
from relay import Conversation, PushQueue, Stack
from relay.domain.signing import sign
from support.callback_function import callback_in_this_process
from support.deployed import Deployed, new_bot
from support.floods import Flood

ROOT = Path(__file__).parents[2]
PAIRS = 7
MESSAGES = 100
FLOOD_REQUESTS = 40
CLIENTS = {
    "callback": ["dynamodb", "secretsmanager"],
    "push": ["dynamodb", "secretsmanager"],
    "settle": ["dynamodb"],
    "publish": ["dynamodb", "events"],
}
"""The clients of each function's happy path."""


class Runtime(ThreadingHTTPServer):
    """Lambda's Runtime API for one process and one event."""

    def __init__(self, event: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.event = json.dumps(event).encode()
        self.asked_at: float | None = None
        self.answered = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The process is ended while it waits for its next event."""


class _Handler(BaseHTTPRequestHandler):
    server: Runtime
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.server.asked_at is not None:
            return  # there is no second event
        self.server.asked_at = time.perf_counter()
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


def cold_start(stack: LocalStack, function: str, handler: str, folder: str) -> tuple[float, float]:
    """Return the milliseconds of init, and of init with the first event, of a handler of `function`."""
    runtime = Runtime(fresh_event(stack, function))
    env = environment(stack, f"{function.capitalize()}Function") | {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join([f"{ROOT}/.local/package", f"{ROOT}/functions", folder, *sys.path]),
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime.server_port}",
        "AWS_ENDPOINT_URL": stack.outputs["EndpointUrl"],
        "AWS_DEFAULT_REGION": stack.outputs["Region"],
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    started = time.perf_counter()
    command = [sys.executable, "-m", "awslambdaric", handler]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    if not runtime.answered.wait(60) or runtime.asked_at is None:
        raise SystemExit(f"{handler} did not answer within 60 s")
    ended = time.perf_counter()
    process.kill()
    process.wait()
    return (runtime.asked_at - started) * 1000, (ended - started) * 1000


def write_baselines(folder: str) -> None:
    """Write the handlers that the functions are compared with."""
    for function, clients in CLIENTS.items():
        made = "".join(f"boto3.client({client!r})\n" for client in clients)
        source = f"import boto3\n{made}\ndef handler(event, context):\n    return {{}}\n"
        Path(folder, f"baseline_{function}.py").write_text(source)


def environment(stack: LocalStack, function: str) -> dict[str, str]:
    """Return the deployed function's environment."""
    found = stack.client("cloudformation").describe_stack_resource(StackName=NAME, LogicalResourceId=function)
    name = found["StackResourceDetail"]["PhysicalResourceId"]
    configuration = stack.client("lambda").get_function_configuration(FunctionName=name)
    variables: dict[str, str] = configuration["Environment"]["Variables"]
    return variables


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


def print_cold_starts(local: LocalStack) -> None:
    """Measure each function beside its baseline."""
    with tempfile.TemporaryDirectory() as folder:
        write_baselines(folder)
        for function in CLIENTS:
            pairs = [
                (
                    cold_start(local, function, f"{function}.app.handler", folder),
                    cold_start(local, function, f"baseline_{function}.handler", folder),
                )
                for _ in range(PAIRS)
            ]
            init, first = (median(own[n] for own, _ in pairs) for n in (0, 1))
            ratio = median(own[0] / baseline[0] for own, baseline in pairs)
            print(
                f"cold start, {function:8}  init {init:4.0f} ms, {ratio:.2f} of the baseline's; "
                f"with the first event {first:4.0f} ms",
                flush=True,
            )


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
    """Print the figures."""
    with (
        tempfile.TemporaryDirectory() as folder,
        local_stack(folder=Path(folder)) as local,
        SampleBot(local.outputs["CallbackUrl"], "in", "out") as bot,
    ):
        local.connect(bot.url, "in", "out")
        print_cold_starts(local)
        stack = Stack.from_file(f"{folder}/outputs.json")
        print_throughput(stack)
        print_floods(Deployed(local, stack))
        print_isolation(Deployed(local, stack))


if __name__ == "__main__":
    main()
