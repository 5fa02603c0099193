"""Agents and processors of LangBot 4.11 reply in other ways than a pipeline."""

import time
from collections.abc import Iterator

import pytest

from langbot.bridge import Bridge
from langbot.peer.peer import AGENT
from relay import SentMessage
from relay.domain.keys import message_key, session_key
from relay.domain.timestamps import utc_text
from support.waiting import eventually

pytestmark = [pytest.mark.timeout(1200), pytest.mark.since("4.11.0")]  # the first test boots LangBot


@pytest.fixture
def agent(bridge: Bridge) -> Iterator[str]:
    """Return the id of an agent that gets all messages of the test."""
    agent = bridge.peer.add_agent()
    with bridge.peer.routed(agent):
        yield agent


def words(last: int) -> str:
    return "".join(f"w{n:03} " for n in range(1, last + 1))


def hold(bridge: Bridge, session: str, *texts: str, bot: str = "default") -> list[SentMessage]:
    """Push messages of a session; return when LangBot has all of them and the model holds its answers."""
    sent = [bridge.push_queue.push(session, f"HOLD {session} {text}", bot=bot) for text in texts]
    for one in sent:
        bridge.deployed.state(one, "delivered")
    eventually(
        lambda: sum(session in text for text in bridge.model.held) == len(texts), what="LangBot is busy"
    )
    return sent


def replies(bridge: Bridge, session: str, count: int) -> list[str]:
    """Return the texts of the session's parts, once there are `count`."""
    parts = eventually(
        lambda: (p := list(bridge.conversation(session).parts()))[count - 1 :] and p, what="the parts"
    )
    return [part["text"] for part in parts]


@pytest.mark.usefixtures("agent")
def test_reply_by_a_call_is_the_probable_reply(bridge: Bridge, session: str) -> None:
    sent = bridge.push_queue.push(session, "hello")

    assert bridge.deployed.state(sent, "answered")["answer_kind"] == "probable"
    assert bridge.conversation(session).wait(sent, timeout=1).text == "agent: echo: hello"


@pytest.mark.usefixtures("agent")
def test_each_call_of_an_agent_is_kept_and_the_first_answers(bridge: Bridge, session: str) -> None:
    sent = bridge.push_queue.push(session, "REPLIES:3")

    assert replies(bridge, session, 3) == ["reply 1", "reply 2", "reply 3"]
    assert bridge.deployed.state(sent, "answered")["answer_kind"] == "probable"
    assert bridge.conversation(session).wait(sent, timeout=1).text == "reply 1"


@pytest.mark.usefixtures("agent")
def test_each_push_has_its_message_if_the_secret_says_so(bridge: Bridge, session: str) -> None:
    with bridge.known_as("agent", replies="push") as bot:
        (first,) = hold(bridge, session, "first", bot=bot)
        second = bridge.push_queue.push(session, "second", bot=bot)
        bridge.model.release()
        turns = [bridge.conversation(session, bot).wait(sent, timeout=180) for sent in (first, second)]

    assert [turn.text for turn in turns] == [f"agent: echo: HOLD {session} first", "agent: echo: second"]
    assert {bridge.deployed.state(sent, "answered")["answer_kind"] for sent in (first, second)} == {"push"}
    assert [exchange.status for exchange in bridge.to_bot.of(session)] == [202, 202]


@pytest.mark.usefixtures("agent")
def test_nothing_is_guessed_if_several_messages_wait(bridge: Bridge, session: str) -> None:
    sent = hold(bridge, session, "one", "two")
    bridge.model.release()
    assert len(replies(bridge, session, 2)) == 2

    let_the_deadline_pass(bridge, sent)

    reasons = [bridge.deployed.state(one, "unanswered", within=180)["last_error"] for one in sent]
    assert all("2 pushes" in reason for reason in reasons), reasons


def let_the_deadline_pass(bridge: Bridge, sent: list[SentMessage]) -> None:
    """Make messages overdue, which settle finds within a minute."""
    for one in sent:
        session, message = session_key(one.bot, one.session_id), message_key(one.sequence_number)
        bridge.deployed.client("dynamodb").update_item(
            TableName=bridge.deployed.stack.messages_table,
            Key={"session": {"S": session}, "message": {"S": message}},
            UpdateExpression="SET due_at = :now",
            ExpressionAttributeValues={":now": {"S": utc_text(time.time())}},
        )


@pytest.mark.usefixtures("agent")
def test_reply_that_quotes_a_message_answers_it(bridge: Bridge, session: str) -> None:
    sent = hold(bridge, session, "QUOTE one", "QUOTE two")
    bridge.model.release()

    records = [bridge.deployed.state(one, "answered") for one in sent]
    assert {record["answer_kind"] for record in records} == {"own"}
    turns = [bridge.conversation(session).wait(one, timeout=1) for one in sent]
    assert [turn.text.split()[-1] for turn in turns] == ["one", "two"]


