"""A proxy between LangBot and the relay: it records each request, and fails if a test says so."""

import json
import threading
from collections import defaultdict, deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

import requests

Fault = Literal["answer 500", "drop after"]


class Server(ThreadingHTTPServer):
    """Answers POST as `respond` says, on a free loopback port while it is entered."""

    request_queue_size = 128  # LangBot may connect a hundred times at once

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def respond(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int | None, bytes]:
        """Return status and body of the response; without a status the connection is dropped."""
        raise NotImplementedError


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, content = self.server.respond(self.path, dict(self.headers), body)
        if status is None:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@dataclass(frozen=True)
class Exchange:
    """A request as it came, and its response; `status` is None if the caller got none."""

    headers: dict[str, str]
    body: bytes
    status: int | None


class Proxy(Server):
    """Passes each POST on to `target` and its path, unless a fault is next for its session."""

    def __init__(self) -> None:
        super().__init__()
        self.target = ""
        self._exchanges: defaultdict[str, list[Exchange]] = defaultdict(list)
        self._faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def fail(self, session_id: str, *faults: Fault) -> None:
        """Let the next requests about a session fail, one after the other."""
        self._faults[session_id].extend(faults)

    def of(self, session_id: str) -> list[Exchange]:
        """Return the exchanges about a session, in order; wait for one that is in flight."""
        with self._locks[session_id]:
            return list(self._exchanges[session_id])

    def respond(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int | None, bytes]:
        session_id = json.loads(body)["session_id"]
        with self._locks[session_id]:
            faults = self._faults[session_id]
            fault = faults.popleft() if faults else None
            if fault == "answer 500":
                status, content = 500, b"{}"
            else:
                own = ("host", "connection", "content-length")
                passed = {name: value for name, value in headers.items() if name.lower() not in own}
                url = (self.target + path).removesuffix("/")
                reply = requests.post(url, body, headers=passed, allow_redirects=False, timeout=70)
                status, content = reply.status_code, reply.content
            sent = None if fault == "drop after" else status
            self._exchanges[session_id].append(Exchange(headers, body, sent))
        return sent, content
