"""The command `relay`, as it is typed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.sample_bot import Answer
from support.parked_messages import park
from support.raw_messages import send_raw
from support.waiting import eventually

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "relay_cli.main"]


@pytest.fixture
def surroundings(talk, tmp_path):
    """A folder with the local stack's outputs, and an environment that knows nothing else."""
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local/outputs.json").write_text(json.dumps(talk.deployed.local.outputs))
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}/functions:{ROOT}/infra", "PYTHONUTF8": "1"}
    return {"cwd": tmp_path, "env": env, "text": True}


@pytest.fixture
def relay(surroundings):
    """Run the command to its end; `text` is its standard input, `aws` more of its environment."""

    def relay(*arguments, text=None, aws=None):
        options = surroundings | {"env": surroundings["env"] | (aws or {})}
        command = [*COMMAND, *arguments]
        return subprocess.run(command, **options, input=text, capture_output=True, timeout=100)

    return relay


@pytest.fixture
def tail(surroundings, talk):
    """Start `relay tail` on the talk's session, which runs until Ctrl-C."""
    started = []

    def tail(*options):
        command = [*COMMAND, "tail", *options, "--bot", talk.name, talk.session]
        started.append(subprocess.Popen(command, **surroundings, stdout=subprocess.PIPE))
        return started[-1]

    yield tail
    for process in started:
        process.kill()
        process.communicate()


# ---------------------------------------------------------------- push, sync, reset, tail


def test_push_prints_the_messages_id(talk, relay):
    done = relay("push", "--bot", talk.name, talk.session, "hello")
    assert (done.returncode, done.stderr) == (0, "")
    eventually(lambda: talk.bot.received)
    assert talk.keys() == [f"{done.stdout.strip()}.0"]


def test_sync_prints_the_reply(talk, relay):
    done = relay("sync", "--bot", talk.name, talk.session, "hello")
    assert (done.returncode, done.stdout, done.stderr) == (0, "echo: hello\n", "")


def test_sync_for_programs_prints_the_segments(talk, relay):
    done = relay("sync", "--json", "--bot", talk.name, talk.session, "hello")
    assert json.loads(done.stdout)["message"] == [{"type": "Plain", "text": "echo: hello"}]


def test_a_text_can_come_from_standard_input(talk, relay):
    assert relay("sync", "--bot", talk.name, talk.session, "-", text="héllo").stdout == "echo: héllo\n"


def test_a_parked_message_has_its_exit_code_and_one_line(talk, relay):
    talk.bot.answer_with(Answer(400, {"code": 40001, "msg": "failed to parse"}))
    done = relay("sync", "--bot", talk.name, talk.session, "hello")
    assert (done.returncode, done.stderr) == (3, "relay: parked: answered 400: failed to parse\n")


def test_no_answer_in_time_has_its_exit_code_and_one_line(talk, relay):
    talk.conversation().wait(talk.push("before"))  # push is up from here on
    talk.bot.answer_with(*[Answer(502)] * 20)
    done = relay("sync", "--timeout", "5", "--bot", talk.name, talk.session, "hello")
    assert done.returncode == 4
    assert done.stderr == "relay: no finished reply within 5 s; the message is retrying\n"


def test_an_invalid_message_is_refused_before_it_is_sent(talk, relay):
    done = relay("push", "--bot", "No Bot", talk.session, "hello")
    assert done.returncode == 2
    assert done.stderr.startswith("relay: not a valid message: bot must match pattern")


def test_without_a_stack_the_line_says_how_to_get_one(relay, surroundings):
    (surroundings["cwd"] / ".local/outputs.json").unlink()
    done = relay("push", "s", "hello")
    assert done.returncode == 1
    assert (
        done.stderr
        == "relay: no local stack here: there is no .local/outputs.json; `make local` starts one\n"
    )


