"""callback's own handler and clients in this process, above AWS services that a test can make fail."""

import base64
import importlib
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from relay.domain.bot import Bot
from support.callbacks import lower_case, signed_headers
from support.deployed import Deployed, Talk
from support.environment_variables import VARIABLES
from support.waiting import eventually

Mode = Literal["works", "accepts", "refuses", "fails", "hangs", "is down"]

_ACCESS_DENIED = json.dumps({"__type": "com.amazon.coral.service#AccessDeniedException"}).encode()


class Service:
    """One AWS service: the emulator's, until `mode` says that it refuses, fails, hangs or is down.

    If it "accepts", it answers as SQS does, and the messages stay in `accepted`.
    """

    def __init__(self, endpoint: str) -> None:
        self.target = urlsplit(endpoint).netloc
        self.resumed = threading.Event()
        self.reset()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.resumed.set()
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        """Work again, and forget the requests so far."""
        self.resumed.set()
        self.resumed = threading.Event()
        self.mode: Mode = "works"
        self.requests = 0
        self.accepted: list[str] = []

    def respond(
        self, method: str, path: str, raw: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes] | None:
        """Return status and body of the response to a request, or None if there is none."""
        self.requests += 1
        match self.mode:
            case "works":
                return self._forward(method, path, raw, headers)
            case "accepts":
                self.accepted.append(json.loads(raw)["MessageBody"])
                return 200, b'{"MessageId": "accepted"}'
            case "refuses":
                return 400, _ACCESS_DENIED
            case "fails":
                return 500, b"{}"
            case "hangs":
                self.resumed.wait()
        return None

    def _forward(self, method: str, path: str, raw: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        emulator = HTTPConnection(self.target, timeout=10)
        try:
            emulator.request(method, path, raw, headers)
            response = emulator.getresponse()
            return response.status, response.read()
        finally:
            emulator.close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # the client has not waited for the response
            super().handle_error(request, client_address)


def _handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Without it the body waits 40 ms for the client to acknowledge the head.
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            response = service.respond(self.command, self.path, raw, dict(self.headers))
            if response is None:
                self.close_connection = True
                return
            status, body = response
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_GET = do_POST  # noqa: N815

        def handle_expect_100(self) -> bool:
            return service.mode != "hangs" and super().handle_expect_100()

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@dataclass(frozen=True)
class CallbackFunction:
    """The function, the services beneath it, and by their names the clients that it has made so far."""

    app: ModuleType
    secrets: Service
    table: Service
    bucket: Service
    queue: Service
    clients: Mapping[str, Any]

    def reset(self) -> None:
        """Let all services work again."""
        for service in (self.secrets, self.table, self.bucket, self.queue):
            service.reset()

    def post(
        self, talk: Talk, raw: bytes, headers: Mapping[str, str] | None = None, bot: str | None = None
    ) -> tuple[int, float]:
        """Post a callback, signed if no headers are given; return status and seconds of the response."""
        event = {
            "pathParameters": {"bot": bot or talk.name},
            "headers": lower_case(signed_headers(raw) if headers is None else headers),
            "body": base64.b64encode(raw).decode(),
            "isBase64Encoded": True,
        }
        start = time.monotonic()
        return self.app.handler(event, None)["statusCode"], time.monotonic() - start

    def store_spilled(self, *bodies: str) -> list[int]:
        """Handle a batch of the spill queue; return the positions of the messages that stay there."""
        records = [{"messageId": str(position), "body": body} for position, body in enumerate(bodies)]
        failures = self.app.handler({"Records": records}, None)["batchItemFailures"]
        return [int(failure["itemIdentifier"]) for failure in failures]

    def cache_bot(self, bot: str) -> None:
        """Read a bot's secret; on a busy machine that may take longer than the function waits for it."""

        def read() -> Bot | None:
            with suppress(BotoCoreError):
                known: Bot = self.app.receiver.bot_registry.get(bot)
                return known
            return None

        eventually(read)


@contextmanager
def callback_in_this_process(deployed: Deployed) -> Iterator[CallbackFunction]:
    """Start the function as Lambda does, with the deployed one's tables and queues."""
    outputs = deployed.local.outputs
    queue = deployed.client("sqs").get_queue_url(QueueName="relay-local-spill")["QueueUrl"]
    environment = VARIABLES | {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": outputs["Region"],
        "BOT_SECRET_PREFIX": outputs["BotSecretPrefix"],
        "REPLIES_TABLE": outputs["RepliesTableName"],
        "OVERFLOW_BUCKET": outputs["OverflowBucketName"],
        "SPILL_QUEUE_URL": queue,
        "KEEP_DAYS": "1",
    }
    clients: dict[str, Any] = {}
    session = botocore.session.get_session()
    make = session.create_client

    def recorded(service: str, config: Config) -> Any:
        clients[service] = make(service, config=config.merge(Config(parameter_validation=True)))
        return clients[service]

    with ExitStack() as ends:
        services = {
            name: ends.enter_context(Service(outputs["EndpointUrl"]))
            for name in ("SECRETS_MANAGER", "DYNAMODB", "S3", "SQS")
        }
        environment |= {f"AWS_ENDPOINT_URL_{name}": service.url for name, service in services.items()}
        patch = ends.enter_context(pytest.MonkeyPatch.context())
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(session, "create_client", recorded)
        patch.setattr("relay.adapters.aws._session", session)
        patch.delitem(sys.modules, "callback.app", raising=False)
        yield CallbackFunction(
            app=importlib.import_module("callback.app"),
            secrets=services["SECRETS_MANAGER"],
            table=services["DYNAMODB"],
            bucket=services["S3"],
            queue=services["SQS"],
            clients=clients,
        )
