"""150 messages at a LangBot that holds 100: what it does with them, and what the relay spares it."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest

from langbot.bridge import Bridge, until
from relay import Sent
from relay.rules.ledger import message_key
from relay.rules.message import session_key

pytestmark = pytest.mark.timeout(900)  # the first test installs LangBot

MESSAGES = 150
LANGBOT_HOLDS = 100
LANGBOT_ANSWERS_AT_ONCE = 20
MAX_AWAITING = 50


@contextmanager
def without_flow_control(bridge: Bridge) -> Iterator[None]:
    """As if the stack had been deployed with MaxAwaiting=0."""
    functions = bridge.stack.client("lambda")
    push = bridge.stack.client("cloudformation").describe_stack_resource(
        StackName="relay-local", LogicalResourceId="PushFunction"
    )["StackResourceDetail"]["PhysicalResourceId"]
    before = functions.get_function_configuration(FunctionName=push)["Environment"]["Variables"]
    assert before["MAX_AWAITING"] == str(MAX_AWAITING)
    change = partial(functions.update_function_configuration, FunctionName=push)
    change(Environment={"Variables": before | {"MAX_AWAITING": "0"}})
    try:
        yield
    finally:
        change(Environment={"Variables": before})


def push(bridge: Bridge, session: str) -> list[Sent]:
    """Messages of a session each, which the model answers no earlier than it is told to."""
    with ThreadPoolExecutor(4) as threads:
        return list(
            threads.map(lambda n: bridge.queue.push(f"{session}-{n}", f"HOLD {session} {n}"), range(MESSAGES))
        )


def states(bridge: Bridge, sent: list[Sent]) -> Counter[str]:
    return Counter(bridge.ledger(one).get("state", "in the queue") for one in sent)


def held(bridge: Bridge, session: str) -> list[str]:
    return [text for text in bridge.model.held if session in text]


def replies(bridge: Bridge, session: str) -> int:
    """Of how many sessions LangBot's final part was taken, while the model answers all that it is asked."""
    bridge.model.release()
    return sum(
        any(
            call.status == 200 and b'"is_final": true' in call.body
            for call in bridge.to_relay.of(f"{session}-{n}")
        )
        for n in range(MESSAGES)
    )


def test_without_flow_control_langbot_drops_the_oldest_without_a_word(bridge: Bridge, session: str) -> None:
    with without_flow_control(bridge):
        sent = push(bridge, session)
        until("all are accepted", lambda: states(bridge, sent) == {"delivered": MESSAGES}, 60)
        assert {[e.status for e in bridge.to_bot.of(one.session_id)][-1] for one in sent} == {202}
        until("LangBot has answered what it holds", lambda: replies(bridge, session) == LANGBOT_HOLDS, 90)
        # It takes its messages in order: with this one answered, there is none before it.
        bridge.conversation(session).wait(bridge.queue.push(session, "are you done?"))
        until("LangBot's replies are settled", lambda: states(bridge, sent)["answered"] == LANGBOT_HOLDS)
    assert len(held(bridge, session)) == LANGBOT_HOLDS
    lost = [one for one in sent if bridge.ledger(one)["state"] == "delivered"]
    assert len(lost) == MESSAGES - LANGBOT_HOLDS
    forget(bridge, lost)


def forget(bridge: Bridge, lost: list[Sent]) -> None:
    """Takes messages out of the ledger, where each would keep its place for minutes."""
    for one in lost:
        session, message = session_key(one.bot, one.session_id), message_key(one.sequence_number)
        bridge.stack.client("dynamodb").delete_item(
            TableName=bridge.stack.outputs["MessagesTableName"],
            Key={"session": {"S": session}, "message": {"S": message}},
        )


def test_with_flow_control_langbot_answers_all(bridge: Bridge, session: str) -> None:
    sent = push(bridge, session)
    full = {"delivered": MAX_AWAITING, "in the queue": MESSAGES - MAX_AWAITING}
    until("LangBot has all that it is given", lambda: states(bridge, sent) == full, 60)
    until("LangBot is busy", lambda: len(held(bridge, session)) == LANGBOT_ANSWERS_AT_ONCE)
    assert states(bridge, sent) == full
    until("LangBot has answered all", lambda: replies(bridge, session) == MESSAGES, 120)
    until("its replies are settled", lambda: states(bridge, sent) == {"answered": MESSAGES})
    assert {bridge.ledger(one)["attempts"] for one in sent} == {1}
