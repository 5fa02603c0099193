"""A stand-in for LangBot's HTTP Bot, for the demonstration and for tests.

It answers and calls back as LangBot 4.11.2 was recorded doing, `/reset` included, which fails there
for every message, and drops messages as LangBot does when it has too many in flight. It leaves out the
merging of messages and LangBot's 429 to the fifth post at once, which is a matter of microseconds.

Words in a message's text steer the reply: `LONG:n:ms` streams n parts, ms apart · `MULTI` three replies
in one turn · `IMAGE` · `MIDFAIL` breaks off with no final part · `SILENT` never answers · `SLEEP:s` waits
first. Anything else is echoed. `answer_with`, or POST /control, makes the bot misbehave: see Answer.
"""

import argparse
import hashlib
import hmac
import json
import os
import queue
import re
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

import requests

from relay_cli.terminal import say

SIGNATURE_TOLERANCE = 300
"""Seconds that a signed timestamp may be off."""
KEY_LIFETIME = 600
"""Seconds for which an idempotency key is known."""
MAX_KEYS = 4096
MAX_BODY_BYTES = 1 << 20
RETRY_DELAYS = (1, 2, 4)
"""Seconds before each further try of a callback."""
CALLBACK_TIMEOUT = 15
SYNC_TIMEOUT = 4 * CALLBACK_TIMEOUT
SEQUENCE_TIMEOUT = 60
"""Seconds of silence after which a session counts its parts from 1 again."""
MAX_RUNNING_TURNS = 20
"""Turns that run at the same time, of a session one."""
MAX_TURNS = 100
"""Turns that run or wait to; for one more, the one that has waited longest is dropped."""

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/"
    "iZk9HQAAAABJRU5ErkJggg=="
)
NOT_ALLOWED = (
    "<!doctype html>\n<html lang=en>\n<title>405 Method Not Allowed</title>\n"
    "<h1>Method Not Allowed</h1>\n<p>The method is not allowed for the requested URL.</p>\n"
)

Segments = list[dict[str, Any]]


@dataclass(frozen=True)
class Answer:
    """What the bot does with one request instead of the usual.

    With neither `status` nor `drop` it gives its usual answer, `delay` seconds late. `takes` says how
    far the request gets: "nothing" of it counts, its idempotency "key" is burned as LangBot's 503
    does, or the "message" is accepted and answered while the caller gets another response. A request
    that does not get that far, such as one with a bad signature, has its usual answer.
    """

    status: int | None = None
    body: Any = ""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0
    drop: bool = False
    """Close the connection without an answer."""
    takes: Literal["nothing", "key", "message"] = "nothing"


OVERLOADED = Answer(
    503,
    {"code": 50301, "data": None, "msg": "too many inbound messages are already being processed"},
    takes="key",
)
"""LangBot's 503: nothing is accepted, and the same key answers 409 from then on."""


