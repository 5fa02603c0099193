"""A bot to try the relay on: LangBot 4.11.2 in real time, behind HTTP.

Words in a message's text steer the reply: `LONG:n:ms` streams n parts, ms apart · `MULTI` three replies
in one turn · `IMAGE` · `MIDFAIL` breaks off with no final part · `SILENT` never answers · `SLEEP:s` waits
first. Anything else is echoed. `answer_with`, or POST /control, makes the bot misbehave: see Answer.

It merges no messages, and leaves out LangBot's 429 to the fifth post at once, which is a matter of
microseconds.
"""

import json
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf
from typing import Any, Literal, Self

import requests
from requests.adapters import HTTPAdapter

from local import http_bot
from local.http_bot import RELEASES, Accepted, HttpBot, Part, Request, Response, Said

CALLBACK_TIMEOUT = 15
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/"
    "iZk9HQAAAABJRU5ErkJggg=="
)


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


OVERLOADED = Answer(http_bot.OVERLOADED.status, http_bot.OVERLOADED.body, takes="key")
"""LangBot's 503: nothing is accepted, and the same key answers 409 from then on."""


@dataclass
class Received(Request):
    """One request of a caller; `at` and `answered_at` are Unix seconds, `status` None if it was dropped."""

    at: float
    status: int | None = None
    answered_at: float | None = None


