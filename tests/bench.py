"""Cold starts under Lambda's own runtime client, and the throughput of the local stack.

A cold start is timed from the start of the process until the runtime asks for its first event (init) and
on until it has answered it (first). The runtime client is the one that Lambda runs; the machine is this
one, so compare the figures with each other and not with AWS.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

from local.sample_bot import SampleBot
from local.stack import LocalStack, local_stack
from relay import Conversation, Queue, Stack
from relay.rules.signing import sign

ROOT = Path(__file__).parents[1]
STARTS = 5
MESSAGES = 100


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


def cold_start(stack: LocalStack, function: str, event: dict[str, Any]) -> tuple[float, float]:
    """Milliseconds of init, and of init with the first event."""
    variables = environment(stack, f"{function.capitalize()}Function")
    runtime = Runtime(event)
    env = variables | {
        "PATH": os.defpath,
        "PYTHONPATH": f"{ROOT}/.local/package:{ROOT}/functions:" + os.pathsep.join(sys.path),
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime.server_port}",
        "AWS_ENDPOINT_URL": stack.outputs["EndpointUrl"],
        "AWS_DEFAULT_REGION": stack.outputs["Region"],
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "awslambdaric", f"{function}.app.handler"], env=env)
    if not runtime.answered.wait(30) or runtime.asked_at is None:
        raise SystemExit(f"{function} did not answer within 30 s")
    ended = time.perf_counter()
    process.kill()
    process.wait()
    return (runtime.asked_at - started) * 1000, (ended - started) * 1000


def environment(stack: LocalStack, function: str) -> dict[str, str]:
    """The deployed function's environment."""
    found = stack.client("cloudformation").describe_stack_resource(
        StackName="relay-local", LogicalResourceId=function
    )
    name = found["StackResourceDetail"]["PhysicalResourceId"]
    configuration = stack.client("lambda").get_function_configuration(FunctionName=name)
    variables: dict[str, str] = configuration["Environment"]["Variables"]
    return variables


def fresh(function: str) -> dict[str, Any]:
    """The function's sample event, as if it came just now for the first time."""
    event: dict[str, Any] = json.loads((ROOT / f"events/{function}.json").read_text("utf-8"))
    if function == "push":
        event["Records"][0]["messageId"] = uuid4().hex
    else:
        now = str(int(time.time()))
        event["headers"] |= {
            "x-lb-timestamp": now,
            "x-lb-signature": sign("out", now, event["body"].encode()),
        }
    return event


def main() -> None:
    """Prints the figures."""
    with tempfile.TemporaryDirectory() as folder, local_stack(folder=Path(folder)) as local:
        stack = Stack.from_file(f"{folder}/outputs.json")
        with SampleBot(local.outputs["CallbackUrl"], "in", "out") as bot:
            local.connect(bot.url, "in", "out")
            for function in ("callback", "push"):
                starts = [cold_start(local, function, fresh(function)) for _ in range(STARTS)]
                init, first = (median(figures) for figures in zip(*starts, strict=True))
                print(f"cold start, {function:8}  init {init:4.0f} ms, with the first event {first:4.0f} ms")

            queue = Queue(stack)
            started = time.perf_counter()
            sent = [queue.push(f"session-{number % 10}", f"message {number}") for number in range(MESSAGES)]
            for one in sent:
                Conversation(stack, one.session_id).wait(one, timeout=120)
            seconds = time.perf_counter() - started
            print(f"{MESSAGES} messages of 10 sessions, all answered: {seconds:.1f} s")


if __name__ == "__main__":
    main()