@dataclass
class Received:
    """One request of a caller; `at` and `answered_at` are Unix seconds, `status` None if it was dropped."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    status: int | None = None
    answered_at: float | None = None


class _Refused(Exception):
    def __init__(self, status: int, code: int, text: str) -> None:
        self.status = status
        self.body = {"code": code, "data": None, "msg": text}


class SampleBot:
    """One bot, listening on loopback while it is entered: `with SampleBot(callback_url) as bot`."""

    def __init__(
        self,
        callback_url: str,
        inbound_secret: str,
        outbound_secret: str,
        port: int = 0,
        max_parallel_callbacks: int = MAX_RUNNING_TURNS,
    ) -> None:
        self.callback_url = callback_url
        self.inbound_secret = inbound_secret
        self.outbound_secret = outbound_secret
        self.received: list[Received] = []
        self.emitted: list[dict[str, Any]] = []
        """The parts in the order in which the bot meant them, delivered or not."""
        self.dropped: list[str] = []
        """The ids of accepted messages that will never be answered, since MAX_TURNS later ones came."""
        self.max_in_flight = 0
        self.awake = threading.Event()
        """While it is cleared, no turn begins to speak."""
        self.awake.set()
        self._answers: deque[Answer] = deque()
        self._keys: dict[str, float] = {}
        self._sessions: dict[str, _Session] = {}
        self._waiting: list[_Turn] = []
        self._running: set[str] = set()
        self._lock = threading.Lock()
        self._callback_slots = threading.Semaphore(max_parallel_callbacks)
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}/bots/sample"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        with self._lock:
            self._waiting.clear()
        for session in self._sessions.values():
            session.close()
        self.awake.set()

    def answer_with(self, *answers: Answer) -> None:
        """Give the next requests these answers, one each."""
        self._answers.extend(answers)

    def choose_answer(self, request: Received) -> Answer:
        """Return the answer to `request`; a test may choose it by the request."""
        return self._answers.popleft() if self._answers else Answer(takes="message")

    def respond(self, request: Received) -> tuple[int, Any, dict[str, str]] | None:
        """Return status, body and headers for a request, after any delay; None to drop the connection."""
        with self._lock:
            self.received.append(request)
            chosen = self.choose_answer(request)
        usual = chosen.status is None and not chosen.drop
        response: tuple[int, Any] = (0, "")
        if usual or chosen.takes != "nothing":
            try:
                response = self._handle(request, "message" if usual else chosen.takes)
            except _Refused as refused:
                response, usual = (refused.status, refused.body), True
            except Exception:  # LangBot's framework answers each one so
                error = {"code": "internal_error", "msg": "Internal server error", "request_id": _id()}
                response, usual = (500, error), True
        time.sleep(chosen.delay)
        if usual:
            return *response, {}
        return None if chosen.drop else (chosen.status or 0, chosen.body, chosen.headers)

    def _handle(self, request: Received, takes: Literal["nothing", "key", "message"]) -> tuple[int, Any]:
        where = re.fullmatch(r"/bots/sample(?:/(.*))?", request.path)
        if not where:
            return 404, {"error": "Bot not found"}
        if request.method not in ("POST", "GET") or where[1] == "":
            return 405, NOT_ALLOWED
        if where[1] not in (None, "sync", "reset"):
            raise _Refused(400, 40001, f"unknown sub-path: {where[1]}")
        body = self._verified(request)
        if where[1] == "reset":
            if "session_id" not in body:
                raise _Refused(400, 40001, "session_id is required")
            raise RuntimeError("'HttpBotAdapter' object has no attribute 'ap'")
        if "session_id" not in body or "message" not in body:
            raise _Refused(400, 40001, "session_id and message are required")
        self._reserve(request.headers.get("x-lb-idempotency-key"))
        turn = _Turn.parse(body)
        if takes == "key":
            return 0, ""
        with self._lock:
            session = self._sessions.get(turn.session_id)
            if session is None:
                session = self._sessions[turn.session_id] = _Session(
                    turn.session_id, self._sign, self._callback_slots, self.emitted
                )
        if where[1] == "sync":
            return 200, session.answer_sync(turn, self.accept)
        self.accept(turn)
        accepted = {"session_id": turn.session_id, "accepted_message_id": turn.id, "aggregating": True}
        return 202, {"code": 0, "msg": "accepted", "data": accepted}

    def accept(self, turn: "_Turn") -> None:
        """Answer a message in its turn, unless too many come after it."""
        with self._lock:
            if len(self._waiting) + len(self._running) >= MAX_TURNS:
                self.dropped.append(self._waiting.pop(0).id)
            self._waiting.append(turn)
            self.max_in_flight = max(self.max_in_flight, len(self._waiting) + len(self._running))
            self._run_waiting()

    def _run_waiting(self) -> None:
        for turn in list(self._waiting):
            if len(self._running) == MAX_RUNNING_TURNS:
                return
            if turn.session_id not in self._running:
                self._waiting.remove(turn)
                self._running.add(turn.session_id)
                threading.Thread(target=self._run, args=(turn,), daemon=True).start()

    def _run(self, turn: "_Turn") -> None:
        self.awake.wait()
        self._sessions[turn.session_id].run(turn)
        with self._lock:
            self._running.remove(turn.session_id)
            self._run_waiting()

    def _verified(self, request: Received) -> dict[str, Any]:
        if len(request.body) > MAX_BODY_BYTES:
            raise _Refused(413, 41301, "message too large")
        sent_at = request.headers.get("x-lb-timestamp")
        signature = request.headers.get("x-lb-signature")
        if not sent_at or not signature:
            raise _Refused(401, 40101, "invalid signature: missing_headers")
        try:
            age = abs(int(time.time()) - int(float(sent_at)))
        except ValueError:
            raise _Refused(401, 40101, "invalid signature: bad_timestamp") from None
        if age > SIGNATURE_TOLERANCE:
            raise _Refused(401, 40101, "invalid signature: expired")
        if not hmac.compare_digest(_signature(self.inbound_secret, sent_at, request.body), signature):
            raise _Refused(401, 40101, "invalid signature: signature_mismatch")
        try:
            body = json.loads(request.body)
        except ValueError:
            raise _Refused(400, 40001, "body is not valid JSON") from None
        if not isinstance(body, dict):
            raise _Refused(400, 40001, "body must be a JSON object")
        return body

    def _reserve(self, key: str | None) -> None:
        if not key:
            return
        with self._lock:
            now = time.monotonic()
            self._keys = {k: since for k, since in self._keys.items() if now - since <= KEY_LIFETIME}
            if key in self._keys:
                raise _Refused(409, 40901, "idempotency key already accepted")
            if len(self._keys) >= MAX_KEYS:
                raise _Refused(503, 50301, "idempotency capacity reached; retry later")
            self._keys[key] = now

    def _sign(self, body: bytes) -> tuple[str, dict[str, str]]:
        sent_at = str(int(time.time()))
        secret = self.outbound_secret or self.inbound_secret
        return self.callback_url, {
            "Content-Type": "application/json",
            "X-LB-Timestamp": sent_at,
            "X-LB-Signature": _signature(secret, sent_at, body),
        }


@dataclass(frozen=True)
class _Turn:
    id: str
    session_id: str
    text: str
    prefix: Segments
    """What stands first in each part: in a group, whom it is for."""

    @classmethod
    def parse(cls, body: dict[str, Any]) -> Self:
        message, sender = body["message"], body.get("sender") or {}
        session_id = str(body["session_id"])
        if not isinstance(message, list) or not all(isinstance(s, dict) and "type" in s for s in message):
            raise _Refused(400, 40001, "failed to parse message: Input should be a valid list")
        if not all(isinstance(s.get("text"), str) for s in message if s["type"] == "Plain"):
            raise _Refused(400, 40001, "failed to parse message: 1 validation error for Plain")
        if not isinstance(sender, dict):
            raise _Refused(400, 40001, "failed to parse message: 'str' object has no attribute 'get'")
        group = body.get("session_type") == "group"
        return cls(
            id=f"in_{_id()}",
            session_id=session_id,
            text="".join(s["text"] for s in message if s["type"] == "Plain"),
            prefix=[{"type": "At", "target": str(sender.get("id", session_id)), "display": ""}]
            if group
            else [],
        )

    def parts(self) -> Iterator[tuple[float, Segments, bool]]:
        """The reply: seconds to wait before each part, the part, and whether it is final."""

        def plain(text: str) -> Segments:
            return [*self.prefix, {"type": "Plain", "text": text}]

        sleep = re.search(r"SLEEP:([\d.]+)", self.text)
        wait = float(sleep[1]) if sleep else 0.0
        long = re.search(r"LONG(?::(\d+))?(?::(\d+))?", self.text)
        broken = "MIDFAIL" in self.text
        if long or broken:
            count, gap = (int(long[1] or 60), int(long[2] or 20) / 1000) if long else (4, 0.02)
            for n in range(1, 1 + (count // 2 if broken else count)):
                words = "".join(f"w{i:03d} " for i in range(1, n + 1))
                yield wait + gap, plain(words), n == count
                wait = 0
            if broken:
                yield gap, plain("Agent runner execution failed."), False
        elif "MULTI" in self.text:
            for n in (1, 2, 3):
                yield wait if n == 1 else 0.07, plain(f"part {n} of 3"), True
        elif "IMAGE" in self.text:
            image = {"type": "Image", "image_id": "", "url": "", "path": "", "base64": PIXEL}
            yield wait, [*plain("here is a picture"), image], True
        elif "SILENT" not in self.text:
            yield wait, plain(f"echo: {self.text}"), True


class _Session:
    """What a session says in its turns, and its callbacks one after the other."""

    def __init__(
        self,
        session_id: str,
        sign: Callable[[bytes], tuple[str, dict[str, str]]],
        callback_slots: threading.Semaphore,
        emitted: list[dict[str, Any]],
    ) -> None:
        self._session_id = session_id
        self._sign = sign
        self._callback_slots = callback_slots
        self._emitted = emitted
        self._callbacks: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._closed = threading.Event()
        self._sequence = 0
        self._restart_sequence = True
        self._last = 0.0
        self._collected: Segments | None = None
        self._final = threading.Event()
        threading.Thread(target=self._call_back, daemon=True).start()

    def close(self) -> None:
        self._closed.set()
        self._callbacks.put(None)

    def answer_sync(self, turn: _Turn, accept: Callable[[_Turn], None]) -> dict[str, Any]:
        if self._collected is not None:
            raise _Refused(409, 40901, "a sync request is already in flight for this session")
        collected: Segments = []
        self._collected = collected
        self._final.clear()
        accept(turn)
        self._final.wait(SYNC_TIMEOUT)
        self._collected = None
        data = {"session_id": self._session_id, "reply_to": turn.id, "message": collected}
        return {"code": 0, "msg": "ok", "data": data}

    def run(self, turn: _Turn) -> None:
        for wait, message, final in turn.parts():
            if self._closed.wait(wait):
                return
            self._emit(turn.id, message, final)

    def _emit(self, reply_to: str, message: Segments, final: bool) -> None:
        now = time.monotonic()
        self._sequence = (
            1 if self._restart_sequence or now - self._last > SEQUENCE_TIMEOUT else self._sequence + 1
        )
        self._restart_sequence, self._last = final, now
        part = {
            "session_id": self._session_id,
            "reply_to": reply_to,
            "sequence": self._sequence,
            "is_final": final,
            "stream": True,
            "message": message,
            "timestamp": datetime.now().isoformat(),
        }
        if self._collected is None:
            self._emitted.append(part)
            self._callbacks.put(part)
            return
        self._collected.extend(message)
        if final:
            self._final.set()

    def _call_back(self) -> None:
        with requests.Session() as http:
            http.trust_env = False
            for part in iter(self._callbacks.get, None):
                body = json.dumps(part, ensure_ascii=False).encode()
                url, headers = self._sign(body)
                for pause in (*RETRY_DELAYS, None):
                    try:
                        with self._callback_slots:
                            response = http.post(url, body, headers=headers, timeout=CALLBACK_TIMEOUT)
                        status = response.status_code
                    except requests.RequestException:
                        status = 599
                    if status < 500 or pause is None or self._closed.wait(pause):
                        break


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler(bot: SampleBot) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet, or keep-alive costs 40 ms an answer
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path == "/control":
                self._control(body)
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Received(self.command, self.path, headers, body, time.time())
            answer = bot.respond(request)
            request.answered_at = time.time()
            if answer is None:
                self.close_connection = True
                return
            request.status = answer[0]
            self._send(*answer)

        do_GET = do_PUT = do_DELETE = do_POST  # noqa: N815

        def _control(self, body: bytes) -> None:
            if self.command == "POST":
                try:
                    bot.answer_with(*(Answer(**answer) for answer in json.loads(body)["answers"]))
                except (ValueError, TypeError, KeyError) as error:
                    self._send(400, {"error": f'not {{"answers": [...]}} of Answer: {error}'}, {})
                    return
            received = [asdict(r) | {"body": r.body.decode(errors="replace")} for r in bot.received]
            self._send(200, {"received": received}, {})

        def _send(self, status: int, body: Any, headers: dict[str, str]) -> None:
            text = isinstance(body, str)
            raw = (body if text else json.dumps(body, sort_keys=True, separators=(",", ":")) + "\n").encode()
            self.send_response(status)
            usual = {"Content-Type": "text/html; charset=utf-8" if text else "application/json"}
            for name, value in (usual | headers | {"Content-Length": str(len(raw))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _signature(secret: str, sent_at: str, body: bytes) -> str:
    # The relay's own signing is not used here: two that agree keep each other honest.
    return "sha256=" + hmac.new(secret.encode(), f"{sent_at}.".encode() + body, hashlib.sha256).hexdigest()


def _id() -> str:
    return uuid.uuid4().hex


def main() -> None:
    """Runs the bot until Ctrl-C; the secrets come from BOT_INBOUND_SECRET and BOT_OUTBOUND_SECRET."""
    parser = argparse.ArgumentParser(
        prog="python -m local.sample_bot", description="A bot to try the relay on."
    )
    parser.add_argument("callback_url", help="where replies go")
    parser.add_argument("--port", type=int, default=0, help="where to listen; a free port by default")
    arguments = parser.parse_args()
    names = ("BOT_INBOUND_SECRET", "BOT_OUTBOUND_SECRET")
    if missing := [name for name in names if name not in os.environ]:
        parser.error(f"environment variable {missing[0]} is not set")
    inbound, outbound = (os.environ[name] for name in names)
    with SampleBot(arguments.callback_url, inbound, outbound, arguments.port) as bot:
        say(f"BOT_URL={bot.url}")
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
