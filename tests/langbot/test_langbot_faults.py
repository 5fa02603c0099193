"""Nothing is lost or stored twice if LangBot or the relay fails for a while."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256

import pytest

from langbot.bridge import Bridge
from langbot.peer.peer import DISCARD, Peer
from langbot.proxy import Server
from support.waiting import eventually

pytestmark = pytest.mark.timeout(1200)  # the first test boots LangBot

LANGBOT_HANDLES_AT_ONCE = 100


class HeldWebhook(Server):
    """A webhook that LangBot calls for each message; it does not answer for discarded ones until `free`."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()
        self.held: list[bytes] = []

    def respond(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if DISCARD.encode() in body:
            self.held.append(body)
            self.free.wait()
        return 200, b"{}"


@contextmanager
def busy(peer: Peer) -> Iterator[threading.Event]:
    """Make LangBot refuse every message until the event is set.

    LangBot handles 100 messages at once, and a message is handled while LangBot waits for its webhook. A busy
    LangBot does not call the webhook for each message.
    """
    with HeldWebhook() as webhook:
        remove = peer.add_webhook(webhook.url)
        try:
            with ThreadPoolExecutor(4) as threads:
                while len(webhook.held) < LANGBOT_HANDLES_AT_ONCE:
                    list(threads.map(lambda n: peer.post(f"busy-{n}", DISCARD), range(4)))
            yield webhook.free
        finally:
            webhook.free.set()
            remove()


@pytest.mark.since("4.10.7")  # earlier releases refuse nothing
def test_refused_message_gets_a_fresh_key(bridge: Bridge, session: str) -> None:
    with busy(bridge.peer) as free:
        sent = bridge.push_queue.push(session, "let me in")
        eventually(lambda: bridge.to_bot.of(session), what="LangBot refuses the message")
        free.set()

    assert bridge.conversation(session).wait(sent, timeout=180).text == "echo: let me in"

    attempts = bridge.to_bot.of(session)
    assert [attempt.status for attempt in attempts] == [503] * (len(attempts) - 1) + [202]
    assert len(attempts) > 1
    keys = [attempt.headers["X-LB-Idempotency-Key"] for attempt in attempts]
    assert len(set(keys)) == len(keys)
    # With the first key LangBot would have called the message a duplicate.
    burned = bridge.peer.post(session, "let me in", keys[0])
    assert (burned.status_code, burned.json()["code"]) == (409, 40901)


def test_message_waits_while_langbot_does_not_have_the_bot(bridge: Bridge, session: str) -> None:
    bridge.peer.change_bot(enable=False)
    try:
        sent = bridge.push_queue.push(session, "are you there?")
        eventually(lambda: bridge.to_bot.of(session), what="LangBot refuses the message")
    finally:
        bridge.peer.change_bot(enable=True)

    assert bridge.conversation(session).wait(sent, timeout=180).text == "echo: are you there?"
    *refused, accepted = [attempt.status for attempt in bridge.to_bot.of(session)]
    assert set(refused) <= {404, 403}  # 403 by 4.10.6
    assert accepted == 202


def test_part_is_kept_once_and_in_order_however_often_it_is_sent(bridge: Bridge, session: str) -> None:
    bridge.to_relay.fail(session, "answer 500", "answer 500", "drop after")

    sent = bridge.push_queue.push(session, "LONG:40:20")
    turn = bridge.conversation(session).wait(sent, timeout=180)

    calls = bridge.to_relay.of(session)
    assert [call.status for call in calls[:4]] == [500, 500, None, 200]
    assert len({call.body for call in calls[:4]}) == 1
    emitted = list(dict.fromkeys(sha256(call.body).hexdigest() for call in calls))
    assert len(emitted) >= 5
    assert [part["digest"] for part in turn.parts] == emitted