def test_a_deployed_stack_is_found_by_its_name(talk, relay):
    aws = {
        "AWS_ENDPOINT_URL": talk.deployed.local.outputs["EndpointUrl"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    done = relay("sync", "--stack", "relay-local", "--bot", talk.name, talk.session, "hello", aws=aws)
    assert (done.returncode, done.stdout) == (0, "echo: hello\n")
    done = relay("push", "--stack", "no-such", talk.session, "hello", aws=aws)
    assert done.returncode == 1
    assert done.stderr.startswith("relay: stack no-such: ")
    assert done.stderr.count("\n") == 1


def test_reset_is_sent_in_the_sessions_order(talk, relay):
    assert relay("reset", "--bot", talk.name, talk.session).returncode == 0
    talk.conversation().wait(talk.push("next"))
    assert [r.path.rpartition("/")[2] for r in talk.bot.received] == ["reset", "sample"]


def test_tail_follows_a_session_and_ends_on_ctrl_c(talk, tail):
    talk.conversation().wait(talk.push("before"))
    following = tail("--json")
    assert json.loads(following.stdout.readline())["text"] == "echo: before"
    talk.push("LONG:12:5")
    parts = [json.loads(following.stdout.readline()) for _ in range(12)]
    following.send_signal(2)
    assert following.wait(60) == 0
    assert [part["text"] for part in parts] == [p["message"][0]["text"] for p in talk.bot.emitted[1:]]


def test_tail_for_people_marks_the_end_of_a_reply(talk, tail):
    talk.conversation().wait(talk.push("LONG:2:5"))
    following = tail()
    lines = [following.stdout.readline() for _ in range(2)]
    assert lines[0].endswith("  1  w001\n")
    assert lines[1].endswith("  2  w001 w002  ■\n")


def test_help_explains_the_exit_codes(relay):
    assert "3  the message is parked" in relay("--help").stdout


# ---------------------------------------------------------------- parked, resend, drop


@pytest.fixture
def parked(talk):
    """A parked message."""
    sent, _ = park(talk, "private words")
    return sent


def test_parked_messages_are_listed_a_line_each_without_their_text(talk, relay, parked):
    done = relay("parked")
    (line,) = [line for line in done.stdout.splitlines() if talk.name in line]
    assert f"--bot {talk.name} {talk.session}  {parked.message_id}  1 attempts: answered 400" in line
    assert "private words" not in line


def test_parked_messages_are_listed_for_programs(talk, relay, parked):
    listed = map(json.loads, relay("parked", "--json").stdout.splitlines())
    (fields,) = [fields for fields in listed if fields["bot"] == talk.name]
    assert fields["message_id"] == parked.message_id
    assert fields["reason"] == "answered 400: failed to parse message: x"


def test_the_parked_messages_of_a_session_are_shown_in_full(talk, relay, parked):
    shown = relay("parked", "--bot", talk.name, talk.session).stdout
    for known in (parked.message_id, "private words", "failed to parse", "attempts", "queued_at"):
        assert known in shown


def test_resend_prints_the_new_id_and_then_that_it_was_resent(talk, relay, parked):
    done = relay("resend", "--bot", talk.name, talk.session, parked.message_id)
    assert (done.returncode, done.stderr) == (0, "")
    assert talk.deployed.state(parked, "resent")
    eventually(lambda: len(talk.keys()) == 2)
    assert talk.keys()[-1] == f"{done.stdout.strip()}.0"
    done = relay("resend", "--bot", talk.name, talk.session, parked.message_id)
    assert (done.returncode, done.stdout[:17]) == (0, "resent before, as")


def test_drop_closes_a_message_with_its_reason(talk, relay, parked):
    done = relay("drop", "--bot", talk.name, talk.session, parked.message_id, "asked in person")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert talk.deployed.record(parked)["drop_reason"] == "asked in person"


def test_a_message_that_cannot_be_read_is_listed_shown_and_dropped(talk, relay):
    sent = send_raw(talk, "no JSON", group_id=talk.name)
    listed = eventually(lambda: out if sent in (out := relay("parked").stdout) else None)
    assert f"--bot '' {talk.name}  {sent}" in listed
    assert "no JSON" in relay("parked", "--bot", "", talk.name).stdout
    assert relay("resend", "--bot", "", talk.name, sent).returncode == 2
    assert relay("drop", "--bot", "", talk.name, sent, "a typing error").returncode == 0
    assert sent not in relay("parked").stdout


@pytest.mark.parametrize(("command", "more"), [("resend", []), ("drop", ["why"])])
def test_an_id_that_is_no_messages_is_refused(talk, relay, command, more):
    done = relay(command, "--bot", talk.name, talk.session, "nothing", *more)
    assert done.returncode == 2
    assert done.stderr == f"relay: no message nothing in session {talk.session} of bot '{talk.name}'\n"


def test_a_message_that_ended_well_is_not_resent(talk, relay):
    sent = talk.push("hello")
    talk.deployed.state(sent, "answered")
    done = relay("resend", "--bot", talk.name, talk.session, sent.message_id)
    assert done.returncode == 2
    assert done.stderr == "relay: the message is answered: only a parked or unanswered one can be resent\n"
