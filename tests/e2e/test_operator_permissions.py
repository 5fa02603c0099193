"""Each command with the AWS actions that docs/security.md gives it, and no others."""

import json
import re
from pathlib import Path
from uuid import uuid4

import pytest

from support.command_line import CommandLine
from support.parked_messages import park

SECURITY = Path(__file__).parents[2] / "docs/security.md"
ROW = re.compile(r"^\| `relay ([a-z ]+)` \| (.+) \|$", re.MULTILINE)
ACTIONS = {
    command: re.findall(r"`([a-z0-9]+:\w+)`", actions)
    for command, actions in ROW.findall(SECURITY.read_text())
}


@pytest.fixture
def operator(talk, tmp_path):
    """Run a command as a user who may do nothing but these actions."""
    iam = talk.deployed.client("iam")
    name = f"operator-{uuid4().hex[:8]}"

    def run(actions, *arguments):
        allowed = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        policy = {"Version": "2012-10-17", "Statement": [allowed]}
        iam.put_user_policy(UserName=name, PolicyName="operator", PolicyDocument=json.dumps(policy))
        environment = {
            "AWS_ENDPOINT_URL": talk.deployed.local.outputs["EndpointUrl"],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        }
        return relay(*arguments, "--stack", "relay-local", environment=environment)

    relay = CommandLine(talk.deployed, tmp_path)
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return run


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("bots list", []),
        ("bots set", ["--timezone", "UTC"]),
        ("bots test", []),
        ("bots retry", []),
        ("bots pause", ["--drain"]),
        ("bots resume", []),
        ("bots remove", ["--yes"]),
        ("doctor", ["--json"]),
    ],
)
def test_command_needs_no_other_actions_than_the_page_gives_it(talk, operator, command, more):
    name = [] if command == "bots list" else ["--bot", talk.name] if command == "doctor" else [talk.name]
    done = operator(["cloudformation:DescribeStacks", *ACTIONS[command]], *command.split(), *name, *more)
    assert "AccessDenied" not in done.stdout + done.stderr
    if command != "doctor":
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("command", "more"), [("push", ["hello"]), ("sync", ["hello"]), ("show", [])])
def test_message_can_be_sent_and_looked_at_with_the_actions_of_the_page(talk, operator, command, more):
    talk.deployed.state(talk.push("before"), "answered")
    of_session = ["--bot", talk.name, talk.session, *more]
    done = operator(["cloudformation:DescribeStacks", *ACTIONS[command]], command, *of_session)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("command", "more"), [("resend", []), ("drop", ["why"])])
def test_parked_message_can_be_handled_with_the_actions_of_the_page(talk, operator, command, more):
    sent, _ = park(talk, "private words")
    listed = operator(["cloudformation:DescribeStacks", *ACTIONS["waiting"]], "waiting")
    assert sent.message_id in listed.stdout
    of_message = ["--bot", talk.name, talk.session, sent.message_id, *more]
    done = operator(["cloudformation:DescribeStacks", *ACTIONS[command]], command, *of_message)
    assert (done.returncode, done.stderr) == (0, "")


def test_message_can_be_cancelled_with_the_actions_of_the_page(talk, operator):
    actions = ["cloudformation:DescribeStacks", *ACTIONS["cancel"]]
    done = operator(actions, "cancel", "--bot", talk.name, talk.session, "id-1")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("command", "more"), [("resend", []), ("drop", ["why"])])
def test_many_messages_can_be_handled_with_the_actions_of_the_page(talk, operator, command, more):
    park(talk)
    actions = ["cloudformation:DescribeStacks", *ACTIONS[command]]
    done = operator(actions, command, "--bot", talk.name, "--yes", *more)
    assert (done.returncode, done.stderr) == (0, "")


def test_session_can_be_erased_with_the_actions_of_the_page(talk, operator, workers):
    record = talk.deployed.state(talk.push("x" * 500_000), "answered")
    workers.overwrite({**record, "updated_at": "2026-11-22T13:00:48.000000Z"})
    actions = ["cloudformation:DescribeStacks", *ACTIONS["erase"]]
    done = operator(actions, "erase", "--bot", talk.name, talk.session, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("erased      1 message, 1 part, 2 bodies in the overflow bucket\n")


def test_operator_without_an_action_is_refused_in_one_line(talk, operator):
    done = operator(["cloudformation:DescribeStacks"], "bots", "retry", talk.name)
    assert (done.returncode, "AccessDenied" in done.stderr, done.stderr.count("\n")) == (1, True, 1)
