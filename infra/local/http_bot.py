"""LangBot's HTTP bot without its network: what it answers, remembers, forgets, posts and loses.

An HttpBot has no thread, no socket and no clock: who uses it gives all times, in Unix seconds, passes on each
request (`answer`), calls `run` when `due` has come, posts what is in `to_post`, and says what the callback
URL answered (`posted`). The sample bot is one in real time, the simulator's LangBot one in simulated time.

The rules are those of LangBot 4.10.3 to 4.11.2. "Recorded" means seen in 1,868 callbacks of a running 4.11.2,
of which tests/data/captures has a part; "source" means read in LangBot's adapter, its `http_bot.py`.
tests/langbot/test_langbot_model.py plays the same scenarios with the real one.
"""

import hashlib
import heapq
import hmac
import json
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import count
from math import inf
from typing import Any

SIGNATURE_TOLERANCE = 300
"""Seconds that a signed timestamp may be off (recorded)."""
MAX_BODY_BYTES = 1 << 20
KEY_LIFETIME, MAX_KEYS = 600, 4096
"""Seconds for which an idempotency key is known, and how many are (source)."""
SYNC_TIMEOUT = 60
"""Seconds after which a sync call is answered with what there is (recorded)."""
CALLBACK_DELAYS = (0, 1, 2, 4)
"""Seconds before each of the attempts to deliver a part (recorded)."""
OUTBOUND_IDLE = 60
"""Seconds without a part after which a session counts its parts from 1 again (recorded)."""

Segments = list[dict[str, Any]]


@dataclass(frozen=True)
class Release:
    """How the releases differ, as read from their wheels."""

    posts_at_once: int | None = 4
    """Posts whose bodies it reads at the same time. A sync call that waits is none of them."""
    refuses_when_full: bool = True
    """Whether it refuses what it has no room for. If not, it forgets all keys when they are too many."""
    drops_waiting_turns: bool = True
    outbound_limit: int = 100
    """Parts of a session that wait to be posted. For one more, the oldest is dropped."""
    saving_clears_queues: bool = True
    saving_fails_turns: bool = False
    """Whether a turn during which the bot is saved ends with an error text, as one more final part."""
    forgets_idle_sessions: bool = True
    streams_every_reply: bool = True
    """Whether a reply that its runner gave as a whole is marked as streamed."""
    push_ends_sync: bool = True
    internal_error: str | None = "internal_error"
    """The `code` of a 500."""


RELEASES = {
    "4.10.6": Release(
        posts_at_once=None,
        refuses_when_full=False,
        drops_waiting_turns=False,
        outbound_limit=1000,
        saving_clears_queues=False,
        saving_fails_turns=True,
        forgets_idle_sessions=False,
        streams_every_reply=False,
        push_ends_sync=False,
        internal_error=None,
    ),
    "4.10.7": Release(saving_fails_turns=True, streams_every_reply=False, push_ends_sync=False),
    "4.11.0": Release(push_ends_sync=False),
    "4.11.2": Release(),
}
"""A release that is not among them does as the one before it, but 4.11.1 does as 4.11.2."""


