"""Half as many messages again as LangBot holds, with and without admission control."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest

from langbot.bridge import Bridge
from langbot.peer.peer import HOLDS, RUNS_AT_ONCE
from relay import SentMessage
from relay.domain.admission import LEASES
from support.waiting import eventually

pytestmark = pytest.mark.timeout(1500)  # the first test boots LangBot

MESSAGES = HOLDS * 3 // 2
MAX_IN_FLIGHT = HOLDS // 2


@contextmanager
def max_in_flight(bridge: Bridge, value: int) -> Iterator[None]:
    """Run the stack as if it was deployed with this MaxInFlight; 0 is no admission control."""
    bridge.forget_open_messages()  # of other tests: they would keep slots
    functions = bridge.deployed.client("lambda")
    push = bridge.deployed.physical_id("PushFunction")
    before = functions.get_function_configuration(FunctionName=push)["Environment"]["Variables"]
    change = partial(functions.update_function_configuration, FunctionName=push)
    change(Environment={"Variables": before | {"MAX_IN_FLIGHT": str(value)}})
    try:
        yield
    finally:
        change(Environment={"Variables": before})


def push(bridge: Bridge, session: str) -> list[SentMessage]:
    """Push messages of a session each; the model holds its answers until it is released."""
    with ThreadPoolExecutor(4) as threads:
        return list(
            threads.map(
                lambda n: bridge.push_queue.push(f"{session}-{n}", f"HOLD {session} {n}"), range(MESSAGES)
            )
        )


def states(bridge: Bridge, sent: list[SentMessage]) -> Counter[str]:
    records = map(bridge.deployed.record, sent)
    return Counter(record["state"] if record else "in the queue" for record in records)


def is_full(bridge: Bridge, sent: list[SentMessage]) -> bool:
    """Return whether LangBot has what it may have, and the queue the rest.

    An attempt that lasts longer than a second adds one message to the limit (docs/delivery.md).
    """
    found = states(bridge, sent)
    delivered = found.pop("delivered", 0)
    return found.keys() == {"in the queue"} and MAX_IN_FLIGHT <= delivered <= MAX_IN_FLIGHT + LEASES


def held(bridge: Bridge, session: str) -> list[str]:
    return [text for text in bridge.model.held if session in text]


def replies(bridge: Bridge, session: str) -> int:
    """Let the model answer; return the number of sessions whose final part the relay accepted."""
    bridge.model.release()
    return sum(
        any(
            call.status == 200 and b'"is_final": true' in call.body
            for call in bridge.to_relay.of(f"{session}-{n}")
        )
        for n in range(MESSAGES)
    )


@pytest.mark.since("4.10.7")  # earlier releases drop nothing
def test_langbot_drops_the_oldest_without_admission_control(bridge: Bridge, session: str) -> None:
    with max_in_flight(bridge, 0):
        sent = push(bridge, session)
        eventually(lambda: states(bridge, sent) == {"delivered": MESSAGES}, 300, "all are accepted")
        assert {[e.status for e in bridge.to_bot.of(one.session_id)][-1] for one in sent} == {202}
        eventually(lambda: replies(bridge, session) >= HOLDS, 300, "LangBot has answered what it holds")
        # It takes its messages in order: with this one answered, there is none before it.
        bridge.conversation(session).wait(bridge.push_queue.push(session, "are you done?"), timeout=180)
        answered = eventually(
            lambda: n if (n := replies(bridge, session)) == len(held(bridge, session)) else 0
        )
        # One that LangBot is just beginning with is neither among those that wait nor among those that run.
        assert HOLDS <= answered <= HOLDS + 2
        expected = {"answered": answered, "delivered": MESSAGES - answered}
        eventually(lambda: states(bridge, sent) == expected, what="LangBot's replies are settled")
    bridge.forget_open_messages()


def test_langbot_answers_all_with_admission_control(bridge: Bridge, session: str) -> None:
    with max_in_flight(bridge, MAX_IN_FLIGHT):
        sent = push(bridge, session)
        eventually(lambda: is_full(bridge, sent), 300, "LangBot has all that it may have")
        eventually(lambda: len(held(bridge, session)) == RUNS_AT_ONCE, what="LangBot is busy")
        assert is_full(bridge, sent)
        eventually(lambda: replies(bridge, session) == MESSAGES, 400, "LangBot has answered all")
        eventually(lambda: states(bridge, sent) == {"answered": MESSAGES}, what="its replies are settled")
        assert {bridge.deployed.state(one, "answered")["attempts"] for one in sent} == {1}
