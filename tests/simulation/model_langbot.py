"""LangBot's HTTP bot as it was measured: what it answers, remembers, forgets, posts and loses."""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from relay.domain.signing import sign
from simulation.faults import Faults, Trouble
from simulation.model_dynamodb import MAX_ITEM_BYTES
from simulation.world import Process, World

KEY_LIFETIME = 600
SYNC_WAIT = 60
CALLBACK_DELAYS = (0, 1, 2, 4)
"""Seconds before each of the four attempts to deliver a part."""

POSTS_AT_ONCE = 4
SIGNATURE_WINDOW = 300


@dataclass(frozen=True)
class Release:
    """How the releases differ."""

    posts_at_once: int | None
    drops_waiting_turns: bool
    outbound_limit: int
    saving_drops_callbacks: bool


RELEASES = {
    "4.10.6": Release(None, False, 1000, False),
    "4.11.0": Release(POSTS_AT_ONCE, True, 100, True),
    "4.11.2": Release(POSTS_AT_ONCE, True, 100, True),
}


@dataclass(eq=False)
class Accepted:
    """A message that LangBot accepted, and what became of it there."""

    id: str
    session: str
    text: str
    key: str
    at: float
    secret: str
    """What signs its turn's parts: LangBot finishes a turn with the secret with which it began."""
    key_forgotten_at: float | None = None
    told: bool = False
    """Whether the response reached push."""
    answers: Callable[[list[dict[str, Any]], bool], None] | None = None


@dataclass(eq=False)
class Part:
    """A part that LangBot emitted; `seen` are the statuses of its attempts."""

    session: str
    reply_to: str
    is_final: bool
    raw: bytes
    text: str
    at: float
    secret: str
    seen: list[int | None] = field(default_factory=list)

    @property
    def delivered(self) -> bool:
        return any(status is not None and status < 400 for status in self.seen)

    @property
    def given_up(self) -> bool:
        """Tell whether LangBot has tried all that it tries, without success."""
        refused = any(status is not None and 400 <= status < 500 for status in self.seen)
        return not self.delivered and (refused or len(self.seen) == len(CALLBACK_DELAYS))


@dataclass(eq=False)
class _Session:
    sequence: int = 0
    busy: bool = False
    sync_open: bool = False
    outbound: deque[Part] = field(default_factory=deque)
    posting: bool = False