@dataclass
class Request:
    """A request. The names in `headers` are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Response:
    """A response. `body` is HTML if it is a text, and JSON if not."""

    status: int
    body: Any
    burned: str | None = None
    """The idempotency key that it used up by refusing."""
    message: "Accepted | None" = None
    """The message that it accepted."""

    @property
    def raw(self) -> bytes:
        """The body as LangBot writes it (recorded)."""
        if isinstance(self.body, str):
            return self.body.encode()
        return (json.dumps(self.body, sort_keys=True, separators=(",", ":")) + "\n").encode()


def _refusal(status: int, code: int | str, text: str) -> Response:
    return Response(status, {"code": code, "data": None, "msg": text})


NOT_FOUND = Response(404, {"error": "Bot not found"})
NOT_ALLOWED = Response(
    405,
    "<!doctype html>\n<html lang=en>\n<title>405 Method Not Allowed</title>\n"
    "<h1>Method Not Allowed</h1>\n<p>The method is not allowed for the requested URL.</p>\n",
)
CROWDED = _refusal(429, "blocking_work_capacity_exceeded", "too many requests")
KEYS_FULL = _refusal(503, 50301, "idempotency capacity reached; retry later")
UNPARSED = _refusal(400, 40001, "failed to parse message: 1 validation error for MessageChain")
OVERLOADED = _refusal(503, 50301, "too many inbound messages are already being processed")


class _Refused(Exception):
    def __init__(self, response: Response) -> None:
        self.response = response


@dataclass(eq=False)
class Part:
    """A part that LangBot emitted. `seen` are the statuses of its attempts, None for no response."""

    session: str
    reply_to: str
    is_final: bool
    raw: bytes
    text: str
    at: float
    secret: str
    outbound: "_Outbound" = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict)
    """It is signed once, before the first attempt (recorded)."""
    seen: list[int | None] = field(default_factory=list)

    @property
    def delivered(self) -> bool:
        """Tell whether the receiver has accepted it."""
        return any(status is not None and status < 400 for status in self.seen)

    @property
    def given_up(self) -> bool:
        """Tell whether LangBot has tried all that it tries, without success."""
        refused = any(status is not None and 400 <= status < 500 for status in self.seen)
        return not self.delivered and (refused or len(self.seen) == len(CALLBACK_DELAYS))


@dataclass(eq=False)
class _Outbound:
    """A session's parts on their way to the callback URL, one at a time."""

    sequence: int = 0
    queue: deque[Part] = field(default_factory=deque)
    posting: Part | None = None
    """The part that is being posted, or waits for its next attempt."""
    idle_since: float = inf


@dataclass(eq=False)
class SyncCall:
    """A sync call that waits for its response, and the segments for it."""

    message: "Accepted"
    segments: Segments = field(default_factory=list)
    response: Response | None = None


@dataclass(eq=False)
class Adapter:
    """The bot as it was saved. A turn is finished by the one that accepted it, and with its secrets."""

    inbound: str
    outbound: str
    keys: "dict[str, tuple[float, Accepted | None]]" = field(default_factory=dict)
    """When each idempotency key was used, and what was accepted under it."""
    outbounds: dict[str, _Outbound] = field(default_factory=dict)
    syncs: dict[str, SyncCall] = field(default_factory=dict)

    def stop_posting(self) -> None:
        """Lose the parts that are being posted, or wait for their next attempt."""
        for outbound in self.outbounds.values():
            outbound.posting = None

    def forget_keys(self, now: float, used_until: float = inf) -> None:
        """Forget the keys that were used until a time."""
        for key, (used_at, message) in list(self.keys.items()):
            if used_at <= used_until:
                del self.keys[key]
                if message:
                    message.key_forgotten_at = now


@dataclass(eq=False)
class Accepted:
    """A message that LangBot accepted, and what became of it there."""

    id: str
    session: str
    text: str
    key: str
    at: float
    adapter: Adapter
    mention: Segments
    """What stands first in each part of its reply: in a group, whom it is for (recorded)."""
    key_forgotten_at: float | None = None
    told: bool = False
    """Whether the response reached push. Nothing here writes it."""


@dataclass(frozen=True)
class Said:
    """What a runner does next: after so many seconds it says a part, or nothing."""

    after: float
    message: Segments | None = None
    is_final: bool = True
    streams: bool = True
    pushes: bool = False
    """Whether the part names no message. Then it is final, and not streamed (recorded)."""


