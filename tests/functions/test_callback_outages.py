"""callback's own handler and clients, with AWS services that refuse, fail or hang beneath them.

What it spills is stored by the deployed callback, whose services are well.
"""

import base64
import hashlib
import importlib
import json
import sys
import threading
import time
from contextlib import ExitStack
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from test_callback import body, headers, objects
from test_logs import lines  # noqa: F401
from test_push_dies import Died, Dying

from conftest import eventually
from relay.rules.part import utc

REFUSED = json.dumps({"__type": "com.amazon.coral.service#AccessDeniedException"}).encode()


class Service:
    """One AWS service: the emulator's, until `mode` says that it refuses, fails, hangs or is down."""

    def __init__(self, endpoint):
        self.mode, self.asked = "well", 0
        service, target, over = self, urlsplit(endpoint).netloc, threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                service.asked += 1
                match service.mode:
                    case "well":
                        with_host = HTTPConnection(target, timeout=10)
                        with_host.request(self.command, self.path, raw, dict(self.headers))
                        answer = with_host.getresponse()
                        status, sent = answer.status, answer.read()
                        with_host.close()
                    case "refuses":
                        status, sent = 400, REFUSED
                    case "fails":
                        status, sent = 500, b"{}"
                    case "hangs":
                        over.wait()
                        self.close_connection = True
                        return
                    case "is down":
                        self.close_connection = True
                        return
                self.send_response(status)
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            do_POST = do_PUT = do_GET = answer  # noqa: N815

            def handle_expect_100(self):
                return service.mode != "hangs" and super().handle_expect_100()

            def log_message(self, *_):
                pass

        self._server, self._over = ThreadingHTTPServer(("127.0.0.1", 0), Handler), over
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._server.shutdown()
        self._server.server_close()


class Callback:
    """The function in this process."""

    def __init__(self, app, services, talk):
        self.app, self.talk = app, talk
        self.secrets, self.table, self.bucket, self.queue = services

    def post(self, raw, signed=None):
        """The status of the answer to a part, and the seconds that it took."""
        event = {
            "pathParameters": {"bot": self.talk.name},
            "headers": {name.lower(): value for name, value in (signed or headers(raw)).items()},
            "body": base64.b64encode(raw).decode(),
            "isBase64Encoded": True,
        }
        start = time.monotonic()
        return self.app.handler(event, None)["statusCode"], time.monotonic() - start

    def batch(self, *bodies):
        """The places in a batch of the spill queue of what stays there."""
        records = [{"messageId": str(place), "body": text} for place, text in enumerate(bodies)]
        failures = self.app.handler({"Records": records}, None)["batchItemFailures"]
        return [int(failure["itemIdentifier"]) for failure in failures]


@pytest.fixture
def callback(talk, monkeypatch):
    outputs = talk.deployed.local.outputs
    queue = talk.deployed.client("sqs").get_queue_url(QueueName="relay-local-spill")["QueueUrl"]
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": outputs["Region"],
        "BOT_SECRET_PREFIX": outputs["BotSecretPrefix"],
        "REPLIES_TABLE": outputs["RepliesTableName"],
        "OVERFLOW_BUCKET": outputs["OverflowBucketName"],
        "SPILL_QUEUE_URL": queue,
        "KEEP_DAYS": "1",
    }
    with ExitStack() as ends:
        services = [ends.enter_context(Service(outputs["EndpointUrl"])) for _ in range(4)]
        for name, service in zip(("SECRETS_MANAGER", "DYNAMODB", "S3", "SQS"), services, strict=True):
            environment[f"AWS_ENDPOINT_URL_{name}"] = service.url
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
        monkeypatch.delitem(sys.modules, "callback.app", raising=False)
        yield Callback(importlib.import_module("callback.app"), services, talk)


def landed(talk, count=1):
    return eventually(lambda: parts if len(parts := talk.conversation().parts()) >= count else None)


@pytest.mark.parametrize("mode", ["refuses", "fails", "hangs", "is down"])
def test_a_part_is_answered_200_whatever_the_table_does_and_stored_with_its_own_times(talk, callback, mode):
    callback.table.mode = mode
    raw, before = body(talk), time.time()
    signed = headers(raw, timestamp=str(int(before) - 7))
    status, seconds = callback.post(raw, signed)
    assert (status, callback.queue.asked) == (200, 1)
    assert seconds < 12
    (part,) = landed(talk)
    assert part["digest"] == hashlib.sha256(raw).hexdigest()
    assert part["sent_at"] == utc(int(before) - 7)
    assert utc(before) <= part["received_at"] <= utc(before + 0.5)