@dataclass(frozen=True)
class Answer:
    """A response to push."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    burned: str | None = None
    """The key that it uses up by refusing."""


def _own(status: int, code: int | str, text: str, data: Any = None, burned: str | None = None) -> Answer:
    return Answer(status, json.dumps({"code": code, "msg": text, "data": data}).encode(), burned=burned)


class LangBot:
    """One bot in a LangBot of its own. `post` posts a part to its callback URL."""

    def __init__(
        self, world: World, faults: Faults, name: str, release: str, post: Callable[..., int | None]
    ) -> None:
        self.world, self.faults, self.name = world, faults, name
        self.release, self._post = RELEASES[release], post
        self.chance = world.chance(f"langbot {name}")
        self.inbound, self.outbound = (f"SECRET-{way}-of-{name}-0123456789" for way in ("in", "out"))
        self.process = Process(f"langbot {name}")
        self.up, self.found = True, True
        self.accepted: list[Accepted] = []
        self.parts: list[Part] = []
        self.refused: set[str] = set()
        """The keys of messages that it refused as invalid."""
        self.burned: dict[str, Process | None] = {}
        """The keys that it used up by refusing, each with the process that was told so, if one was."""
        self.inbound_since = [(0.0, self.inbound)]
        """The inbound secrets that it has had, and since when."""
        self.healthy = False
        self.most_in_hand = 0
        self.dropped_turns = 0
        limit = faults.scenario.max_in_flight or 50
        # LangBot holds 100 turns, of which it runs 20, and MaxInFlight is 50 by default.
        self.max_waiting, self.workers = 2 * limit, 20
        self.outbound_limit = self.release.outbound_limit
        if faults.has(Trouble.SMALL_QUEUES):
            self.workers, self.outbound_limit = max(1, limit * 2 // 5), 3
        self.replies_by_push = faults.has(Trouble.PUSHES) and self.chance.random() < 0.3
        self.zone = self.chance.choice([0, 0, 8, -5, 5.5]) * 3600
        self.clock_error = self.chance.uniform(-200, 200) if faults.has(Trouble.CLOCKS) else 0.0
        self.clock_was_set = False
        self._keys: dict[str, tuple[float, Accepted | None]] = {}
        self._sessions: dict[str, _Session] = {}
        self._waiting: deque[Accepted] = deque()
        self._running = 0
        self._posts = 0
        self._ids = 0

    # ---------------------------------------------------------------- what operators do to it

    def restart(self, seconds: float) -> None:
        """Stop for a while, and forget everything."""
        self.world.note(self.name, "restarts")
        self._forget_keys()
        self.world.kill(self.process)
        self.process = Process(f"langbot {self.name}")
        self._sessions.clear()
        self._waiting.clear()
        self._running = self._posts = 0
        self.up = False
        if self.faults.has(Trouble.CLOCKS):
            self.clock_error, self.clock_was_set = self.chance.uniform(-200, 200), True
        self.world.sleep(seconds)
        self.up = True

    def save(self, seconds: float, **secrets: str) -> None:
        """Save the bot, with other secrets or the same: it is reloaded."""
        self.world.note(self.name, "is saved")
        self._forget_keys()
        for name, value in secrets.items():
            setattr(self, name, value)
        self.inbound_since.append((self.world.now, self.inbound))
        for session in self._sessions.values():
            if self.release.saving_drops_callbacks:
                session.outbound.clear()
            session.sequence = 0
        self.found = False
        self.world.sleep(seconds)
        self.found = True

    def inbound_at(self, moment: float) -> str:
        """Return the inbound secret that it had at a time."""
        return next(secret for since, secret in reversed(self.inbound_since) if since <= moment)

    # ---------------------------------------------------------------- what push posts

    def receive(self, path: str, headers: dict[str, str], raw: bytes) -> Answer:
        """Answer a request to its webhook."""
        self.world.sleep(self.chance.random() * 0.2)
        if not self.found:
            return Answer(404, b'{"error": "Bot not found"}')
        limit = self.release.posts_at_once
        if (limit and self._posts >= limit) or self._strikes(Trouble.LANGBOT, 0.05):
            return _own(429, "blocking_work_capacity_exceeded", "too many requests")
        self._posts += 1
        try:
            return self._handle(path, headers, raw)
        finally:
            self._posts -= 1

    def _handle(self, path: str, headers: dict[str, str], raw: bytes) -> Answer:
        if len(raw) > 1 << 20:
            return _own(413, 41301, "request body too large")
        timestamp = headers["X-LB-Timestamp"]
        if abs(self._clock() - float(timestamp)) > SIGNATURE_WINDOW:
            return _own(401, 40101, "invalid signature: expired")
        if sign(self.inbound, timestamp, raw) != headers["X-LB-Signature"]:
            return _own(401, 40101, "invalid signature: signature_mismatch")
        if path == "/reset":
            return _own(500, "internal_error", "'HttpBotAdapter' object has no attribute 'ap'")
        key = headers["X-LB-Idempotency-Key"]
        fields = json.loads(raw)
        session = self._sessions.setdefault(fields["session_id"], _Session())
        self._expire_keys()
        if key in self._keys:
            return _own(409, 40901, "idempotency key already accepted")
        if self._strikes(Trouble.LANGBOT, 0.02):
            return _own(503, 50301, "idempotency capacity reached; retry later")
        self._keys[key] = (self.world.now, None)
        text = "".join(segment.get("text", "") for segment in fields["message"])
        if "REFUSE" in text:
            self.refused.add(key)
            return self._burn(key, 400, 40001, "failed to parse message: unknown segment")
        if path == "/sync" and session.sync_open:
            return self._burn(key, 409, 40901, "a sync request is already in flight for this session")
        if self._strikes(Trouble.LANGBOT, 0.12):
            return self._burn(key, 503, 50301, "too many inbound messages are already being processed")
        message = self._accept(fields["session_id"], text, key)
        if path == "/sync":
            return self._sync(session, message)
        if self._strikes(Trouble.LANGBOT, 0.03):
            return _own(500, "internal_error", "internal error")
        data = {"accepted_message_id": message.id, "aggregating": True, "session_id": message.session}
        return _own(202, 0, "accepted", data)

    def _burn(self, key: str, status: int, code: int, text: str) -> Answer:
        self.burned[key] = None
        return _own(status, code, text, burned=key)

    def _accept(self, session: str, text: str, key: str) -> Accepted:
        self._ids += 1
        message = Accepted(
            f"in_{self.name}_{self._ids:03}", session, text, key, self.world.now, self.outbound
        )
        self.world.note(self.name, f"accepts {text[:12]!r} of {session} as {message.id} under {key}")
        self.accepted.append(message)
        self._keys[key] = (self.world.now, message)
        if self._absorbed(message):
            return message
        self._waiting.append(message)
        if self.release.drops_waiting_turns and len(self._waiting) > self.max_waiting:
            self._waiting.popleft()
            self.dropped_turns += 1
        self.most_in_hand = max(self.most_in_hand, len(self._waiting) + self._running)
        # A callback never came before its 202: the nearest was 24 ms after it.
        self.world.spawn(self.process, self._start_turns, delay=0.3)
        return message

    def _sync(self, session: _Session, message: Accepted) -> Answer:
        replies: list[dict[str, Any]] = []
        session.sync_open = True
        caller = self.world.current

        def answers(segments: list[dict[str, Any]], is_final: bool) -> None:
            replies.extend(segments)
            if is_final:
                message.answers = None
                self.world.wake(caller)

        message.answers = answers
        self.world.suspend(SYNC_WAIT)
        session.sync_open, message.answers = False, None
        data = {"accepted_message_id": message.id, "reply_to": message.id, "message": replies}
        return _own(200, 0, "ok", data)

    def _forget_keys(self) -> None:
        for _, message in self._keys.values():
            if message:
                message.key_forgotten_at = self.world.now
        self._keys.clear()

    def _expire_keys(self) -> None:
        for key, (at, message) in list(self._keys.items()):
            if at + KEY_LIFETIME <= self.world.now:
                del self._keys[key]
                if message:
                    message.key_forgotten_at = self.world.now

    # ---------------------------------------------------------------- turns

    def _absorbed(self, message: Accepted) -> bool:
        """Tell whether another turn takes the message in: merged with one that waits, or steered."""
        if not self._strikes(Trouble.ODD_TURNS, 0.3):
            return False
        waits = any(other.session == message.session for other in self._waiting)
        return waits or self._sessions[message.session].busy

    def _start_turns(self) -> None:
        for message in list(self._waiting):
            session = self._sessions[message.session]
            if self._running < self.workers and not session.busy:
                self._waiting.remove(message)
                session.busy = True
                self._running += 1
                self.world.spawn(self.process, partial(self._turn, message))

    def _turn(self, message: Accepted) -> None:
        session = self._sessions[message.session]
        chance = self.chance
        if self._strikes(Trouble.SILENCE, 0.25):
            self.world.note(self.name, f"stays silent on {message.id}")
            self.world.sleep(chance.choice([1, 20, 120]))
        else:
            slow = [60] if self.faults.has(Trouble.SILENCE) else []
            self.world.sleep(chance.choice([0.1, 0.5, 2, 5, 20, *slow]) * chance.random())
            self._reply(session, message)
        session.busy = False
        self._running -= 1
        self._start_turns()

    def _reply(self, session: _Session, message: Accepted) -> None:
        chance, replies = self.chance, 1
        kind = "whole"
        if self.faults.has(Trouble.ODD_TURNS) and chance.random() < 0.4:
            kind = chance.choice(["breaks", "unmarked", "several", "several", "empty", "empty", "huge"])
            replies = chance.choice([2, 3]) if kind == "several" else 1
        push = self.replies_by_push or (self.faults.has(Trouble.PUSHES) and chance.random() < 0.2)
        for number in range(replies):
            text = f"REPLY {message.id} {number}:"
            if kind == "huge":
                text += "x" * MAX_ITEM_BYTES
            count = 1 if push else chance.choice([1, 1, 2, 4, 7])
            for n in range(count):
                text += f" word{n}"
                last = n == count - 1
                final = last and kind not in ("breaks", "unmarked")
                shown = "REPLY Sorry, it failed" if last and kind == "breaks" else text
                segments = [] if last and kind == "empty" else [{"type": "Plain", "text": shown}]
                if push:
                    quote = [{"type": "Quote", "id": message.id}] if chance.random() < 0.5 else []
                    self._emit(session, message.secret, message.session, "", True, quote + segments)
                elif message.answers:
                    message.answers(segments, final)
                else:
                    self._emit(session, message.secret, message.session, message.id, final, segments)
                self.world.sleep(0.05 + chance.random() * 0.3)

    def push(self, session_id: str) -> None:
        """Say something unasked."""
        segments = [{"type": "Plain", "text": "REPLY unasked"}]
        session = self._sessions.setdefault(session_id, _Session())
        self._emit(session, self.outbound, session_id, "", True, segments)

    # ---------------------------------------------------------------- callbacks

    def _emit(
        self,
        session: _Session,
        secret: str,
        session_id: str,
        reply_to: str,
        is_final: bool,
        segments: list[dict[str, Any]],
    ) -> None:
        session.sequence += 1
        body = {
            "session_id": session_id,
            "reply_to": reply_to,
            "sequence": session.sequence,
            "is_final": is_final,
            "stream": bool(reply_to),
            "message": segments,
            "timestamp": self._host_time(),
        }
        raw = json.dumps(body, ensure_ascii=False).encode()
        text = "".join(segment.get("text", "") for segment in segments)
        part = Part(session_id, reply_to, is_final, raw, text, self.world.now, secret)
        if is_final:
            session.sequence = 0
        self.parts.append(part)
        session.outbound.append(part)
        if len(session.outbound) > self.outbound_limit:
            self.world.note(self.name, "drops a part from its queue")
            session.outbound.popleft()
        if not session.posting:
            session.posting = True
            self.world.spawn(self.process, lambda: self._post_all(session))

    def _post_all(self, session: _Session) -> None:
        while session.outbound:
            part = session.outbound.popleft()
            timestamp = str(int(self._clock()))
            signature = sign(part.secret, timestamp, part.raw)
            headers = {"X-LB-Timestamp": timestamp, "X-LB-Signature": signature}
            for delay in CALLBACK_DELAYS:
                self.world.sleep(delay)
                status = self._post(self.name, headers, part.raw)
                part.seen.append(status)
                if status is not None and status < 500:
                    break
            self.world.note(self.name, f"posted {part.reply_to or 'a push'} {part.is_final}: {part.seen}")
        session.posting = False

    def _strikes(self, trouble: Trouble, rate: float) -> bool:
        return not self.healthy and self.faults.strikes(trouble, rate)

    @property
    def busy(self) -> bool:
        """Tell whether LangBot is about to do anything."""
        return bool(self._waiting or self._running) or any(s.posting for s in self._sessions.values())

    def _clock(self) -> float:
        return self.world.now + self.clock_error

    def _host_time(self) -> str:
        moment = datetime.fromtimestamp(self._clock() + self.zone, UTC).replace(tzinfo=None)
        return moment.isoformat(timespec="microseconds")