@pytest.mark.usefixtures("agent")
def test_streamed_reply_of_an_agent_reads_as_a_pipelines(bridge: Bridge, session: str) -> None:
    sent = bridge.push_queue.push(session, "STREAM LONG:10:20")

    turn = bridge.conversation(session).wait(sent, timeout=180)

    assert (turn.text, turn.finished) == ("agent: " + words(10), True)
    assert len(turn.parts) > 2
    record = bridge.deployed.state(sent, "answered")
    assert record["answered_by"] == record["accepted_message_id"] == turn.reply_to


@pytest.mark.usefixtures("agent")
def test_stream_of_an_agent_that_breaks_off_looks_complete(bridge: Bridge, session: str) -> None:
    sent = bridge.push_queue.push(session, "STREAM LONG:60:20 BREAK")

    turn = bridge.conversation(session).wait(sent, timeout=180)

    assert (turn.text, turn.finished) == ("agent: " + words(20), True)
    assert bridge.deployed.state(sent, "answered")["answer_kind"] != "probable"


@pytest.mark.parametrize(("text", "status"), [("SILENT", "completed"), ("LONG:60:1 BREAK", "failed")])
def test_agent_that_says_nothing_leaves_its_message_open(
    bridge: Bridge, session: str, agent: str, text: str, status: str
) -> None:
    sent = bridge.push_queue.push(session, text)

    record = bridge.deployed.state(sent, "delivered")
    run = eventually(lambda: bridge.peer.runs(agent).get(record["accepted_message_id"]), what="the run's end")
    assert run == status
    assert list(bridge.conversation(session).parts()) == []
    assert bridge.deployed.record(sent) == record


def test_run_that_a_reload_cancels_leaves_its_message_open(bridge: Bridge, session: str, agent: str) -> None:
    (sent,) = hold(bridge, session, "it")
    record = bridge.deployed.state(sent, "delivered")

    bridge.peer.change_bot(enable=True)  # LangBot reloads a bot that is saved

    run = eventually(lambda: bridge.peer.runs(agent).get(record["accepted_message_id"]), what="the run's end")
    assert run == "cancelled"
    bridge.model.release()
    assert list(bridge.conversation(session).parts()) == []
    assert bridge.deployed.record(sent) == record


@pytest.mark.parametrize(
    ("route", "why"),
    [
        ("none", "No event route matched"),
        ("to a deleted agent", "Agent target not found"),
        ("to an agent without a runner", "Agent target has no runner"),
    ],
)
def test_message_without_a_living_route_is_accepted_and_stays_open(
    bridge: Bridge, session: str, route: str, why: str
) -> None:
    peer = bridge.peer
    agents = [] if route == "none" else [peer.add_agent(runner="" if "without" in route else AGENT)]
    with peer.routed(*agents):
        if "deleted" in route:
            peer.remove_agent(agents[0])
        sent = bridge.push_queue.push(session, "is anybody there?")
        record = bridge.deployed.state(sent, "delivered")
        assert eventually(peer.failed_routes, what="LangBot's reason") == {why}

    assert bridge.to_relay.of(session) == []
    assert bridge.deployed.record(sent) == record


@pytest.mark.since("4.11.2")  # 4.11.0 has no route that looks for the At
def test_group_message_is_answered_if_the_secret_adds_the_at(bridge: Bridge, session: str) -> None:
    without = bridge.push_queue.push(session, "hello", session_type="group")
    record = bridge.deployed.state(without, "delivered")
    assert eventually(bridge.peer.failed_routes, what="LangBot's reason") == {"No event route matched"}

    with bridge.known_as("group", group_at=True) as bot:
        sent = bridge.push_queue.push(session, "hello", session_type="group", bot=bot)
        turn = bridge.conversation(session, bot).wait(sent, timeout=180)

    assert turn.text.endswith("echo: hello")
    assert bridge.deployed.record(without) == record


@pytest.fixture(scope="module")
def processor(bridge: Bridge) -> str:
    return bridge.peer.add_agent("event_processor")


def test_own_reply_answers_though_a_processor_pushes_as_well(
    bridge: Bridge, session: str, processor: str
) -> None:
    with bridge.peer.processed(processor):
        sent = bridge.push_queue.push(session, "hello")
        turn = bridge.conversation(session).wait(sent, timeout=180)
        eventually(lambda: len(bridge.conversation(session).turns()) == 2, what="the processor's push")

    assert turn.text == "echo: hello"
    eventually(lambda: bridge.deployed.state(sent, "answered")["answer_kind"] == "own")


def test_stream_of_a_processor_is_read_beside_the_pipelines(
    bridge: Bridge, session: str, processor: str
) -> None:
    with bridge.peer.processed(processor):
        sent = bridge.push_queue.push(session, "STREAM LONG:40:20")
        conversation = bridge.conversation(session)
        eventually(lambda: sum(part["is_final"] for part in conversation.parts()) == 2, what="two finals")

    (turn,) = conversation.turns()
    assert sorted(segment["text"] for segment in turn.message) == ["agent: " + words(40), words(40)]
    assert turn.reply_to == bridge.deployed.state(sent, "answered")["accepted_message_id"]
