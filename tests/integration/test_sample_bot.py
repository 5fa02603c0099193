"""The sample bot compared with recordings of LangBot: it may not be kinder than the real one."""

import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterator
from datetime import datetime
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
    bot: SampleBot, raw: bytes, path: str = "", key: str | None = None, **headers: str
) -> requests.Response:
    sent_at = str(int(time.time()))
    signed = {"X-LB-Timestamp": sent_at, "X-LB-Signature": sign(IN, sent_at, raw)}
    keyed = {"X-LB-Idempotency-Key": key} if key else {}
    return requests.post(bot.url + path, raw, headers=signed | keyed | headers, timeout=10)


def say(bot: SampleBot, text: str, session: str = "s-1", **more: Any) -> requests.Response:
    body = {"session_id": session, "message": [{"type": "Plain", "text": text}]}
    return post(bot, json.dumps(body).encode(), **more)


def recorded_requests(name: str) -> list[dict[str, Any]]:
    return [row for row in rows(name) if row["kind"] == "request"]


@pytest.mark.parametrize(
    "row",
    [
        row
        for name in ("a_plain", "f_errors", "h_reset")
        for row in recorded_requests(name)
        if row["method"] == "POST"
        and "<" not in row["req_body"]  # the recording names a size instead of the body
        and "signature" not in row["resp_body"]  # signed requests only, here
        and "�" not in row["req_body"]
    ],
    ids=lambda row: row["note"] or "plain",
)
def test_a_recorded_request_gets_the_recorded_response(bot: SampleBot, row: dict[str, Any]) -> None:
    path = row["path"].removeprefix("/bots/<uuid>")
    if row["status"] == 404:
        path = "-of-another"
    response = post(bot, row["req_body"].encode(), path)
    assert (response.status_code, shape(response.text)) == (row["status"], shape(row["resp_body"]))


def shape(text: str) -> str:
    """Return a response without its random ids and the words of the library that parses segments."""
    text = re.sub(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)
    return re.sub(r"(failed to parse message: ).*(\"})", r"\1...\2", text)


def test_a_key_is_burned_by_a_503_as_by_an_acceptance(bot: SampleBot, server: CallbackServer) -> None:
    bot.answer_with(OVERLOADED)
    assert [say(bot, "x", key="k-1").status_code for _ in range(2)] == [503, 409]
    assert [say(bot, "y", key="k-2").status_code for _ in range(2)] == [202, 409]
    assert server.receive(1)[0].part["message"] == [{"type": "Plain", "text": "echo: y"}]


def test_a_refused_signature_is_401_and_burns_no_key(bot: SampleBot) -> None:
    refused = say(bot, "x", key="k-1", **{"X-LB-Signature": "sha256=" + "0" * 64})
    assert (refused.status_code, refused.json()["msg"]) == (401, "invalid signature: signature_mismatch")
    assert say(bot, "x", key="k-1").status_code == 202


def test_a_timestamp_may_be_300_s_off(bot: SampleBot) -> None:
    raw = b'{"session_id": "s-1", "message": []}'

    def at(offset: int) -> int:
        sent_at = str(int(time.time()) + offset)
        headers = {"X-LB-Timestamp": sent_at, "X-LB-Signature": sign(IN, sent_at, raw)}
        return post(bot, raw, **headers).status_code

    assert [at(-302), at(-298), at(298), at(302)] == [401, 202, 202, 401]


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


def test_a_callback_is_written_as_langbot_writes_it(bot: SampleBot, server: CallbackServer) -> None:
    request, callback = (
        next(row for row in rows("a_plain") if row["kind"] == kind) for kind in ("request", "callback")
    )
    post(bot, request["req_body"].encode())

    def blank(raw: str) -> str:
        return re.sub(r"in_[0-9a-f]{32}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", "-", raw)

    assert blank(server.receive(1)[0].raw.decode()) == blank(callback["raw_body"])


def test_each_of_several_replies_of_a_turn_is_number_one_and_final(
    bot: SampleBot, server: CallbackServer
) -> None:
    say(bot, "MULTI")
    parts = [callback.part for callback in server.receive(3)]
    assert [(part["sequence"], part["is_final"]) for part in parts] == [(1, True)] * 3


def test_a_turn_that_breaks_off_has_no_final_part_and_the_next_counts_on(
    bot: SampleBot, server: CallbackServer
) -> None:
    say(bot, "LONG:4:10 MIDFAIL")
    say(bot, "next turn")
    parts = [callback.part for callback in server.receive(4)]
    assert [(part["sequence"], part["is_final"]) for part in parts] == [
        (1, False),
        (2, False),
        (3, False),
        (4, True),
    ]


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


def test_of_101_messages_in_flight_the_one_that_waits_longest_is_dropped(
    bot: SampleBot, server: CallbackServer
) -> None:
    bot.awake.clear()
    responses = [say(bot, f"m{n}", session=f"s-{n}") for n in range(101)]
    assert {response.status_code for response in responses} == {202}
    accepted = [response.json()["data"]["accepted_message_id"] for response in responses]
    assert bot.dropped == [accepted[20]]  # 20 turns run, and those are not dropped
    bot.awake.set()
    replies = {callback.part["reply_to"] for callback in server.receive(100)}
    assert replies == set(accepted) - set(bot.dropped)
    assert bot.max_in_flight == 100


def test_20_turns_run_at_once_and_one_of_a_session(bot: SampleBot, server: CallbackServer) -> None:
    def ended(*sessions: str) -> list[datetime]:
        for session in sessions:
            say(bot, "SLEEP:0.5", session=session)
        return [
            datetime.fromisoformat(callback.part["timestamp"]) for callback in server.receive(len(sessions))
        ]

    side_by_side = ended(*(f"s-{n}" for n in range(21)))
    assert 0.5 <= (max(side_by_side) - min(side_by_side)).total_seconds() < 5
    first, second = ended("s-1", "s-1")
    assert (second - first).total_seconds() >= 0.5


def test_control_sets_the_next_answers_and_shows_the_requests(bot: SampleBot) -> None:
    control = bot.url.replace("/bots/sample", "/control")
    answers = [{"status": 429, "headers": {"Retry-After": "2"}}]
    assert requests.post(control, json={"answers": answers}, timeout=10).status_code == 200
    response = say(bot, "x", key="k-1")
    assert (response.status_code, response.headers["Retry-After"]) == (429, "2")
    (received,) = requests.get(control, timeout=10).json()["received"]
    assert (received["status"], received["headers"]["x-lb-idempotency-key"]) == (429, "k-1")
    assert json.loads(received["body"])["message"][0]["text"] == "x"
