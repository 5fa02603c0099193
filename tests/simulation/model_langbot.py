"""LangBot's HTTP bot as it was measured: what it answers, remembers, forgets, posts and loses.

`tests/langbot/test_langbot_model.py` compares it with the real one.
"""

import json
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from relay.domain.signing import sign
from simulation.faults import Faults, Trouble
from simulation.model_dynamodb import MAX_ITEM_BYTES
from simulation.world import Process, Task, World

KEY_LIFETIME = 600
SYNC_WAIT = 60
CALLBACK_DELAYS = (0, 1, 2, 4)
"""Seconds before each of the four attempts to deliver a part."""

POSTS_AT_ONCE = 4
"""Posts whose bodies it reads at the same time; a sync call that waits is none of them."""

RELOAD_TIMEOUT = 15
"""Seconds after which it gives up to reload a bot that was saved."""

SIGNATURE_WINDOW = 300
OUTBOUND_IDLE = 60
"""Seconds without a part after which a session's sequence begins again."""


@dataclass(frozen=True)
class Release:
    """How the releases differ."""

    posts_at_once: int | None = POSTS_AT_ONCE
    refuses_when_full: bool = True
    drops_waiting_turns: bool = True
    outbound_limit: int = 100
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


@dataclass(frozen=True)
class Turn:
    """What the bot's runner does with a message: it thinks for some seconds, and gives replies.

    `replies` has the number of parts of each reply; without any, it stays silent. `pauses` are the seconds
    between two parts, at the least. `pushes` says that the replies name no message.
    """

    thinks: float = 0
    replies: tuple[int, ...] = (1,)
    kind: str = "whole"
    """Or "breaks", "unmarked" (without a final part), "empty" (its last part), "huge"."""

    streams: bool = True
    pushes: bool = False
    pauses: float = 0.05


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
class _Outbound:
    """A session's parts on their way to the relay."""

    sequence: int = 0
    queue: deque[Part] = field(default_factory=deque)
    posting: bool = False
    idle_since: float = math.inf
    """When the last of them was posted."""


@dataclass(eq=False)
class _Sync:
    """A sync call that waits, and the segments for it."""

    caller: Task
    segments: list[dict[str, Any]] = field(default_factory=list)


@dataclass(eq=False)
class _Adapter:
    """The bot as it was saved. A turn is finished by the one with which it began, and with its secrets."""

    inbound: str
    outbound: str
    process: Process
    """Posts the parts."""
    keys: "dict[str, tuple[float, Accepted | None]]" = field(default_factory=dict)
    outbounds: dict[str, _Outbound] = field(default_factory=dict)
    syncs: dict[str, _Sync] = field(default_factory=dict)


@dataclass(eq=False)
class Accepted:
    """A message that LangBot accepted, and what became of it there."""

    id: str
    session: str
    text: str
    key: str
    at: float
    adapter: _Adapter
    key_forgotten_at: float | None = None
    told: bool = False
    """Whether the response reached push."""