class HttpBot:
    """One bot, whose URL has the path `path`, in a LangBot of its own."""

    max_turns, max_running_turns = 100, 20
    """Turns that run or wait to, and that run: of a session one (recorded)."""
    start_delay = 0.024
    """Seconds before a turn begins: no callback came sooner after its 202 (recorded)."""

    def __init__(self, release: Release, path: str, inbound: str, outbound: str) -> None:
        self.release, self.path, self.adapter = release, path, Adapter(inbound, outbound)
        self.outbound_limit: float = release.outbound_limit
        self.clock_error, self.zone = 0.0, 0.0
        """Seconds that its clock is ahead, and that its local time is ahead of UTC."""
        self.accepted: list[Accepted] = []
        self.parts: list[Part] = []
        """What it emitted, except into the response to a sync call."""
        self.to_post: list[Part] = []
        """The parts that have to be posted now. Who posts them takes them out."""
        self.dropped: list[str] = []
        """The ids of the messages whose turns were dropped."""
        self.most_in_hand = 0
        """The most turns that ran or waited at the same time."""
        self._now = 0.0
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._reading = 0
        self._waiting: deque[Accepted] = deque()
        self._running: set[str] = set()
        """The sessions whose turns run."""

    # ---------------------------------------------------------------- what its user decides

    def new_id(self) -> str:
        """Return what no other message has behind the `in_` of its id."""
        return uuid.uuid4().hex

    def accept(self, message: Accepted) -> None:
        """Give a message that was accepted a turn."""
        self.take(message)

    def script(self, message: Accepted) -> Iterator[Said]:
        """Return what the runner does in the turn of a message."""
        raise NotImplementedError

    # ---------------------------------------------------------------- time

    @property
    def due(self) -> float:
        """When it does something next, inf for never."""
        return self._agenda[0][0] if self._agenda else inf

    def run(self, now: float) -> None:
        """Do what is due until now, each at its own time."""
        while self.due <= now:
            self._now, _, action = heapq.heappop(self._agenda)
            action()
        self._now = now

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self._now + seconds, next(self._numbers), action))

    # ---------------------------------------------------------------- what operators do to it

    def reload(self, inbound: str, outbound: str, now: float) -> None:
        """Use the form that was saved: it forgets its keys, and loses what it is posting (recorded)."""
        self.run(now)
        self.adapter.stop_posting()
        self.adapter.forget_keys(now)
        if self.release.saving_clears_queues:
            self.adapter.outbounds.clear()
            # A call that waits is answered after its time, without what is said from now on.
            self.adapter.syncs.clear()
        self.adapter = Adapter(inbound, outbound)

    def boot(self, inbound: str, outbound: str, now: float) -> None:
        """Forget everything. Its user has to forget what is being posted."""
        self.reload(inbound, outbound, now)
        self._reading = 0
        for pending in (self._agenda, self.to_post, self._waiting, self._running):
            pending.clear()

    # ---------------------------------------------------------------- requests

    def start_reading(self) -> Response | None:
        """Return what refuses a post before its body is read, if anything; `answer` ends the reading."""
        if self.release.posts_at_once and self._reading >= self.release.posts_at_once:
            return CROWDED
        self._reading += 1
        return None

    def answer(self, request: Request, now: float, refusal: Response | None = None) -> Response | SyncCall:
        """Answer a request. The checks and their order are LangBot's (source, recorded).

        `refusal` is KEYS_FULL, UNPARSED or OVERLOADED, if the request meets that when it gets so far.
        """
        self.run(now)
        self._reading = max(0, self._reading - 1)
        try:
            fields = self._read(request)
            key = self._reserve(request.headers.get("x-lb-idempotency-key", ""), refusal)
        except _Refused as refused:
            return refused.response
        try:
            return self._accept(fields, key, request.path.endswith("/sync"), refusal)
        except _Refused as refused:
            return replace(refused.response, burned=key or None)

    def internal_error(self, text: str) -> Response:
        """Return the response to an error that LangBot does not foresee."""
        code, body = self.release.internal_error, {"msg": "Internal server error"}
        return Response(500, body | {"code": code, "request_id": self.new_id()} if code else {"error": text})

    def _read(self, request: Request) -> dict[str, Any]:
        """Return the fields of the body."""
        action = request.path.removeprefix(self.path)
        if not f"{request.path}/".startswith(f"{self.path}/"):
            raise _Refused(NOT_FOUND)
        if request.method not in ("POST", "GET") or action == "/":
            raise _Refused(NOT_ALLOWED)
        if action not in ("", "/sync", "/reset"):
            raise _Refused(_refusal(400, 40001, f"unknown sub-path: {action[1:]}"))
        if len(request.body) > MAX_BODY_BYTES:
            raise _Refused(_refusal(413, 41301, "message too large"))
        if fault := self._signature_fault(request):
            raise _Refused(_refusal(401, 40101, f"invalid signature: {fault}"))
        try:
            fields = json.loads(request.body)
        except ValueError:
            raise _Refused(_refusal(400, 40001, "body is not valid JSON")) from None
        if not isinstance(fields, dict):
            raise _Refused(_refusal(400, 40001, "body must be a JSON object"))
        if action == "/reset" and "session_id" in fields:
            raise _Refused(self.internal_error("'HttpBotAdapter' object has no attribute 'ap'"))
        if action == "/reset":
            raise _Refused(_refusal(400, 40001, "session_id is required"))
        if not {"session_id", "message"} <= fields.keys():
            raise _Refused(_refusal(400, 40001, "session_id and message are required"))
        return fields

    def _signature_fault(self, request: Request) -> str | None:
        timestamp, signature = (request.headers.get(f"x-lb-{name}") for name in ("timestamp", "signature"))
        if not timestamp or not signature:
            return "missing_headers"
        try:
            signed_at = int(float(timestamp))
        except ValueError:
            return "bad_timestamp"
        if abs(int(self._now + self.clock_error) - signed_at) > SIGNATURE_TOLERANCE:
            return "expired"
        is_good = signature == _signature(self.adapter.inbound, timestamp, request.body)
        return None if is_good else "signature_mismatch"

    def _reserve(self, key: str, refusal: Response | None) -> str:
        """Return the idempotency key, "" if there is none. It is used up, unless this refuses."""
        adapter = self.adapter
        if not key:
            return ""
        adapter.forget_keys(self._now, used_until=self._now - KEY_LIFETIME)
        if key in adapter.keys:
            raise _Refused(_refusal(409, 40901, "idempotency key already accepted"))
        if len(adapter.keys) >= MAX_KEYS and not self.release.refuses_when_full:
            adapter.forget_keys(self._now)
        if len(adapter.keys) >= MAX_KEYS or refusal is KEYS_FULL:
            raise _Refused(KEYS_FULL)
        adapter.keys[key] = self._now, None
        return key

    def _accept(
        self, fields: dict[str, Any], key: str, is_sync: bool, refusal: Response | None
    ) -> Response | SyncCall:
        adapter, message = self.adapter, self._parse(fields, key)
        if refusal is UNPARSED:
            raise _Refused(refusal)
        if is_sync and message.session in adapter.syncs:
            raise _Refused(_refusal(409, 40901, "a sync request is already in flight for this session"))
        if refusal:
            raise _Refused(refusal)
        if key:
            adapter.keys[key] = self._now, message
        self.accepted.append(message)
        self.accept(message)
        if is_sync:
            call = adapter.syncs[message.session] = SyncCall(message)
            self._after(SYNC_TIMEOUT, partial(self._end_sync, adapter, call))
            return call
        data = {"session_id": message.session, "accepted_message_id": message.id, "aggregating": True}
        return Response(202, {"code": 0, "msg": "accepted", "data": data}, message=message)

    def _parse(self, fields: dict[str, Any], key: str) -> Accepted:
        session, message, sender = str(fields["session_id"]), fields["message"], fields.get("sender") or {}
        if not (isinstance(sender, dict) and isinstance(message, list) and all(map(_is_segment, message))):
            raise _Refused(UNPARSED)
        text = "".join(segment["text"] for segment in message if segment["type"] == "Plain")
        mention = {"type": "At", "target": str(sender.get("id", session)), "display": ""}
        mentions = [mention] if fields.get("session_type") == "group" else []
        return Accepted(f"in_{self.new_id()}", session, text, key, self._now, self.adapter, mentions)

    @staticmethod
    def _end_sync(adapter: Adapter, call: SyncCall) -> None:
        session = call.message.session
        if adapter.syncs.get(session) is call:
            del adapter.syncs[session]
        data = {"session_id": session, "reply_to": call.message.id, "message": call.segments}
        call.response = Response(200, {"code": 0, "msg": "ok", "data": data}, message=call.message)

    # ---------------------------------------------------------------- turns

    def has_turn(self, session: str) -> bool:
        """Tell whether a turn of a session waits or runs.

        It can take in another message, merged or steered, which gets no reply of its own (recorded).
        """
        return session in self._running or any(message.session == session for message in self._waiting)

    def take(self, message: Accepted) -> None:
        """Give a message a turn. If there are too many, the one that waits longest is dropped (recorded)."""
        self._waiting.append(message)
        if self.release.drops_waiting_turns and len(self._waiting) + len(self._running) > self.max_turns:
            self.dropped.append(self._waiting.popleft().id)
        self.most_in_hand = max(self.most_in_hand, len(self._waiting) + len(self._running))
        self._after(self.start_delay, self._start_turns)

    def say(self, session: str, message: Segments, now: float) -> None:
        """Say something unasked."""
        self.run(now)
        self._emit(self.adapter, session, "", Said(0, message, pushes=True))

    def _start_turns(self) -> None:
        for message in list(self._waiting):
            if len(self._running) == self.max_running_turns or message.at + self.start_delay > self._now:
                return
            if message.session not in self._running:
                self._waiting.remove(message)
                self._running.add(message.session)
                self._go_on(self._turn(message))

    def _go_on(self, turn: Iterator[float]) -> None:
        """Let a turn go on until it waits for some seconds, or ends."""
        seconds = next(turn, None)
        if seconds is not None:
            self._after(seconds, partial(self._go_on, turn))

    def _turn(self, message: Accepted) -> Iterator[float]:
        saved_as, session, last = self.adapter, message.session, None
        for said in self.script(message):
            yield said.after
            if said.message is not None:
                last = replace(said, message=message.mention + said.message)
                self._emit(message.adapter, session, "" if said.pushes else message.id, last)
        is_over = last and last.is_final and not last.pushes
        if is_over and self.release.saving_fails_turns and self.adapter is not saved_as:
            failure = Said(0, [{"type": "Plain", "text": "Request failed."}])
            self._emit(message.adapter, session, message.id, failure)
        self._running.remove(session)
        self._after(self.start_delay, self._start_turns)

    # ---------------------------------------------------------------- callbacks

    def _emit(self, adapter: Adapter, session: str, reply_to: str, said: Said) -> None:
        segments, is_final = said.message or [], said.is_final or said.pushes
        outbound = adapter.outbounds.get(session)
        is_idle = outbound and self._now - outbound.idle_since >= OUTBOUND_IDLE
        if outbound is None or (is_idle and self.release.forgets_idle_sessions):
            outbound = adapter.outbounds[session] = _Outbound()
        outbound.sequence += 1
        local_time = datetime.fromtimestamp(self._now + self.clock_error + self.zone, UTC)
        body = {
            "session_id": session,
            "reply_to": reply_to,
            "sequence": outbound.sequence,
            "is_final": is_final,
            "stream": not said.pushes and (said.streams or self.release.streams_every_reply),
            "message": segments,
            "timestamp": local_time.replace(tzinfo=None).isoformat(timespec="microseconds"),
        }
        if is_final:
            outbound.sequence = 0
        call = adapter.syncs.get(session)
        if call and (not said.pushes or self.release.push_ends_sync):
            # Whichever turn it belongs to (recorded).
            call.segments.extend(segments)
            if is_final:
                self._end_sync(adapter, call)
            return
        raw = json.dumps(body, ensure_ascii=False).encode()
        text = "".join(segment.get("text", "") for segment in segments)
        secret = adapter.outbound or adapter.inbound
        part = Part(session, reply_to, is_final, raw, text, self._now, secret, outbound)
        self.parts.append(part)
        outbound.queue.append(part)
        if len(outbound.queue) > self.outbound_limit:
            outbound.queue.popleft()
        if not outbound.posting:
            self._post_next(outbound)

    def _post_next(self, outbound: _Outbound) -> None:
        if not outbound.queue:
            outbound.posting, outbound.idle_since = None, self._now
            return
        part = outbound.posting = outbound.queue.popleft()
        outbound.idle_since = inf
        timestamp = str(int(self._now + self.clock_error))
        signature = _signature(part.secret, timestamp, part.raw)
        part.headers = {"X-LB-Timestamp": timestamp, "X-LB-Signature": signature}
        self._post(part)

    def _post(self, part: Part) -> None:
        # It is lost if the bot was saved, or LangBot restarted, while it waited.
        if part.outbound.posting is part:
            self.to_post.append(part)

    def posted(self, part: Part, status: int | None, now: float) -> None:
        """Note what the callback URL answered. Only a 5xx, or nothing, is tried again (recorded)."""
        self.run(now)
        if part.outbound.posting is not part:
            return
        part.seen.append(status)
        if part.delivered or part.given_up:
            self._post_next(part.outbound)
        else:
            self._after(CALLBACK_DELAYS[len(part.seen)], partial(self._post, part))


def _is_segment(value: Any) -> bool:
    if not isinstance(value, dict) or "type" not in value:
        return False
    return value["type"] != "Plain" or isinstance(value.get("text"), str)


def _signature(secret: str, timestamp: str, body: bytes) -> str:
    # The relay's own signing is not used here: two that agree keep each other honest.
    return "sha256=" + hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
