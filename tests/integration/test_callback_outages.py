"""callback's own handler and clients while the AWS services beneath it refuse, fail or hang.

The deployed callback, whose services work, stores what this one spills.
"""

import base64
import hashlib
import importlib
import json
import re
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.exceptions import BotoCoreError

from relay.adapters.aws import client
from relay.adapters.dynamodb import Table
from relay.adapters.replies_table import RepliesTable
from relay.adapters.spill_queue import SpillQueue
from relay.domain.timestamps import utc_text
from support.callbacks import lower_case, overflow_objects, part_body, signed_headers
from support.deaths import Died, Dying
from support.environment import VARIABLES
from support.waiting import eventually

TEMPLATE = Path(__file__).parents[2].joinpath("template.yaml").read_text("utf-8")
TIMEOUT = int(
    re.search(r"^  CallbackFunction:.*?^      Timeout: (\d+)$", TEMPLATE, re.DOTALL | re.MULTILINE)[1]
)
"""Seconds after which Lambda ends the function."""

ACCESS_DENIED = json.dumps({"__type": "com.amazon.coral.service#AccessDeniedException"}).encode()


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):  # the client no longer waited
            super().handle_error(request, client_address)


class Service:
    """One AWS service: the emulator's, until `mode` says that it refuses, fails, hangs or is down.

    If it "accepts", it answers as SQS does, and what it accepted stays in `accepted`.
    """

    def __init__(self, endpoint):
        self.resumed = threading.Event()
        self.reset()
        service, target = self, urlsplit(endpoint).netloc

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def respond(self):
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                service.requests += 1
                match service.mode:
                    case "works":
                        emulator = HTTPConnection(target, timeout=10)
                        emulator.request(self.command, self.path, raw, dict(self.headers))
                        response = emulator.getresponse()
                        status, body = response.status, response.read()
                        emulator.close()
                    case "accepts":
                        service.accepted.append(json.loads(raw))
                        status, body = 200, b'{"MessageId": "accepted"}'
                    case "refuses":
                        status, body = 400, ACCESS_DENIED
                    case "fails":
                        status, body = 500, b"{}"
                    case "hangs":
                        service.resumed.wait()
                        self.close_connection = True
                        return
                    case "is down":
                        self.close_connection = True
                        return
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PUT = do_GET = respond  # noqa: N815

            def handle_expect_100(self):
                return service.mode != "hangs" and super().handle_expect_100()

            def log_message(self, *_):
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.resumed.set()
        self._server.shutdown()
        self._server.server_close()

    def reset(self):
        """Work again, and forget what came so far."""
        self.resumed.set()
        self.mode, self.requests, self.accepted, self.resumed = "works", 0, [], threading.Event()


@dataclass(frozen=True)
class Function:
    """callback in this process, the services beneath it, and the clients that it has made so far."""

    app: ModuleType
    services: list[Service]
    clients: dict[str, Any]


@pytest.fixture(scope="module")
def function(deployed):
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
    clients, make = {}, boto3.client

    def recorded(service, **more):
        clients[service] = make(service, **more)
        return clients[service]

    with ExitStack() as ends:
        services = [ends.enter_context(Service(outputs["EndpointUrl"])) for _ in range(4)]
        for name, service in zip(("SECRETS_MANAGER", "DYNAMODB", "S3", "SQS"), services, strict=True):
            environment[f"AWS_ENDPOINT_URL_{name}"] = service.url
        patch = ends.enter_context(pytest.MonkeyPatch.context())
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr("boto3.DEFAULT_SESSION", None)
        patch.setattr("boto3.client", recorded)
        patch.delitem(sys.modules, "callback.app", raising=False)
        yield Function(importlib.import_module("callback.app"), services, clients)


class Callback:
    """The function, for one test's bot."""

    def __init__(self, function, talk):
        self.app, self.clients, self.talk = function.app, function.clients, talk
        self.secrets, self.table, self.bucket, self.queue = function.services

    def post(self, raw, headers=None):
        """Post a part; return the status of the response, and the seconds until it came."""
        event = {
            "pathParameters": {"bot": self.talk.name},
            "headers": lower_case(headers or signed_headers(raw)),
            "body": base64.b64encode(raw).decode(),
            "isBase64Encoded": True,
        }
        start = time.monotonic()
        return self.app.handler(event, None)["statusCode"], time.monotonic() - start

    def store_spilled(self, *bodies):
        """Handle a batch of the spill queue; return the positions of the messages that stay there."""
        records = [{"messageId": str(position), "body": body} for position, body in enumerate(bodies)]
        failures = self.app.handler({"Records": records}, None)["batchItemFailures"]
        return [int(failure["itemIdentifier"]) for failure in failures]


@pytest.fixture
def callback(function, talk):
    callback = Callback(function, talk)

    def secret_is_known():
        """On a slow machine Secrets Manager may take longer than the function waits for it."""
        with suppress(BotoCoreError):
            return callback.app.receiver.bot_registry.get(talk.name)

    eventually(secret_is_known)
    for service in function.services:
        service.reset()
    yield callback
    for service in function.services:
        service.reset()


