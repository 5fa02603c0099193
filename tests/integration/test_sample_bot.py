"""The sample bot's HTTP, and what only it adds to the rules, which tests/unit/test_http_bot.py tests."""

import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Thread
from typing import Any, NamedTuple

import pytest
import requests

from local.sample_bot import OVERLOADED, Answer, SampleBot
from support.deployed import IN, OUT
from support.recordings import rows


class Callback(NamedTuple):
    headers: dict[str, str]
    raw: bytes

    @property
    def part(self) -> dict[str, Any]:
        part: dict[str, Any] = json.loads(self.raw)
        return part


class CallbackServer(ThreadingHTTPServer):
    """Receives callbacks; `statuses` are what it answers first, then 200."""

    daemon_threads = True

    def __init__(self) -> None:
        self.callbacks: Queue[Callback] = Queue()
        self.statuses: list[int] = []
        super().__init__(("127.0.0.1", 0), self._handler())

    def _handler(server) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                server.callbacks.put(Callback(dict(self.headers), raw))
                self.send_response(server.statuses.pop(0) if server.statuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def receive(self, count: int) -> list[Callback]:
        """Return the next callbacks, in the order in which they came."""
        return [self.callbacks.get(timeout=10) for _ in range(count)]


@pytest.fixture
def server() -> Iterator[CallbackServer]:
    server = CallbackServer()
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def bot(server: CallbackServer) -> Iterator[SampleBot]:
    with SampleBot(f"http://127.0.0.1:{server.server_port}/cb", IN, OUT) as bot:
        yield bot


def sign(secret: str, sent_at: str, raw: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), sent_at.encode() + b"." + raw, hashlib.sha256).hexdigest()


def post(
    bot: SampleBot, raw: bytes, path: str = "", key: str | None = None, method: str = "POST"
) -> requests.Response:
    sent_at = str(int(time.time()))
    signed = {"X-LB-Timestamp": sent_at, "X-LB-Signature": sign(IN, sent_at, raw)}
    keyed = {"X-LB-Idempotency-Key": key} if key else {}
    return requests.request(method, bot.url + path, data=raw, headers=signed | keyed, timeout=10)


def say(bot: SampleBot, text: str, **more: Any) -> requests.Response:
    body = {"session_id": "s-1", "message": [{"type": "Plain", "text": text}]}
    return post(bot, json.dumps(body).encode(), **more)


@pytest.mark.parametrize(
    "row",
    [
        next(row for row in rows("a_plain") if row["kind"] == "request"),
        *(row for row in rows("f_errors") if row["kind"] == "request" and row["path"] != "/bots/<uuid>"),
        *(row for row in rows("f_errors") if row["kind"] == "request" and row["method"] != "POST"),
    ],
    ids=lambda row: row["note"] or "plain",
)
def test_a_recorded_request_gets_the_recorded_response(bot: SampleBot, row: dict[str, Any]) -> None:
    path = "-of-another" if row["status"] == 404 else row["path"].removeprefix("/bots/<uuid>")
    response = post(bot, row["req_body"].encode(), path, method=row["method"])
    assert (response.status_code, blank(response.text)) == (row["status"], blank(row["resp_body"]))


def blank(text: str) -> str:
    """Return a response without its random ids."""
    return re.sub("[0-9a-f]{32}", "ID", text)


def test_a_key_is_burned_by_a_503_as_by_an_acceptance(bot: SampleBot, server: CallbackServer) -> None:
    bot.answer_with(OVERLOADED)
    assert [say(bot, "x", key="k-1").status_code for _ in range(2)] == [503, 409]
    assert [say(bot, "y", key="k-2").status_code for _ in range(2)] == [202, 409]
    assert server.receive(1)[0].part["message"] == [{"type": "Plain", "text": "echo: y"}]


def test_streamed_parts_are_cumulative_and_signed_over_their_raw_bytes(
    bot: SampleBot, server: CallbackServer
) -> None:
    accepted = say(bot, "LONG:3:10").json()["data"]["accepted_message_id"]
    callbacks = server.receive(3)
    for callback in callbacks:
        sent_at = callback.headers["X-LB-Timestamp"]
        assert callback.headers["X-LB-Signature"] == sign(OUT, sent_at, callback.raw)
    parts = [callback.part for callback in callbacks]
    assert [part["message"][0]["text"] for part in parts] == ["w001 ", "w001 w002 ", "w001 w002 w003 "]
    assert [(part["sequence"], part["is_final"]) for part in parts] == [(1, False), (2, False), (3, True)]
    assert {part["reply_to"] for part in parts} == {accepted}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("MULTI", [("part 1 of 3", True), ("part 2 of 3", True), ("part 3 of 3", True)]),
        (
            "LONG:4:10 MIDFAIL",
            [("w001 ", False), ("w001 w002 ", False), ("Agent runner execution failed.", False)],
        ),
        ("SILENT", []),
        ("SLEEP:0.1 IMAGE", [("here is a picture", True)]),
    ],
)
def test_a_text_steers_its_reply(
    bot: SampleBot, server: CallbackServer, text: str, parts: list[tuple[str, bool]]
) -> None:
    for one in (text, "the next"):
        say(bot, one)
    said = [callback.part for callback in server.receive(len(parts) + 1)]
    expected = [*parts, ("echo: the next", True)]
    assert [(part["message"][0]["text"], part["is_final"]) for part in said] == expected


def test_a_callback_is_retried_unchanged_after_a_5xx_and_never_after_a_4xx(
    bot: SampleBot, server: CallbackServer
) -> None:
    server.statuses = [503, 200, 429]
    for text in ("a", "b", "c"):
        say(bot, text)
    first, again, lost, after = server.receive(4)
    assert first == again
    assert lost.part["message"][0]["text"] == "echo: b"
    assert after.part["message"][0]["text"] == "echo: c"


def test_sync_responds_with_every_chunk_and_makes_no_callback(bot: SampleBot, server: CallbackServer) -> None:
    response = say(bot, "LONG:2:10", path="/sync").json()
    assert [segment["text"] for segment in response["data"]["message"]] == ["w001 ", "w001 w002 "]
    assert server.callbacks.empty()


def test_a_dropped_request_is_accepted_only_if_its_answer_says_so(
    bot: SampleBot, server: CallbackServer
) -> None:
    bot.answer_with(Answer(drop=True), Answer(drop=True, takes="message"))
    for text in ("lost", "kept"):
        with pytest.raises(requests.ConnectionError):
            say(bot, text)
    assert server.receive(1)[0].part["message"][0]["text"] == "echo: kept"
    assert server.callbacks.empty()
    assert [request.status for request in bot.received] == [None, None]


def test_control_sets_the_next_answers_and_shows_the_requests(bot: SampleBot) -> None:
    control = bot.url.replace("/bots/sample", "/control")
    answers = [{"status": 429, "headers": {"Retry-After": "2"}}]
    assert requests.post(control, json={"answers": answers}, timeout=10).status_code == 200
    response = say(bot, "x", key="k-1")
    assert (response.status_code, response.headers["Retry-After"]) == (429, "2")
    (received,) = requests.get(control, timeout=10).json()["received"]
    assert (received["status"], received["headers"]["x-lb-idempotency-key"]) == (429, "k-1")
    assert json.loads(received["body"])["message"][0]["text"] == "x"