@dataclass(frozen=True)
class Answer:
    """A response to push."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    burned: str | None = None
    """The key that it uses up by refusing."""


def _own(
    status: int, code: int | str | None, text: str, data: Any = None, burned: str | None = None
) -> Answer:
    return Answer(status, json.dumps({"code": code, "msg": text, "data": data}).encode(), burned=burned)


class LangBot:
    """One bot in a LangBot of its own. `post` posts a part to its callback URL."""

    def __init__(
        self, world: World, faults: Faults, name: str, release: str, post: Callable[..., int | None]
    ) -> None:
        self.world, self.faults, self.name = world, faults, name
        self.release, self._post = RELEASES[release], post
        self.chance = world.chance(f"langbot {name}")
        self.process = Process(f"langbot {name}")
        inbound, outbound = (f"SECRET-{way}-of-{name}-0123456789" for way in ("in", "out"))
        self._adapter = _Adapter(inbound, outbound, Process(f"langbot {name}"))
        self._adapters = [self._adapter]
        self.form = {"inbound": inbound, "outbound": outbound}
        """The secrets that it was saved with. It may not use them yet."""
        self.inbound_since = [(0.0, inbound)]
        """The inbound secrets that it has had, and since when."""
        self.up, self.found = True, True
        self.runner: Callable[[Accepted], Turn] = self._improvise
        self.accepted: list[Accepted] = []
        self.parts: list[Part] = []
        self.refused: set[str] = set()
        """The keys of messages that it refused as invalid."""
        self.burned: dict[str, Process | None] = {}
        """The keys that it used up by refusing, each with the process that was told so, if one was."""
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
        self._busy: set[str] = set()
        """The sessions that have a turn."""
        self._waiting: deque[Accepted] = deque()
        self._running = 0
        self._reading = 0
        self._ids = 0

    @property
    def inbound(self) -> str:
        """The secret that messages must be signed with."""
        return self._adapter.inbound

    @property
    def outbound(self) -> str:
        """The secret that the parts of new turns are signed with."""
        return self._adapter.outbound

    # ---------------------------------------------------------------- what operators do to it

    def restart(self, seconds: float) -> None:
        """Stop for a while, and forget everything."""
        self.world.note(self.name, "restarts")
        self._forget_keys()
        for process in [self.process, *(adapter.process for adapter in self._adapters)]:
            self.world.kill(process)
        self.process = Process(f"langbot {self.name}")
        self._replace_adapter()
        self._adapters = [self._adapter]
        self._busy.clear()
        self._waiting.clear()
        self._running = self._reading = 0
        self.up = False
        if self.faults.has(Trouble.CLOCKS):
            self.clock_error, self.clock_was_set = self.chance.uniform(-200, 200), True
        self.world.sleep(seconds)
        self.up = True

    def save(self, seconds: float, **secrets: str) -> bool:
        """Save the bot, with other secrets or the same; return whether it is reloaded.

        If it is not, it goes on with the secrets that it had until it is saved again or restarts, whether it
        has kept the new ones or not.
        """
        is_reloaded = not (self.release.saving_clears_queues and self._strikes(Trouble.LANGBOT, 0.2))
        self.world.note(self.name, "is saved" if is_reloaded else "is saved, and goes on with what it had")
        if is_reloaded or self.chance.random() < 0.5:
            self.form |= secrets
        old = self._adapter
        # The part that is being posted, or waits for its next attempt, is lost.
        self.world.kill(old.process)
        old.process = Process(f"langbot {self.name}")
        for outbound in old.outbounds.values():
            outbound.posting = False
        if not is_reloaded:
            self.world.sleep(RELOAD_TIMEOUT)
            return False
        self._forget_keys()
        if self.release.saving_clears_queues:
            old.outbounds.clear()
            old.syncs.clear()
        self._replace_adapter()
        self.found = False
        self.world.sleep(seconds)
        self.found = True
        return True

    def _replace_adapter(self) -> None:
        self._adapter = _Adapter(self.form["inbound"], self.form["outbound"], Process(f"langbot {self.name}"))
        self._adapters.append(self._adapter)
        self.inbound_since.append((self.world.now, self.inbound))

    def inbound_at(self, moment: float) -> str:
        """Return the inbound secret that it had at a time."""
        return next(secret for since, secret in reversed(self.inbound_since) if since <= moment)

    # ---------------------------------------------------------------- what push posts

    def receive(self, path: str, headers: dict[str, str], raw: bytes) -> Answer:
        """Answer a request to its webhook."""
        if not self.found:
            return Answer(404, b'{"error": "Bot not found"}')
        limit = self.release.posts_at_once
        if limit and (self._reading >= limit or self._strikes(Trouble.LANGBOT, 0.05)):
            return _own(429, "blocking_work_capacity_exceeded", "too many requests")
        self._reading += 1
        self.world.sleep(self.chance.random() * 0.2)
        self._reading -= 1
        return self._handle(path, headers, raw)

    def _handle(self, path: str, headers: dict[str, str], raw: bytes) -> Answer:
        adapter = self._adapter
        if len(raw) > 1 << 20:
            return _own(413, 41301, "message too large")
        if fault := self._signature_fault(headers, raw):
            return _own(401, 40101, f"invalid signature: {fault}")
        try:
            fields = json.loads(raw)
        except ValueError:
            return _own(400, 40001, "body is not valid JSON")
        if not isinstance(fields, dict):
            return _own(400, 40001, "body must be a JSON object")
        if path == "/reset":
            return self._internal_error("'HttpBotAdapter' object has no attribute 'ap'")
        if not {"session_id", "message"} <= fields.keys():
            return _own(400, 40001, "session_id and message are required")
        key = headers["X-LB-Idempotency-Key"]
        self._expire_keys()
        if key in adapter.keys:
            return _own(409, 40901, "idempotency key already accepted")
        if self.release.refuses_when_full and self._strikes(Trouble.LANGBOT, 0.02):
            return _own(503, 50301, "idempotency capacity reached; retry later")
        adapter.keys[key] = (self.world.now, None)
        segments, session_id = fields["message"], fields["session_id"]
        if not isinstance(segments, list) or "REFUSE" in str(segments):
            self.refused.add(key)
            return self._burn(key, 400, 40001, "failed to parse message: unknown segment")
        if path == "/sync" and session_id in adapter.syncs:
            return self._burn(key, 409, 40901, "a sync request is already in flight for this session")
        if self.release.refuses_when_full and self._strikes(Trouble.LANGBOT, 0.12):
            return self._burn(key, 503, 50301, "too many inbound messages are already being processed")
        text = "".join(segment.get("text", "") for segment in segments)
        message = self._accept(adapter, session_id, text, key)
        if path == "/sync":
            return self._sync(adapter, message)
        if self._strikes(Trouble.LANGBOT, 0.03):
            return self._internal_error("internal error")
        data = {"accepted_message_id": message.id, "aggregating": True, "session_id": message.session}
        return _own(202, 0, "accepted", data)

    def _signature_fault(self, headers: dict[str, str], raw: bytes) -> str | None:
        timestamp, signature = headers.get("X-LB-Timestamp"), headers.get("X-LB-Signature")
        if not timestamp or not signature:
            return "missing_headers"
        try:
            signed_at = int(float(timestamp))
        except ValueError:
            return "bad_timestamp"
        if abs(int(self._clock()) - signed_at) > SIGNATURE_WINDOW:
            return "expired"
        return None if sign(self.inbound, timestamp, raw) == signature else "signature_mismatch"

    def _internal_error(self, text: str) -> Answer:
        code = self.release.internal_error
        return _own(500, code, text) if code else Answer(500, json.dumps({"error": text}).encode())

    def _burn(self, key: str, status: int, code: int, text: str) -> Answer:
        self.burned[key] = None
        return _own(status, code, text, burned=key)

    def _accept(self, adapter: _Adapter, session: str, text: str, key: str) -> Accepted:
        self._ids += 1
        message = Accepted(f"in_{self.name}_{self._ids:03}", session, text, key, self.world.now, adapter)
        self.world.note(self.name, f"accepts {text[:12]!r} of {session} as {message.id} under {key}")
        self.accepted.append(message)
        adapter.keys[key] = (self.world.now, message)
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

    def _sync(self, adapter: _Adapter, message: Accepted) -> Answer:
        sync = adapter.syncs[message.session] = _Sync(self.world.current)
        self.world.suspend(SYNC_WAIT)
        adapter.syncs.pop(message.session, None)
        data = {"accepted_message_id": message.id, "reply_to": message.id, "message": sync.segments}
        return _own(200, 0, "ok", data)

    def _forget_keys(self) -> None:
        for _, message in self._adapter.keys.values():
            if message:
                message.key_forgotten_at = self.world.now

    def _expire_keys(self) -> None:
        for key, (at, message) in list(self._adapter.keys.items()):
            if at + KEY_LIFETIME <= self.world.now:
                del self._adapter.keys[key]
                if message:
                    message.key_forgotten_at = self.world.now

    # ---------------------------------------------------------------- turns

    def _absorbed(self, message: Accepted) -> bool:
        """Tell whether another turn takes the message in: merged with one that waits, or steered."""
        if not self._strikes(Trouble.ODD_TURNS, 0.3):
            return False
        waits = any(other.session == message.session for other in self._waiting)
        return waits or message.session in self._busy

    def _start_turns(self) -> None:
        for message in list(self._waiting):
            if self._running < self.workers and message.session not in self._busy:
                self._waiting.remove(message)
                self._busy.add(message.session)
                self._running += 1
                self.world.spawn(self.process, partial(self._take_turn, message))

    def _take_turn(self, message: Accepted) -> None:
        turn, saved_as = self.runner(message), self._adapter
        if not turn.replies:
            self.world.note(self.name, f"stays silent on {message.id}")
        self.world.sleep(turn.thinks)
        self._reply(message, turn)
        fails = self.release.saving_fails_turns and self._adapter is not saved_as
        if fails and turn.replies and turn.kind != "breaks" and not turn.pushes:
            segments = [{"type": "Plain", "text": "REPLY Request failed."}]
            self._emit(message.adapter, message.session, message.id, True, segments, True)
        self._busy.remove(message.session)
        self._running -= 1
        self._start_turns()

    def _improvise(self, message: Accepted) -> Turn:
        """Return what the runner of a bot of a world does."""
        chance = self.chance
        if self._strikes(Trouble.SILENCE, 0.25):
            return Turn(chance.choice([1, 20, 120]), ())
        slow = [60] if self.faults.has(Trouble.SILENCE) else []
        thinks = chance.choice([0.1, 0.5, 2, 5, 20, *slow]) * chance.random()
        replies, kind = 1, "whole"
        if self.faults.has(Trouble.ODD_TURNS) and chance.random() < 0.4:
            kind = chance.choice(["breaks", "unmarked", "several", "several", "empty", "empty", "huge"])
            if kind == "several":
                replies, kind = chance.choice([2, 3]), "whole"
        pushes = self.replies_by_push or (self.faults.has(Trouble.PUSHES) and chance.random() < 0.2)
        parts = tuple(1 if pushes else chance.choice([1, 1, 2, 4, 7]) for _ in range(replies))
        streams = max(parts) > 1 or chance.random() < 0.8
        return Turn(thinks, parts, kind, streams, pushes)

    def _reply(self, message: Accepted, turn: Turn) -> None:
        chance, adapter = self.chance, message.adapter
        stream = turn.streams or self.release.streams_every_reply
        for number, count in enumerate(turn.replies):
            text = f"REPLY {message.id} {number}:"
            if turn.kind == "huge":
                text += "x" * MAX_ITEM_BYTES
            for n in range(count):
                text += f" word{n}"
                last = n == count - 1
                final = last and turn.kind not in ("breaks", "unmarked")
                shown = "REPLY Sorry, it failed" if last and turn.kind == "breaks" else text
                segments = [] if last and turn.kind == "empty" else [{"type": "Plain", "text": shown}]
                if turn.pushes:
                    quote = [{"type": "Quote", "id": message.id}] if chance.random() < 0.5 else []
                    self._emit(adapter, message.session, "", True, quote + segments)
                else:
                    self._emit(adapter, message.session, message.id, final, segments, stream)
                self.world.sleep(turn.pauses + chance.random() * 0.3)

    def push(self, session_id: str) -> None:
        """Say something unasked."""
        self._emit(self._adapter, session_id, "", True, [{"type": "Plain", "text": "REPLY unasked"}])

    # ---------------------------------------------------------------- callbacks

    def _emit(
        self,
        adapter: _Adapter,
        session_id: str,
        reply_to: str,
        is_final: bool,
        segments: list[dict[str, Any]],
        stream: bool = False,
    ) -> None:
        outbound = self._outbound(adapter, session_id)
        outbound.sequence += 1
        body = {
            "session_id": session_id,
            "reply_to": reply_to,
            "sequence": outbound.sequence,
            "is_final": is_final,
            "stream": stream,
            "message": segments,
            "timestamp": self._host_time(),
        }
        if is_final:
            outbound.sequence = 0
        sync = adapter.syncs.get(session_id)
        if sync and (reply_to or self.release.push_ends_sync):
            # Whichever turn it belongs to.
            sync.segments.extend(segments)
            if is_final:
                self.world.wake(sync.caller)
            return
        raw = json.dumps(body, ensure_ascii=False).encode()
        text = "".join(segment.get("text", "") for segment in segments)
        part = Part(session_id, reply_to, is_final, raw, text, self.world.now, adapter.outbound)
        self.parts.append(part)
        outbound.queue.append(part)
        if len(outbound.queue) > self.outbound_limit:
            self.world.note(self.name, "drops a part from its queue")
            outbound.queue.popleft()
        if not outbound.posting:
            outbound.posting, outbound.idle_since = True, math.inf
            self.world.spawn(adapter.process, lambda: self._post_all(adapter, outbound))

    def _outbound(self, adapter: _Adapter, session_id: str) -> _Outbound:
        outbound = adapter.outbounds.get(session_id)
        forgotten = outbound and self.world.now - outbound.idle_since >= OUTBOUND_IDLE
        if outbound is None or (forgotten and self.release.forgets_idle_sessions):
            outbound = adapter.outbounds[session_id] = _Outbound()
        return outbound

    def _post_all(self, adapter: _Adapter, outbound: _Outbound) -> None:
        while outbound.queue:
            part = outbound.queue.popleft()
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
        outbound.posting, outbound.idle_since = False, self.world.now

    def _strikes(self, trouble: Trouble, rate: float) -> bool:
        return not self.healthy and self.faults.strikes(trouble, rate)

    @property
    def busy(self) -> bool:
        """Tell whether LangBot is about to do anything."""
        outbounds = (outbound for adapter in self._adapters for outbound in adapter.outbounds.values())
        return bool(self._waiting or self._running) or any(outbound.posting for outbound in outbounds)

    def _clock(self) -> float:
        return self.world.now + self.clock_error

    def _host_time(self) -> str:
        moment = datetime.fromtimestamp(self._clock() + self.zone, UTC).replace(tzinfo=None)
        return moment.isoformat(timespec="microseconds")