def stored(talk, count=1):
    """Return the parts of the session, once there are so many."""
    conversation = talk.conversation()
    return eventually(lambda: parts if len(parts := conversation.parts()) >= count else None)


@pytest.mark.parametrize("mode", ["refuses", "fails", "hangs", "is down"])
def test_a_part_is_answered_200_and_stored_later_if_the_table_fails(talk, callback, mode):
    callback.table.mode = mode
    raw, before = part_body(talk), time.time()
    status, seconds = callback.post(raw, signed_headers(raw, timestamp=str(int(before) - 7)))
    assert (status, callback.queue.requests) == (200, 1)
    assert seconds < TIMEOUT
    (part,) = stored(talk)
    assert part["digest"] == hashlib.sha256(raw).hexdigest()
    assert part["sent_at"] == utc_text(int(before) - 7)
    assert utc_text(before) <= part["received_at"] <= utc_text(before + 0.5)


def test_a_part_that_is_stored_does_not_touch_the_spill_queue(talk, callback):
    assert callback.post(part_body(talk))[0] == 200
    assert (callback.queue.requests, callback.bucket.requests) == (0, 0)
    assert len(talk.conversation().parts()) == 1


@pytest.mark.parametrize("mode", ["refuses", "hangs"])
def test_a_part_that_cannot_be_spilled_either_is_answered_503_in_time(talk, callback, mode):
    callback.table.mode = callback.queue.mode = mode
    status, seconds = callback.post(part_body(talk))
    assert status == 503
    assert seconds < TIMEOUT


def test_a_forged_part_is_answered_401_and_not_spilled(talk, callback):
    callback.table.mode = "refuses"
    raw = part_body(talk)
    assert callback.post(raw, signed_headers(raw, secret="forged"))[0] == 401
    assert callback.queue.requests == 0


@pytest.mark.parametrize("raw", [b"{}", b"\xff\x00\xfe not text"])
def test_a_signed_body_that_is_no_part_is_spilled_and_quarantined(talk, callback, raw):
    callback.bucket.mode = "refuses"
    assert callback.post(raw)[0] == 400
    assert eventually(lambda: overflow_objects(talk.deployed, f"quarantine/{talk.name}/")) == [raw]


def test_a_signed_body_that_is_no_part_and_cannot_be_spilled_is_answered_503(callback):
    callback.bucket.mode = callback.queue.mode = "refuses"
    assert callback.post(b"{}")[0] == 503


# A message of the queue holds 1 MiB: 786,432 bytes as base64, less some 130 for the other fields.
@pytest.mark.parametrize(("size", "in_bucket"), [(786_000, False), (786_432, True), (5_000_000, True)])
def test_a_part_of_any_size_is_spilled(talk, callback, size, in_bucket):
    callback.table.mode = "refuses"
    empty = len(part_body(talk, message=[{"type": "Plain", "text": ""}]))
    raw = part_body(talk, message=[{"type": "Plain", "text": "x" * (size - empty)}])
    assert len(raw) == size
    assert callback.post(raw)[0] == 200
    assert stored(talk)[0]["text"] == "x" * (size - empty)
    assert overflow_objects(talk.deployed, f"spill/{talk.name}/") == ([raw] if in_bucket else [])


def test_a_part_too_large_for_the_queue_is_answered_503_if_the_bucket_refuses(talk, callback):
    callback.table.mode = callback.bucket.mode = "refuses"
    assert callback.post(part_body(talk, message=[{"type": "Plain", "text": "x" * 800_000}]))[0] == 503


def test_a_part_too_large_for_the_table_is_spilled_if_the_bucket_refuses(talk, callback):
    callback.bucket.mode = "refuses"
    assert callback.post(part_body(talk, message=[{"type": "Plain", "text": "x" * 500_000}]))[0] == 200
    assert stored(talk)[0]["text"] == "x" * 500_000


@pytest.mark.parametrize("mode", ["refuses", "fails", "hangs", "is down"])
def test_the_last_good_secret_stays_in_use_if_secrets_manager_fails(talk, callback, monkeypatch, mode):
    monkeypatch.setattr("relay.adapters.bot_registry.CACHE_TTL", 0)
    assert callback.post(part_body(talk))[0] == 200
    before, callback.secrets.mode = callback.secrets.requests, mode
    assert callback.post(part_body(talk, sequence=2))[0] == 200
    assert callback.secrets.requests > before
    raw = part_body(talk, sequence=3)
    assert callback.post(raw, signed_headers(raw, secret="forged"))[0] == 503
    assert len(talk.conversation().parts()) == 2


def test_a_part_is_spilled_in_time_if_secrets_manager_and_the_table_hang(talk, callback, monkeypatch):
    monkeypatch.setattr("relay.adapters.bot_registry.CACHE_TTL", 0)
    assert callback.post(part_body(talk))[0] == 200
    callback.secrets.mode = callback.table.mode = "hangs"
    status, seconds = callback.post(part_body(talk, sequence=2))
    assert status == 200
    assert seconds < TIMEOUT
    stored(talk, 2)


