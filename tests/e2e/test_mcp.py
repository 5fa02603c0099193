"""What an agent sees of the deployed stack, by the client of the MCP SDK over standard input and output."""

import asyncio
import os
import sys
from uuid import uuid4

import pytest
from mcp import Client, StdioServerParameters

from relay_cli.agent_tools import MAX_EXCERPT, MAX_TEXT, MESSAGES, WARNING
from support.callbacks import reply
from support.command_line import COMMAND, ROOT
from support.parked_messages import park

READING = ["list_sessions", "read_conversation", "show_message", "doctor"]
WRITING = ["ask", "resend", "drop"]


@pytest.fixture
def agent(talk, relay):
    """Let an agent make some calls, each a tool and its arguments; return what the last one gives."""

    def agent(*calls, options=()):
        async def run():
            environment = {"PYTHONPATH": f"{ROOT}/functions:{ROOT}/infra", "PATH": os.environ["PATH"]}
            server = StdioServerParameters(
                command=sys.executable, args=[*COMMAND, "mcp", *options], env=environment, cwd=relay.folder
            )
            async with Client(server) as client:
                result = await client.list_tools()
                for tool, arguments in calls:
                    result = await client.call_tool(tool, arguments)
                return result

        return asyncio.run(run())

    return agent


def of_session(talk, **more):
    return {"session_id": talk.session, "bot": talk.name, **more}


def entries(result):
    return [(entry["from"], entry["text"]) for entry in result.structured_content["entries"]]


@pytest.mark.parametrize(("options", "names"), [([], READING), (["--allow-write"], READING + WRITING)])
def test_an_agent_gets_the_tools_that_change_something_only_if_allowed(agent, options, names):
    tools = agent(options=options).tools
    assert [tool.name for tool in tools] == names
    assert [tool.name for tool in tools if tool.annotations.read_only_hint] == READING
    assert all(tool.description.endswith(WARNING) for tool in tools)


def test_a_conversation_is_found_and_read(talk, agent):
    sent = talk.push("Where is my order?")
    talk.deployed.state(sent, "answered")
    listed = agent(("list_sessions", {})).structured_content["sessions"]
    (found,) = [one for one in listed if one["bot"] == talk.name]
    assert (found["session_id"], found["message_id"]) == (talk.session, sent.message_id)
    assert found["state"] == "answered"
    read = agent(("read_conversation", of_session(talk)))
    assert entries(read) == [("sender", "Where is my order?"), ("bot", "echo: Where is my order?")]
    shown = agent(("show_message", of_session(talk))).structured_content["message"]
    assert shown.startswith(f"message     {sent.message_id}\nsays        Where is my order?")
    assert "echo: Where is my order?" in shown


def test_a_long_conversation_comes_in_pages_and_a_long_text_is_cut(talk, agent):
    for n in range(MESSAGES + 1):
        sent = talk.push(f"{n}", expect_reply=False)
    reply(talk, "", text="x" * MAX_TEXT)
    talk.deployed.state(sent, "delivered", "answered", within=120)
    last = agent(("read_conversation", of_session(talk)))
    first, *_ = [text for source, text in entries(last) if source == "sender"]
    assert first == "1"
    assert f"… ({MAX_TEXT - MAX_EXCERPT} characters more)" in str(last.content)
    assert len(last.content[0].text) < (MESSAGES + 50) * (MAX_EXCERPT + 300)
    earlier = agent(("read_conversation", of_session(talk, **last.structured_content["earlier"])))
    assert ("sender", "0") in entries(earlier)


def test_a_long_message_does_not_push_out_what_became_of_it(talk, agent):
    sent, _ = park(talk, "x" * 2 * MAX_TEXT)
    shown = agent(("show_message", of_session(talk, message_id=sent.message_id))).structured_content[
        "message"
    ]
    assert len(shown) < MAX_TEXT
    assert "state       parked" in shown


def test_doctor_tells_the_faults_first(talk, agent):
    findings = agent(("doctor", {"bot": talk.name})).structured_content["findings"]
    assert {"check", "ok", "text", "advice"} == findings[0].keys()
    assert [one["ok"] for one in findings] == sorted(
        (one["ok"] for one in findings), key=[False, None, True].index
    )


def test_an_agent_asks_and_handles_parked_messages_if_allowed(talk, agent):
    allowed = ["--allow-write"]
    asked = agent(("ask", of_session(talk, text="hello")), options=allowed).structured_content
    assert asked["reply"] == "echo: hello"
    first, _ = park(talk)
    second, _ = park(talk)
    arguments = of_session(talk, message_id=first.message_id)
    assert agent(("resend", arguments), options=allowed).structured_content["resent_as"]
    arguments = of_session(talk, message_id=second.message_id, reason="by phone")
    agent(("drop", arguments), options=allowed)
    assert talk.deployed.record(first)["state"] == "resent"
    assert talk.deployed.record(second)["drop_reason"] == "by phone"


def test_a_message_without_a_reply_is_named_so_that_nobody_asks_again(talk, agent):
    arguments = of_session(talk, text="SILENT", timeout=0)
    asked = agent(("ask", arguments), options=["--allow-write"]).structured_content
    assert asked.keys() == {"message_id", "no_reply"}


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("show_message", {"session_id": "s", "message_id": uuid4().hex}, "no record"),
        ("read_conversation", {"session_id": "nothing-here"}, "has no record"),
        ("list_sessions", {"day": "yesterday"}, "is not a day such as 2026-11-25"),
        ("ask", {"session_id": "s", "text": "x", "bot": "nobody"}, "there is no bot 'nobody'"),
        ("ask", {"session_id": "", "text": "x"}, "session_id"),
        ("drop", {"session_id": "s", "message_id": "no-id", "reason": "x"}, "no record"),
    ],
)
def test_an_agent_is_told_what_is_wrong(agent, tool, arguments, told):
    result = agent((tool, arguments), options=["--allow-write"])
    assert result.is_error
    assert told in result.content[0].text


def test_the_tools_that_change_something_cannot_be_called_unless_allowed(talk, agent):
    sent, _ = park(talk)
    result = agent(("drop", of_session(talk, message_id=sent.message_id, reason="x")))
    assert result.is_error
    assert talk.deployed.record(sent)["state"] == "parked"
