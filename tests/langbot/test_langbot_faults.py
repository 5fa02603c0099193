"""Nothing is lost or doubled when LangBot or the relay fails for a while."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256

import pytest
from langbot.bridge import Bridge, until
from langbot.faults import Server
from langbot.peer.langbot import Peer

pytestmark = pytest.mark.timeout(900)  # the first test installs LangBot

LANGBOT_HANDLES_AT_ONCE = 100
LANGBOT_WAITS_FOR_A_WEBHOOK = 15


class SlowWebhook(Server):
    """What LangBot asks about each message; it says nothing of ours until `free`, then to skip them."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.free = threading.Event()
        self._one_by_one = threading.Lock()

    def respond(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        ours = b"keep-busy-" in body
        if ours:
            with self._one_by_one:
                self.asked += 1
            self.free.wait(LANGBOT_WAITS_FOR_A_WEBHOOK)
            # LangBot reads a few answers at a time and takes the others for none.
            with self._one_by_one:
                time.sleep(0.02)
        return 200, json.dumps({"skip_pipeline": ours}).encode()


@contextmanager
def busy(peer: Peer) -> Iterator[threading.Event]:
    """LangBot refuses every message until the event is set, or its webhook's 15 s are over.

    A message is being handled while LangBot waits for a webhook, and it handles 100 at once.
    """

    def post(number: int) -> int:
        return peer.post(f"keep-busy-{number}", "wait").status_code

    with SlowWebhook() as webhook:
        remove = peer.add_webhook(webhook.url)
        try:
            with ThreadPoolExecutor(3) as threads:
                assert set(threads.map(post, range(LANGBOT_HANDLES_AT_ONCE))) == {202}
            yield webhook.free
        finally:
            webhook.free.set()
            until("LangBot asked about each message", lambda: webhook.asked == LANGBOT_HANDLES_AT_ONCE)
            remove()


def test_refused_message_gets_a_fresh_key(bridge: Bridge, session: str) -> None:
    with busy(bridge.peer) as free:
        sent = bridge.queue.push(session, "let me in")
        until("LangBot refuses the message", lambda: bridge.to_bot.of(session))
        free.set()

    assert bridge.conversation(session).wait(sent).text == "echo: let me in"

    attempts = bridge.to_bot.of(session)
    assert [attempt.status for attempt in attempts] == [503] * (len(attempts) - 1) + [202]
    assert len(attempts) > 1
    keys = [attempt.headers["X-LB-Idempotency-Key"] for attempt in attempts]
    assert len(set(keys)) == len(keys)
    # With the first key, LangBot would have called the message a duplicate and dropped it.
    burned = bridge.peer.post(session, "let me in", keys[0])
    assert (burned.status_code, burned.json()["code"]) == (409, 40901)


def test_part_is_kept_once_and_in_order_however_often_it_is_sent(bridge: Bridge, session: str) -> None:
    bridge.to_relay.fail(session, "answer 500", "answer 500", "drop after")

    sent = bridge.queue.push(session, "LONG:40:20")
    turn = bridge.conversation(session).wait(sent)

    calls = bridge.to_relay.of(session)
    assert [call.status for call in calls[:4]] == [500, 500, None, 200]
    assert len({call.body for call in calls[:4]}) == 1
    emitted = list(dict.fromkeys(sha256(call.body).hexdigest() for call in calls))
    assert len(emitted) >= 5
    assert [part["digest"] for part in turn.parts] == emitted
