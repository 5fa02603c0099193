"""A stub of an OpenAI-compatible model; the last user text says what it answers.

LONG:n:ms streams n words, ms apart; HOLD answers when `release` is called. Any other text is echoed. With
BREAK the stream breaks off after 20 words.
"""

import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

MAX_HOLD_SECONDS = 500


class BreaksOff(Exception):
    """The model fails in the midst of its answer."""


class Model:
    """Serves on a free loopback port while it is entered."""

    def __init__(self) -> None:
        self.held: list[str] = []
        self._released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()

    def release(self) -> None:
        """Let the model give every answer that it holds."""
        released, self._released = self._released, threading.Event()
        released.set()

    def answer(self, text: str) -> Iterator[str]:
        if "HOLD" in text:
            released = self._released
            self.held.append(text)
            released.wait(MAX_HOLD_SECONDS)
        if long := re.search(r"LONG:(\d+):(\d+)", text):
            count, gap = (int(number) for number in long.groups())
            for n in range(1, count + 1):
                if "BREAK" in text and n > 20:
                    raise BreaksOff
                yield f"w{n:03} "
                time.sleep(gap / 1000)
        else:
            echo = "echo: " + text
            yield from (echo[at : at + 12] for at in range(0, len(echo), 12))


def _last_user_text(messages: list[dict[str, Any]]) -> str:
    content = next(message["content"] for message in reversed(messages) if message["role"] == "user")
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _handler(model: Model) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            words = model.answer(_last_user_text(request["messages"]))
            if request.get("stream"):
                self.start("text/event-stream")
                try:
                    for word in words:
                        delta = {"role": "assistant", "content": word}
                        self.event({"index": 0, "delta": delta, "finish_reason": None})
                except BreaksOff:
                    self.wfile.write(b'data: {"error": {"message": "told to break off"}}\n\n')
                    return
                self.event({"index": 0, "delta": {}, "finish_reason": "stop"})
                self.wfile.write(b"data: [DONE]\n\n")
            else:
                message = {"role": "assistant", "content": "".join(words)}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                self.start("application/json")
                self.wfile.write(_completion("chat.completion", choice))

        def start(self, content_type: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()

        def event(self, choice: dict[str, Any]) -> None:
            self.wfile.write(b"data: " + _completion("chat.completion.chunk", choice) + b"\n\n")

    return Handler


def _completion(kind: str, choice: dict[str, Any]) -> bytes:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    body = {
        "id": "chatcmpl-1",
        "object": kind,
        "created": 1,
        "model": "stub",
        "choices": [choice],
        "usage": usage,
    }
    return json.dumps(body).encode()