def test_all_calls_that_may_hang_together_end_within_the_timeout(talk, callback):
    callback.table.mode = "refuses"
    raw = part_body(talk, message=[{"type": "Plain", "text": "x" * 800_000}])
    assert callback.post(raw)[0] == 200  # with clients of all four services

    def longest(service):
        config = callback.clients[service].meta.config
        tries = config.retries["total_max_attempts"]
        return tries * (config.connect_timeout + config.read_timeout) + tries - 1

    assert longest("s3") == longest("dynamodb")
    assert longest("secretsmanager") + longest("dynamodb") + longest("sqs") < TIMEOUT


@pytest.fixture
def spilled(callback):
    """Makes the message of a spilled part, and keeps it from the queue."""

    def spilled(raw):
        callback.table.mode, callback.queue.mode = "refuses", "accepts"
        assert callback.post(raw)[0] == 200
        callback.table.mode = callback.queue.mode = "works"
        return callback.queue.accepted.pop()["MessageBody"]

    return spilled


def test_a_spilled_part_that_comes_twice_is_stored_once(talk, callback, spilled):
    raw = part_body(talk)
    message = spilled(raw)
    batches = [[message], [message], [message, message]]
    assert [callback.store_spilled(*batch) for batch in batches] == [[], [], []]
    assert callback.post(raw)[0] == 200
    assert len(talk.conversation().parts()) == 1


def test_a_part_that_was_spilled_hours_ago_is_stored_with_its_own_times(talk, callback, spilled):
    hours_ago = int(time.time()) - 5 * 3600
    raw = part_body(talk, timestamp=utc_text(hours_ago + 8 * 3600).removesuffix("Z"))
    old = json.loads(spilled(raw)) | {"signed_at": hours_ago, "received_at": hours_ago + 1}
    assert callback.store_spilled(json.dumps(old)) == []
    (part,) = talk.conversation().parts()
    assert (part["created_at"], part["sent_at"]) == (utc_text(hours_ago), utc_text(hours_ago))
    assert part["received_at"] == utc_text(hours_ago + 1)
    assert part["expires_at"] == hours_ago + 1 + 86_400


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_part_whose_function_died_while_spilling_is_stored_once(talk, callback, monkeypatch, when):
    app = callback.app
    sqs = Dying(client("sqs"), "send_message", when)
    dying = SpillQueue(sqs, app.settings.spill_queue_url, app.bucket)
    monkeypatch.setattr(app, "receiver", replace(app.receiver, spill_queue=dying))
    callback.table.mode = "refuses"
    raw = part_body(talk)
    with pytest.raises(Died):
        callback.post(raw)
    assert callback.post(raw)[0] == 200  # LangBot tries again
    stored(talk)
    callback.table.mode = "works"
    assert callback.post(raw)[0] == 200
    assert len(talk.conversation().parts()) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_spilled_part_whose_function_died_while_storing_is_stored_once(
    talk, callback, spilled, monkeypatch, when
):
    app, message = callback.app, spilled(part_body(talk))
    table = Dying(Table(client("dynamodb"), app.settings.replies_table), "put", when)
    dying = RepliesTable(table, app.bucket)
    monkeypatch.setattr(app, "receiver", replace(app.receiver, replies_table=dying))
    with pytest.raises(Died):
        callback.store_spilled(message)
    assert callback.store_spilled(message) == []
    assert len(talk.conversation().parts()) == 1


def test_a_spilled_part_is_logged_by_bot_and_error_and_never_by_text(talk, callback, log_lines):
    callback.table.mode = "refuses"
    callback.post(part_body(talk, message=[{"type": "Plain", "text": "private words"}]))
    (line,) = [json.loads(line) for line in log_lines if "spill queue" in line]
    assert (line["bot"], line["error"]) == (talk.name, "AccessDeniedException")
    assert "private words" not in "\n".join(log_lines)


def test_what_cannot_be_stored_of_a_batch_stays_in_the_queue(talk, callback, spilled):
    good, lost = spilled(part_body(talk)), json.loads(spilled(part_body(talk, sequence=2)))
    del lost["raw"]
    lost["raw_at"] = "spill/no-bot/gone"
    assert callback.store_spilled(json.dumps(lost), good, "not ours") == [0, 2]
    assert [part["sequence"] for part in talk.conversation().parts()] == [1]


def test_spilled_parts_stay_in_the_queue_while_the_table_refuses(talk, callback, spilled):
    messages = [spilled(part_body(talk, sequence=number)) for number in range(3)]
    callback.table.mode = "refuses"
    before = callback.queue.requests
    assert callback.store_spilled(*messages) == [0, 1, 2]
    assert callback.queue.requests == before
    callback.table.mode = "works"
    assert callback.store_spilled(*messages) == []
    assert len(talk.conversation().parts()) == 3
