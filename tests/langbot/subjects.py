"""LangBot as a scenario meets it: the real one, and the model of the simulation."""

import json
import re
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol
from uuid import uuid4

import requests
from packaging.version import Version

from langbot.bridge import Bridge
from langbot.peer.peer import DISCARD, Peer
from langbot.proxy import Server
from local.http_bot import RELEASES
from relay.domain.signing import sign
from simulation.faults import Faults, Scenario
from simulation.model_langbot import Accepted, LangBot, Turn
from simulation.world import START, Process, World
from support.waiting import eventually

TURNS = {
    "hello": Turn(),
    "LONG:40:50": Turn(2, (6,)),
    "LONG:40:150": Turn(1.2, (6,), pauses=1),
    "LONG:16:600": Turn(4.8, (3,), pauses=2),
    "REPLIES:3": Turn(0, (1, 1, 1), streams=False),
    DISCARD: Turn(0, ()),
    "LONG:60:20 BREAK": Turn(0.4, (3,), kind="breaks"),
}
"""What the real bot's runner does with a text, for the model's."""


@dataclass(frozen=True)
class Response:
    """What LangBot answered; `code` and `text` are those of its body."""

    status: int
    code: int | str | None
    text: str
    data: dict[str, Any]

    @classmethod
    def of(cls, status: int, body: bytes) -> "Response":
        fields = json.loads(body)
        text = fields.get("msg") or fields.get("error") or ""
        # Behind these it says what Python or pydantic says.
        text = "" if status == 500 else re.sub("(failed to parse message): .*", r"\1", text, flags=re.DOTALL)
        return cls(status, fields.get("code"), text, fields.get("data") or {})

    @property
    def accepted_id(self) -> str | None:
        """The id that LangBot gave the message."""
        return self.data.get("accepted_message_id") or self.data.get("reply_to")


@dataclass(frozen=True)
class Callback:
    """A callback that came at `at` (seconds), and what it was answered; None is nothing."""

    at: float
    headers: dict[str, str]
    body: bytes
    status: int | None

    @property
    def signed(self) -> tuple[str, str, bytes]:
        """Time, signature, and what they sign."""
        return self.headers["X-LB-Timestamp"], self.headers["X-LB-Signature"], self.body


class Running(Protocol):
    """Something that was started."""

    def result(self) -> Any:
        """Wait for its end and return its result."""


class Subject(Protocol):
    """A LangBot with one bot, and the endpoint that its bot calls back."""

    def clock(self) -> float:
        """Return its time in Unix seconds."""

    def wait(self, seconds: float) -> None: ...

    @property
    def inbound(self) -> str: ...

    @property
    def outbound(self) -> str: ...

    def until(self, condition: Callable[[], Any]) -> None:
        """Wait until the condition is true."""

    def start(self, action: Callable[[], Response]) -> Running:
        """Do something beside what follows."""

    def post(self, path: str, headers: dict[str, str], body: bytes) -> Response:
        """Post to the bot's webhook."""

    def post_to_no_bot(self, headers: dict[str, str], body: bytes) -> Response:
        """Post to the webhook of a bot that LangBot does not have."""

    def callbacks(self, session: str) -> list[Callback]: ...

    def answer(self, session: str, *statuses: int | None) -> None:
        """Let the next callbacks of a session be answered so, and not 200; None drops the connection."""

    def push(self, session: str) -> None:
        """Have the bot say something unasked."""

    def save(self, **secrets: str) -> None:
        """Save the bot with other secrets, or the same."""

    def restart(self) -> None: ...


class _Endpoint(Server):
    """What the real bot calls back."""

    def __init__(self) -> None:
        super().__init__()
        self.callbacks: defaultdict[str, list[Callback]] = defaultdict(list)
        self.next: defaultdict[str, deque[int | None]] = defaultdict(deque)

    def respond(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int | None, bytes]:
        session = json.loads(body)["session_id"]
        status = self.next[session].popleft() if self.next[session] else 200
        self.callbacks[session].append(Callback(time.monotonic(), headers, body, status))
        return status, b"{}"