class SampleBot(HttpBot):
    """One bot, listening on loopback while it is entered: `with SampleBot(callback_url, ...) as bot`."""

    def __init__(
        self,
        callback_url: str,
        inbound_secret: str,
        outbound_secret: str,
        port: int = 0,
        max_parallel_callbacks: int = HttpBot.max_running_turns,
    ) -> None:
        super().__init__(RELEASES["4.11.2"], "/bots/sample", inbound_secret, outbound_secret)
        self.zone = time.localtime().tm_gmtoff
        self.callback_url = callback_url
        self.inbound_secret, self.outbound_secret = inbound_secret, outbound_secret
        self.received: list[Received] = []
        self.emitted: list[dict[str, Any]] = []
        """The parts in the order in which the bot meant them, delivered or not."""
        self.awake = threading.Event()
        """While it is cleared, no turn begins to speak."""
        self.awake.set()
        self._answers: deque[Answer] = deque()
        self._changed = threading.Condition()
        """The lock of the rules. It notifies when there may be something to do or to say."""
        self._closed = False
        self._callback_slots = threading.Semaphore(max_parallel_callbacks)
        self._http = requests.Session()
        self._http.trust_env = False
        self._http.mount("http://", HTTPAdapter(pool_maxsize=max_parallel_callbacks))
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}{self.path}"

    def __enter__(self) -> Self:
        for action in (self._run, lambda: self._server.serve_forever(0.05)):
            threading.Thread(target=action, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._http.close()

    def answer_with(self, *answers: Answer) -> None:
        """Give the next requests these answers, one each."""
        self._answers.extend(answers)

    def choose_answer(self, request: Received) -> Answer:
        """Return the answer to `request`; a test may choose it by the request."""
        return self._answers.popleft() if self._answers else Answer()

    def respond(self, request: Received) -> tuple[Response, dict[str, str]] | None:
        """Return the response to a request and its headers, after any delay; None to drop the connection."""
        with self._changed:
            self.received.append(request)
            chosen = self.choose_answer(request)
        is_usual = chosen.status is None and not chosen.drop
        burns_key = chosen.takes == "key" and not is_usual
        if is_usual or chosen.takes != "nothing":
            usual = self._ask(request, http_bot.OVERLOADED if burns_key else None)
            is_usual = is_usual or not (usual.burned if burns_key else usual.message)
        time.sleep(chosen.delay)
        if is_usual:
            return usual, {}
        return None if chosen.drop else (Response(chosen.status or 0, chosen.body), chosen.headers)

    def _ask(self, request: Request, refusal: Response | None) -> Response:
        with self._changed:
            # A test may change them at any time.
            self.adapter.inbound, self.adapter.outbound = self.inbound_secret, self.outbound_secret
            given = self.answer(request, time.time(), refusal)
            self._changed.notify_all()
            if isinstance(given, Response):
                return given
            self._changed.wait_for(lambda: given.response or self._closed)
            return given.response or http_bot.NOT_FOUND

    def _run(self) -> None:
        """Let the bot do what is due until it is closed, and post what it says."""
        with self._changed:
            while not self._closed:
                self.run(time.time())
                self.emitted += [json.loads(part.raw) for part in self.parts]
                for part in self.to_post:
                    threading.Thread(target=self._post_part, args=(part,), daemon=True).start()
                self.parts.clear()
                self.to_post.clear()
                self._changed.notify_all()
                self._changed.wait(None if self.due == inf else max(0, self.due - time.time()))

    def _post_part(self, part: Part) -> None:
        status, headers = None, {"Content-Type": "application/json"} | part.headers
        with self._callback_slots, suppress(requests.RequestException):
            status = self._http.post(
                self.callback_url, part.raw, headers=headers, timeout=CALLBACK_TIMEOUT
            ).status_code
        with self._changed:
            self.posted(part, status, time.time())
            self._changed.notify_all()

    def script(self, message: Accepted) -> Iterator[Said]:
        """Say what the text of a message asks for."""
        while not self.awake.is_set():
            yield Said(0.05)
        sleep = re.search(r"SLEEP:([\d.]+)", message.text)
        yield Said(float(sleep[1]) if sleep else 0)
        yield from _replies(message.text)


def _replies(text: str) -> Iterator[Said]:
    def plain(text: str) -> dict[str, Any]:
        return {"type": "Plain", "text": text}

    long = re.search(r"LONG(?::(\d+))?(?::(\d+))?", text)
    breaks = "MIDFAIL" in text
    if long or breaks:
        parts, gap = (int(long[1] or 60), int(long[2] or 20) / 1000) if long else (4, 0.02)
        for n in range(1, 1 + (parts // 2 if breaks else parts)):
            words = "".join(f"w{i:03d} " for i in range(1, n + 1))
            yield Said(gap, [plain(words)], is_final=n == parts)
        if breaks:
            yield Said(gap, [plain("Agent runner execution failed.")], is_final=False)
    elif "MULTI" in text:
        for n in (1, 2, 3):
            yield Said(0.07 if n > 1 else 0, [plain(f"part {n} of 3")])
    elif "IMAGE" in text:
        image = {"type": "Image", "image_id": "", "url": "", "path": "", "base64": PIXEL}
        yield Said(0, [plain("here is a picture"), image])
    elif "SILENT" not in text:
        yield Said(0, [plain(f"echo: {text}")])


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
                self._send(self._control(body), {})
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Received(self.command, self.path, headers, body, time.time())
            answer = bot.respond(request)
            request.answered_at = time.time()
            if answer is None:
                self.close_connection = True
                return
            request.status = answer[0].status
            self._send(*answer)

        do_GET = do_PUT = do_DELETE = do_POST  # noqa: N815

        def _control(self, body: bytes) -> Response:
            if self.command == "POST":
                try:
                    bot.answer_with(*(Answer(**answer) for answer in json.loads(body)["answers"]))
                except (ValueError, TypeError, KeyError) as error:
                    return Response(400, {"error": f'not {{"answers": [...]}} of Answer: {error}'})
            received = [asdict(r) | {"body": r.body.decode(errors="replace")} for r in bot.received]
            return Response(200, {"received": received})

        def _send(self, response: Response, headers: dict[str, str]) -> None:
            self.send_response(response.status)
            kind = "text/html; charset=utf-8" if isinstance(response.body, str) else "application/json"
            usual = {"Content-Type": kind, "Content-Length": str(len(response.raw))}
            for name, value in (usual | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(response.raw)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