def test_a_part_that_is_stored_does_not_touch_the_spill_queue(talk, callback):
    assert callback.post(body(talk))[0] == 200
    assert (callback.queue.asked, callback.bucket.asked) == (0, 0)
    assert len(talk.conversation().parts()) == 1


@pytest.mark.parametrize("mode", ["refuses", "hangs"])
def test_a_part_that_cannot_be_spilled_either_is_answered_503_in_time(talk, callback, mode):
    callback.table.mode = callback.queue.mode = mode
    status, seconds = callback.post(body(talk))
    assert status == 503
    assert seconds < 12


def test_a_forged_part_is_answered_401_and_not_spilled_while_the_table_refuses(talk, callback):
    callback.table.mode = "refuses"
    raw = body(talk)
    assert callback.post(raw, headers(raw, secret="forged"))[0] == 401
    assert callback.queue.asked == 0


@pytest.mark.parametrize("raw", [b"{}", b"\xff\x00\xfe not text"])
def test_a_signed_body_that_is_no_part_reaches_the_quarantine_through_the_spill_queue(talk, callback, raw):
    callback.bucket.mode = "refuses"
    assert callback.post(raw)[0] == 400
    assert eventually(lambda: objects(talk.deployed, f"quarantine/{talk.name}/")) == [raw]


def test_a_signed_body_that_is_no_part_and_cannot_be_spilled_is_answered_503(callback):
    callback.bucket.mode = callback.queue.mode = "refuses"
    assert callback.post(b"{}")[0] == 503


# A message of the queue holds 1 MiB, in which 786,432 bytes have room as base64, less some 130 around it.
@pytest.mark.parametrize(("size", "in_bucket"), [(786_000, False), (786_432, True), (5_000_000, True)])
def test_a_part_of_any_size_is_spilled(talk, callback, size, in_bucket):
    callback.table.mode = "refuses"
    empty = len(body(talk, message=[{"type": "Plain", "text": ""}]))
    raw = body(talk, message=[{"type": "Plain", "text": "x" * (size - empty)}])
    assert len(raw) == size
    assert callback.post(raw)[0] == 200
    assert landed(talk)[0]["text"] == "x" * (size - empty)
    assert objects(talk.deployed, f"spill/{talk.name}/") == ([raw] if in_bucket else [])


def test_a_part_too_large_for_the_queue_is_answered_503_where_the_bucket_refuses_too(talk, callback):
    callback.table.mode = callback.bucket.mode = "refuses"
    assert callback.post(body(talk, message=[{"type": "Plain", "text": "x" * 800_000}]))[0] == 503


def test_a_part_that_only_the_bucket_could_hold_is_spilled_where_the_bucket_refuses(talk, callback):
    callback.bucket.mode = "refuses"
    assert callback.post(body(talk, message=[{"type": "Plain", "text": "x" * 500_000}]))[0] == 200
    assert landed(talk)[0]["text"] == "x" * 500_000


@pytest.mark.parametrize("mode", ["refuses", "fails", "hangs", "is down"])
def test_the_last_good_secret_serves_whatever_secrets_manager_does(talk, callback, monkeypatch, mode):
    monkeypatch.setattr("relay.edge.bots.REMEMBER", 0)
    assert callback.post(body(talk))[0] == 200
    asked, callback.secrets.mode = callback.secrets.asked, mode
    assert callback.post(body(talk, sequence=2))[0] == 200
    assert callback.secrets.asked > asked
    raw = body(talk, sequence=3)
    assert callback.post(raw, headers(raw, secret="forged"))[0] == 503
    assert len(talk.conversation().parts()) == 2


def test_a_part_is_spilled_in_time_where_secrets_manager_and_the_table_hang(talk, callback, monkeypatch):
    monkeypatch.setattr("relay.edge.bots.REMEMBER", 0)
    assert callback.post(body(talk))[0] == 200
    callback.secrets.mode = callback.table.mode = "hangs"
    status, seconds = callback.post(body(talk, sequence=2))
    assert status == 200
    assert seconds < 12
    landed(talk, 2)