class RealLangBot:
    """The LangBot of a bridge, whose bot calls back an endpoint of its own while this is open."""

    def __init__(self, peer: Peer, endpoint: _Endpoint, threads: ThreadPoolExecutor) -> None:
        self._peer, self._endpoint, self._threads = peer, endpoint, threads

    @classmethod
    @contextmanager
    def of(cls, bridge: Bridge) -> Iterator["RealLangBot"]:
        before = bridge.peer.settings
        with _Endpoint() as endpoint, ThreadPoolExecutor() as threads:
            bridge.peer.reconfigure(callback_url=endpoint.url)
            try:
                yield cls(bridge.peer, endpoint, threads)
            finally:
                bridge.peer.reconfigure(
                    callback_url=before.callback_url,
                    inbound_secret=before.inbound_secret,
                    outbound_secret=before.outbound_secret,
                )

    @property
    def inbound(self) -> str:
        return self._peer.settings.inbound_secret

    @property
    def outbound(self) -> str:
        return self._peer.settings.outbound_secret

    def clock(self) -> float:
        return time.time()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def until(self, condition: Callable[[], Any]) -> None:
        eventually(condition)

    def start(self, action: Callable[[], Response]) -> Running:
        return self._threads.submit(action)

    def post(self, path: str, headers: dict[str, str], body: bytes) -> Response:
        return self._post(self._peer.bot_url + path, headers, body)

    def post_to_no_bot(self, headers: dict[str, str], body: bytes) -> Response:
        return self._post(f"{self._peer.url}/bots/{uuid4()}", headers, body)

    def callbacks(self, session: str) -> list[Callback]:
        return list(self._endpoint.callbacks[session])

    def answer(self, session: str, *statuses: int | None) -> None:
        self._endpoint.next[session].extend(statuses)

    def push(self, session: str) -> None:
        self._peer.send_push(session, "unasked")

    def save(self, **secrets: str) -> None:
        if secrets:
            self._peer.reconfigure(**{f"{way}_secret": value for way, value in secrets.items()})
        else:
            self._peer.change_bot(enable=True)

    def restart(self) -> None:
        self._peer.restart()

    @staticmethod
    def _post(url: str, headers: dict[str, str], body: bytes) -> Response:
        response = requests.post(url, body, headers=headers, timeout=90)
        return Response.of(response.status_code, response.content)


class ModelLangBot:
    """The model of LangBot, in a world without trouble."""

    def __init__(self, release: str) -> None:
        self._world = World(0)
        faults = Faults(self._world, replace(Scenario.of(0), troubles=frozenset()))
        self._bot = LangBot(self._world, faults, "bot", release, self._receive)
        self._bot.runner = self._runner
        self._callbacks: defaultdict[str, list[Callback]] = defaultdict(list)
        self._next: defaultdict[str, deque[int | None]] = defaultdict(deque)
        self._user = Process("user")

    def play(self, scenario: Callable[[Subject], Any]) -> Any:
        """Return what a scenario observes."""
        task = self._world.spawn(self._user, lambda: scenario(self))
        self._world.run(START + 1000)
        self._world.close()
        return task.result()

    @property
    def inbound(self) -> str:
        return self._bot.inbound

    @property
    def outbound(self) -> str:
        return self._bot.outbound

    def clock(self) -> float:
        return self._world.clock()

    def wait(self, seconds: float) -> None:
        self._world.sleep(seconds)

    def until(self, condition: Callable[[], Any]) -> None:
        while not condition():
            self._world.sleep(0.1)

    def start(self, action: Callable[[], Response]) -> Running:
        return self._world.spawn(self._user, action)

    def post(self, path: str, headers: dict[str, str], body: bytes) -> Response:
        request = self._world.spawn(self._bot.process, lambda: self._bot.receive(path, headers, body))
        answer = request.result()
        return Response.of(answer.status, answer.raw)

    def post_to_no_bot(self, headers: dict[str, str], body: bytes) -> Response:
        self._bot.found = False
        response = self.post("", headers, body)
        self._bot.found = True
        return response

    def callbacks(self, session: str) -> list[Callback]:
        return self._callbacks[session]

    def answer(self, session: str, *statuses: int | None) -> None:
        self._next[session].extend(statuses)

    def push(self, session: str) -> None:
        self._bot.push(session)

    def save(self, **secrets: str) -> None:
        self._bot.save(0.1, **secrets)

    def restart(self) -> None:
        self._bot.restart(1)

    def _receive(self, name: str, headers: dict[str, str], raw: bytes) -> int | None:
        session = json.loads(raw)["session_id"]
        status = self._next[session].popleft() if self._next[session] else 200
        self._callbacks[session].append(Callback(self._world.now, headers, raw, status))
        return status

    @staticmethod
    def _runner(message: Accepted) -> Turn:
        return TURNS[message.text]


def modelled(release: Version) -> str:
    """Return the modelled release whose behaviour an installed one has."""
    if release == Version("4.11.1"):
        return "4.11.2"
    return max((known for known in RELEASES if Version(known) <= release), key=Version)


def signed(secret: str, body: bytes, at: float, key: str) -> dict[str, str]:
    """Return the headers of a message that is signed at `at` (Unix seconds)."""
    timestamp = str(int(at))
    return {
        "X-LB-Timestamp": timestamp,
        "X-LB-Signature": sign(secret, timestamp, body),
        "X-LB-Idempotency-Key": key,
    }
