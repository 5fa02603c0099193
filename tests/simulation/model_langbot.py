"""LangBot in a world: in simulated time, with a runner that improvises, and with troubles."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import inf

from local import http_bot
from local.http_bot import RELEASES, Accepted, HttpBot, Part, Request, Response, Said, SyncCall
from simulation.faults import Faults, Trouble
from simulation.model_dynamodb import MAX_ITEM_BYTES
from simulation.world import Process, Task, World

__all__ = ["Accepted", "LangBot", "Part", "Turn"]

RELOAD_TIMEOUT = 15
"""Seconds after which it gives up to reload a bot that was saved."""


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


class LangBot(HttpBot):
    """One bot in a LangBot of its own. `post` posts a part to its callback URL."""

    def __init__(
        self, world: World, faults: Faults, name: str, release: str, post: Callable[..., int | None]
    ) -> None:
        inbound, outbound = (f"SECRET-{way}-of-{name}-0123456789" for way in ("in", "out"))
        super().__init__(RELEASES[release], "/bots/1", inbound, outbound)
        self.world, self.faults, self.name, self._post_to_relay = world, faults, name, post
        self.chance = world.chance(f"langbot {name}")
        self.process = Process(f"langbot {name}")
        self.form = {"inbound": inbound, "outbound": outbound}
        """The secrets that it was saved with. It may not use them yet."""
        self.inbound_since = [(0.0, inbound)]
        """The inbound secrets that it has had, and since when."""
        self.up, self.found = True, True
        self.runner: Callable[[Accepted], Turn] = self._improvise
        self.refused: set[str] = set()
        """The keys of messages that it refused as invalid."""
        self.burned: dict[str, Process | None] = {}
        """The keys that it used up by refusing, each with the process that was told so, if one was."""
        self.healthy = False
        self.start_delay = 0.3  # most turns of LangBot begin later than the earliest
        limit = faults.scenario.max_in_flight or 50
        # LangBot holds 100, and MaxInFlight is 50 by default. The few messages that the relay does not count
        # in time, such as sync calls, do not become fewer with it.
        self.max_turns = max(2 * limit, limit + 10)
        if faults.has(Trouble.SMALL_QUEUES):
            self.max_running_turns, self.outbound_limit = max(1, limit * 2 // 5), 3
        self.replies_by_push = faults.has(Trouble.PUSHES) and self.chance.random() < 0.3
        self.zone = self.chance.choice([0, 0, 8, -5, 5.5]) * 3600
        self.clock_error = self.chance.uniform(-200, 200) if faults.has(Trouble.CLOCKS) else 0.0
        self.clock_was_set = False
        self._calls: dict[SyncCall, Task] = {}
        """The sync calls that wait, each with the task that waits for its response."""
        self._alarm = inf
        """When the next task that lets it do what is due will come."""
        self._ids = 0

    @property
    def inbound(self) -> str:
        """The secret that messages must be signed with."""
        return self.adapter.inbound

    @property
    def outbound(self) -> str:
        """The secret that the parts of new turns are signed with."""
        return self.adapter.outbound

    @property
    def busy(self) -> bool:
        """Tell whether LangBot is about to do anything."""
        return bool(self.process.tasks)

    @property
    def dropped_turns(self) -> int:
        return len(self.dropped)

    # ---------------------------------------------------------------- what operators do to it

    def restart(self, seconds: float) -> None:
        """Stop for a while, and forget everything."""
        self.world.note(self.name, "restarts")
        self.world.kill(self.process)
        self.process = Process(f"langbot {self.name}")
        self._calls.clear()
        self._alarm = inf
        self.boot(**self.form, now=self.world.now)
        self.inbound_since.append((self.world.now, self.inbound))
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
        if not is_reloaded:
            self.adapter.stop_posting()
            self.world.sleep(RELOAD_TIMEOUT)
            return False
        self.reload(**self.form, now=self.world.now)
        self._attend()
        self.inbound_since.append((self.world.now, self.inbound))
        self.found = False
        self.world.sleep(seconds)
        self.found = True
        return True

    def inbound_at(self, moment: float) -> str:
        """Return the inbound secret that it had at a time."""
        return next(secret for since, secret in reversed(self.inbound_since) if since <= moment)

    # ---------------------------------------------------------------- requests and callbacks

    def receive(self, path: str, headers: dict[str, str], raw: bytes) -> Response:
        """Answer a request to its webhook."""
        if not self.found:
            return http_bot.NOT_FOUND
        crowded = self.release.posts_at_once and self._strikes(Trouble.LANGBOT, 0.05)
        if refused := http_bot.CROWDED if crowded else self.start_reading():
            return refused
        self.world.sleep(self.chance.random() * 0.2)
        request = Request(
            "POST", self.path + path, {name.lower(): value for name, value in headers.items()}, raw
        )
        given = self.answer(request, self.world.now, self._refusal(raw))
        self._attend()
        if isinstance(given, SyncCall):
            self._calls[given] = self.world.current
            self.world.suspend()
            assert given.response
            return given.response
        if given.message and self._strikes(Trouble.LANGBOT, 0.03):
            return self.internal_error("internal error")
        if given.burned:
            self.burned[given.burned] = None
            if given.status == 400:
                self.refused.add(given.burned)
        return given

    def push(self, session_id: str) -> None:
        """Say something unasked."""
        self.say(session_id, [{"type": "Plain", "text": "REPLY unasked"}], self.world.now)
        self._attend()

    def _refusal(self, raw: bytes) -> Response | None:
        if b"REFUSE" in raw:
            return http_bot.UNPARSED
        if not self.release.refuses_when_full:
            return None
        strikes = partial(self._strikes, Trouble.LANGBOT)
        return http_bot.KEYS_FULL if strikes(0.02) else http_bot.OVERLOADED if strikes(0.12) else None

    def _attend(self) -> None:
        """Post what is to be posted, answer the sync calls, and come back when something is due."""
        for part in self.to_post:
            self.world.spawn(self.process, partial(self._post_part, part))
        self.to_post.clear()
        for call in [call for call in self._calls if call.response]:
            self.world.wake(self._calls.pop(call))
        if self.due < self._alarm:
            self._alarm = self.due
            self.world.spawn(self.process, partial(self._ring, self._alarm), self._alarm - self.world.now)

    def _ring(self, alarm: float) -> None:
        if alarm == self._alarm:
            self._alarm = inf
            self.run(self.world.now)
            self._attend()

    def _post_part(self, part: Part) -> None:
        status = self._post_to_relay(self.name, part.headers, part.raw)
        self.posted(part, status, self.world.now)
        self.world.note(self.name, f"posted {part.reply_to or 'a push'} {part.is_final}: {part.seen}")
        self._attend()

    def _strikes(self, trouble: Trouble, rate: float) -> bool:
        return not self.healthy and self.faults.strikes(trouble, rate)

    # ---------------------------------------------------------------- turns

    def new_id(self) -> str:
        """Return its name and a number."""
        self._ids += 1
        return f"{self.name}_{self._ids:03}"

    def accept(self, message: Accepted) -> None:
        """Let another turn take a message in, now and then, or give it its own."""
        self.world.note(
            self.name,
            f"accepts {message.text[:12]!r} of {message.session} as {message.id} under {message.key}",
        )
        if not (self._strikes(Trouble.ODD_TURNS, 0.3) and self.has_turn(message.session)):
            self.take(message)

    def script(self, message: Accepted) -> Iterator[Said]:
        """Say what the runner gives."""
        turn, chance = self.runner(message), self.chance
        if not turn.replies:
            self.world.note(self.name, f"stays silent on {message.id}")
        pause = turn.thinks
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
                if turn.pushes and chance.random() < 0.5:
                    segments.insert(0, {"type": "Quote", "id": message.id})
                yield Said(pause, segments, final, turn.streams, turn.pushes)
                pause = turn.pauses + chance.random() * 0.3
        yield Said(pause)

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