def test_what_may_hang_one_after_the_other_fits_into_the_functions_time_out(callback):
    def longest(client):
        config = client.meta.config
        tries = config.retries["total_max_attempts"]
        return tries * (config.connect_timeout + config.read_timeout) + tries - 1

    app = callback.app
    secrets, table = app.receiver.bots._secretsmanager, app.receiver.replies._dynamodb
    template = Path(__file__).parents[2].joinpath("template.yaml").read_text("utf-8")
    template = template[template.index("  CallbackFunction:") :]
    time_out = yaml.safe_load(next(line for line in template.splitlines() if "Timeout: " in line))["Timeout"]
    assert longest(app.s3) == longest(table)
    assert longest(secrets) + longest(table) + longest(app.spill._sqs) < time_out


@pytest.fixture
def spilled(callback, monkeypatch):
    """Makes the message of a spilled part, and keeps it from the queue."""

    def spilled(raw):
        taken = []
        with monkeypatch.context() as patch:
            patch.setattr(callback.app.spill._sqs, "send_message", lambda **message: taken.append(message))
            callback.table.mode = "refuses"
            assert callback.post(raw)[0] == 200
            callback.table.mode = "well"
        return taken[0]["MessageBody"]

    return spilled


def test_a_spilled_part_that_comes_twice_is_stored_once(talk, callback, spilled):
    raw = body(talk)
    text = spilled(raw)
    assert [callback.batch(text), callback.batch(text), callback.batch(text, text)] == [[], [], []]
    assert callback.post(raw)[0] == 200
    assert len(talk.conversation().parts()) == 1


def test_a_spilled_part_is_stored_with_its_own_times_though_its_signature_is_hours_old(
    talk, callback, spilled
):
    hours_ago = int(time.time()) - 5 * 3600
    message = json.loads(spilled(body(talk, timestamp=utc(hours_ago + 8 * 3600).removesuffix("Z"))))
    assert callback.batch(json.dumps(message | {"signed_at": hours_ago, "received_at": hours_ago + 1})) == []
    (part,) = talk.conversation().parts()
    assert (part["created_at"], part["sent_at"]) == (utc(hours_ago), utc(hours_ago))
    assert part["received_at"] == utc(hours_ago + 1)
    assert part["expires_at"] == hours_ago + 1 + 86_400


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_part_whose_function_died_while_spilling_is_stored_once(talk, callback, monkeypatch, when):
    dying = Dying(callback.app.spill._sqs, "send_message", when)
    monkeypatch.setattr(callback.app.spill, "_sqs", dying)
    callback.table.mode = "refuses"
    raw = body(talk)
    with pytest.raises(Died):
        callback.post(raw)
    assert callback.post(raw)[0] == 200  # LangBot tries again
    landed(talk)
    callback.table.mode = "well"
    assert callback.post(raw)[0] == 200
    assert len(talk.conversation().parts()) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_spilled_part_whose_function_died_while_storing_it_is_stored_once(
    talk, callback, spilled, monkeypatch, when
):
    text = spilled(body(talk))
    replies = callback.app.receiver.replies
    monkeypatch.setattr(replies, "_items", Dying(replies._items, "put", when))
    with pytest.raises(Died):
        callback.batch(text)
    assert callback.batch(text) == []
    assert len(talk.conversation().parts()) == 1


def test_a_spilled_part_is_logged_by_its_bot_and_its_error_and_never_by_its_text(
    talk,
    callback,
    lines,  # noqa: F811
):
    callback.table.mode = "refuses"
    callback.post(body(talk, message=[{"type": "Plain", "text": "private words"}]))
    (line,) = [json.loads(line) for line in lines if "spill queue" in line]
    assert (line["bot"], line["error"]) == (talk.name, "AccessDeniedException")
    assert "private words" not in "\n".join(lines)


def test_a_batch_stays_in_the_queue_as_far_as_it_could_not_be_stored(talk, callback, spilled):
    good, lost = spilled(body(talk)), spilled(body(talk, sequence=2))
    lost = json.dumps({name: value for name, value in json.loads(lost).items() if name != "raw"})
    lost = json.dumps(json.loads(lost) | {"raw_at": "spill/nobody/gone"})
    assert callback.batch(lost, good, "not ours") == [0, 2]
    assert [part["sequence"] for part in talk.conversation().parts()] == [1]


def test_a_spilled_part_stays_in_the_queue_while_the_table_refuses(talk, callback, spilled):
    texts = [spilled(body(talk, sequence=number)) for number in range(3)]
    callback.table.mode = "refuses"
    asked = callback.queue.asked
    assert callback.batch(*texts) == [0, 1, 2]
    assert callback.queue.asked == asked
    callback.table.mode = "well"
    assert callback.batch(*texts) == []
    assert len(talk.conversation().parts()) == 3
