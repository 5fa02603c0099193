"""Producers that keep messages of several sessions flowing, and what became of their messages."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import count
from typing import Any, Self

from langbot.bridge import Bridge
from langbot.proxy import Exchange
from relay import ReplyTimeout, SentMessage
from relay.domain.timestamps import unix_seconds
from support.waiting import eventually

SESSIONS = 4
STREAMED = "".join(f"w{n:03} " for n in range(1, 41))

PATIENCE = 15
"""Seconds after which a producer goes on without a reply: LangBot can drop one when its bot is saved."""


@dataclass(frozen=True)
class Said:
    """A message that was pushed at `at` (Unix seconds), and the text that answers it."""

    sent: SentMessage
    at: float
    reply: str


class Load:
    """Sessions in each of which a producer pushes a message, waits for its reply, and pushes the next.

    Every second reply is streamed for two seconds. The producers work while it is entered.
    """

    def __init__(self, bridge: Bridge, name: str) -> None:
        self._bridge = bridge
        self._sessions = [f"{name}-{n}" for n in range(SESSIONS)]
        self._answered = dict.fromkeys(self._sessions, 0.0)
        self._stopped = threading.Event()
        self._threads = ThreadPoolExecutor(SESSIONS)
        self._tasks: list[Future[None]] = []
        self.said: list[Said] = []

    def __enter__(self) -> Self:
        self._tasks = [self._threads.submit(self._talk, session) for session in self._sessions]
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for task in self._tasks:
            task.result()
        self._threads.shutdown()

    def flows(self) -> None:
        """Wait until each session has a reply to a message that was pushed after now."""
        since = time.time()

        def flowing() -> bool:
            for task in self._tasks:
                if task.done():
                    task.result()
            return all(at > since for at in self._answered.values())

        eventually(flowing, what="replies in all sessions")

    def _talk(self, session: str) -> None:
        conversation = self._bridge.conversation(session)
        for n in count():
            text, reply = (f"LONG:40:50 {n}", STREAMED) if n % 2 else (f"hello {n}", f"echo: hello {n}")
            at = time.time()
            sent = self._bridge.push_queue.push(session, text)
            self.said.append(Said(sent, at, reply))
            with suppress(ReplyTimeout):
                conversation.wait(sent, PATIENCE)
                self._answered[session] = at
            if self._stopped.is_set():
                # LangBot ends a session's turns in order: with this one all have ended.
                conversation.wait(sent, timeout=180)
                return


class Outcome:
    """What became of a load's messages, on the wire and in the tables."""

    def __init__(self, bridge: Bridge, load: Load) -> None:
        self._bridge, self._said = bridge, load.said
        self._sessions = sorted({said.sent.session_id for said in load.said})

    def callback_statuses(self) -> set[int | None]:
        """Return what LangBot's callbacks were answered."""
        return {call.status for session in self._sessions for call in self._calls[session]}

    def refused_since(self, since: float) -> list[Any]:
        """Return the attempts since then (Unix seconds) that ended with LangBot's 401."""
        records = filter(None, (self._bridge.deployed.record(said.sent) for said in self._said))
        attempts = [attempt for record in records for attempt in record.get("last_attempts", [])]
        return [one for one in attempts if one.get("status") == 401 and unix_seconds(one["at"]) >= since]

    def summary(self) -> str:
        """Return what came of the messages, and what LangBot answered to push."""
        calls = [call for session in self._sessions for call in self._bridge.to_bot.of(session)]
        answers = ", ".join(f"{n} x {status}" for status, n in Counter(c.status for c in calls).items())
        parts = sum(map(len, self._calls.values()))
        return f"{len(self._said)} messages ({answers}), {parts} callbacks, {len(self.dropped())} dropped"

    def dropped(self) -> list[Said]:
        """Return the messages whose final part LangBot never posted."""
        return [said for said in self._said if not self._final_part_came(said)]

    def wrong_replies(self) -> Iterator[tuple[str, str]]:
        """Yield what replies should be and what they are, of the messages that LangBot did not drop.

        LangBot 4.10 adds a text to a turn during which its bot is saved. 4.11.2 says it in place of a reply
        if its database is locked, as it can be after a save (docs/limits.md).
        """
        for said in filter(self._final_part_came, self._said):
            self._bridge.deployed.state(said.sent, "answered")
            text = self._bridge.conversation(said.sent.session_id).wait(said.sent, timeout=60).text
            if text != "Request failed." and text.removesuffix("Request failed.") != said.reply:
                yield said.reply, text

    def sessions_not_as_emitted(self) -> list[str]:
        """Return the sessions whose parts are not in RepliesTable, each once, as LangBot emitted them."""

        def stored(session: str) -> list[str]:
            return [part["digest"] for part in self._bridge.conversation(session).parts()]

        def emitted(session: str) -> list[str]:
            # A saved bot finishes its turns beside those of its successor.
            calls = sorted(self._calls[session], key=lambda call: _body(call)["timestamp"])
            return list(dict.fromkeys(sha256(call.body).hexdigest() for call in calls))

        return [session for session in self._sessions if stored(session) != emitted(session)]

    @cached_property
    def _calls(self) -> dict[str, list[Exchange]]:
        return {session: self._bridge.to_relay.of(session) for session in self._sessions}

    def _final_part_came(self, said: Said) -> bool:
        accepted_id = self._bridge.deployed.accepted(said.sent)["accepted_message_id"]
        bodies = map(_body, self._calls[said.sent.session_id])
        return any(body["reply_to"] == accepted_id and body["is_final"] for body in bodies)


def _body(call: Exchange) -> Any:
    return json.loads(call.body)
