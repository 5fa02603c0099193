"""The command `relay`, as it is typed."""

import json
import re
import shlex
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest

from local.sample_bot import Answer
from relay import Messages
from relay.adapters.bot_cache import MIN_REFRESH_INTERVAL
from relay_cli.commands.tail import SILENT_AFTER, Transcript
from support.bots import change_secret
from support.callbacks import part_body, post_part, reply, signed_headers
from support.due_items import handle_due, make_overdue
from support.parked_messages import park
from support.raw_messages import send_raw
from support.waiting import eventually

ROOT = Path(__file__).parents[2]

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


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_reply_that_the_output_cannot_encode_is_shown_escaped(talk, relay, encoding):
    environment = {"PYTHONIOENCODING": encoding}
    arguments = "--bot", talk.name, talk.session, "你好"
    done = relay("sync", *arguments, environment=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "echo: \\u4f60\\u597d\n", "")
    done = relay("sync", "--json", *arguments, environment=environment)
    assert json.loads(done.stdout)["message"] == [{"type": "Plain", "text": "echo: 你好"}]


def test_a_system_without_sigpipe_has_the_command(relay, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import signal\ndel signal.SIGPIPE\n")
    path = f"{tmp_path}:{ROOT}/functions:{ROOT}/infra"
    command = [sys.executable, "-m", "relay_cli.main", "--version"]
    done = subprocess.run(command, env={"PYTHONPATH": path}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_text_can_come_from_standard_input(talk, relay):
    assert relay("sync", "--bot", talk.name, talk.session, "-", text="héllo").stdout == "echo: héllo\n"


def test_a_parked_message_has_its_exit_code_and_one_line(talk, relay):
    talk.bot.answer_with(Answer(400, {"code": 40001, "msg": "failed to parse"}))
    done = relay("sync", "--bot", talk.name, talk.session, "hello")
    assert done.returncode == 3
    reason, _, advice = done.stderr.partition("; ")
    assert reason == "relay: parked: answered 400: failed to parse"
    assert re.fullmatch(
        rf"fix the cause, then `relay resend --bot {talk.name} {talk.session} \S+` .*\n", advice
    )


def test_no_answer_in_time_has_its_exit_code_and_one_line(talk, relay):
    talk.conversation().wait(talk.push("before"))  # push is up from here on
    talk.bot.answer_with(*[Answer(502)] * 20)
    done = relay("sync", "--timeout", "5", "--bot", talk.name, talk.session, "hello")
    assert done.returncode == 4
    begin = "relay: no finished reply within 5 s: LangBot has not accepted it, in "
    assert done.stderr.startswith(begin)
    for told in ("answered 502", "push tries it again", "check that LangBot runs", "waits for it again"):
        assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_interrupted_sync_prints_the_command_that_waits_again(talk, relay):
    with relay.running("sync", "--bot", talk.name, talk.session, "SLEEP:3 hello") as sync:
        eventually(lambda: talk.bot.received)
        time.sleep(1)  # the bot can have the message before the command has its id
        sync.send_signal(2)
        assert sync.wait(60) == 130
        (advised,) = commands_in(sync.stderr.read())
    assert relay(*advised).stdout == "echo: SLEEP:3 hello\n"


def commands_in(text):
    """Return the commands that a text advises, each as its words."""
    return [shlex.split(command) for command in re.findall("`relay ([^`]*)`", text)]


@pytest.mark.parametrize("command", [["push", "s", "hello"], ["sync", "s", "hello"], ["reset", "s"]])
def test_a_message_to_a_bot_that_does_not_exist_is_not_sent(talk, relay, command):
    done = relay(*command, "--bot", f"{talk.name}x")
    assert done.returncode == 2
    assert done.stderr.startswith(f"relay: there is no bot '{talk.name}x': `relay bots list` shows the bots")
    assert not list(relay_messages(talk).of_session("s", f"{talk.name}x"))


def relay_messages(talk):
    return Messages(talk.deployed.stack)


def test_an_invalid_message_is_refused_before_it_is_sent(talk, relay):
    done = relay("push", "--bot", "No Bot", talk.session, "hello")
    assert done.returncode == 2
    assert done.stderr.startswith("relay: not a valid message: bot must match pattern")


def test_without_a_stack_the_line_says_how_to_get_one(relay):
    relay.outputs.unlink()
    done = relay("push", "s", "hello")
    assert done.returncode == 1
    assert (
        done.stderr
        == "relay: no local stack here: there is no .local/outputs.json; `make local` starts one\n"
    )


def test_an_outputs_file_of_no_local_stack_is_refused_in_one_line(relay, talk):
    outputs = {k: v for k, v in talk.deployed.local.outputs.items() if k != "EndpointUrl"}
    relay.outputs.write_text(json.dumps(outputs))
    done = relay("push", "s", "hello")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("relay: .local/outputs.json has no EndpointUrl")


def test_a_deployed_stack_is_found_by_its_name(talk, relay):
    aws = {
        "AWS_ENDPOINT_URL": talk.deployed.local.outputs["EndpointUrl"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    done = relay("sync", "--stack", "relay-local", "--bot", talk.name, talk.session, "hello", environment=aws)
    assert (done.returncode, done.stdout) == (0, "echo: hello\n")
    unknown = relay("show", "--stack", "relay-local", talk.session, "nothing", environment=aws)
    assert "If `relay push --stack relay-local` printed that id" in unknown.stderr
    done = relay("push", "--stack", "no-such", talk.session, "hello", environment=aws)
    assert done.returncode == 1
    assert done.stderr.startswith("relay: stack no-such: ")
    assert done.stderr.count("\n") == 1


def test_missing_region_is_named_by_the_variable_that_gives_it(talk, relay):
    done = relay("push", "--stack", "relay-local", "s", "hello")
    assert done.returncode == 1
    advice = "set AWS_REGION, or the region of your AWS profile"
    assert done.stderr == f"relay: no AWS region is set: {advice}\n"
    aws = {
        "AWS_ENDPOINT_URL": talk.deployed.local.outputs["EndpointUrl"],
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    assert relay("bots", "list", "--stack", "relay-local", environment=aws).returncode == 0


AWS_CONFIG = """
[profile sso]
sso_start_url = https://x.awsapps.com/start
sso_region = us-east-1
sso_account_id = 111111111111
sso_role_name = r
[profile mfa]
role_arn = arn:aws:iam::111111111111:role/r
source_profile = base
mfa_serial = arn:aws:iam::111111111111:mfa/u
[profile base]
aws_access_key_id = a
aws_secret_access_key = b
"""


@pytest.fixture
def aws_config(tmp_path):
    (tmp_path / "config").write_text(AWS_CONFIG)
    (tmp_path / "broken").write_text("this is no ini file")
    return tmp_path


@pytest.mark.parametrize(
    "settings",
    [
        {"AWS_PROFILE": "gone"},
        {"AWS_PROFILE": "sso", "AWS_CONFIG_FILE": "config"},
        {"AWS_PROFILE": "mfa", "AWS_CONFIG_FILE": "config"},
        {"AWS_CONFIG_FILE": "broken", "AWS_SHARED_CREDENTIALS_FILE": "broken"},
        {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
        {"AWS_REGION": "eu-west-1", "AWS_USE_FIPS_ENDPOINT": "true"},
        {"AWS_CA_BUNDLE": "/nowhere.pem"},
    ],
    ids=lambda settings: next(iter(settings.items())),
)
def test_settings_for_other_work_do_not_reach_the_local_stack(relay, aws_config, settings):
    files = {k: str(aws_config / v) for k, v in settings.items() if k.endswith("_FILE")}
    done = relay("bots", "list", environment=settings | files)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "settings",
    [
        {"AWS_EC2_METADATA_DISABLED": "true"},
        {"AWS_PROFILE": "gone"},
        {"AWS_PROFILE": "sso", "AWS_CONFIG_FILE": "config"},
        {"AWS_PROFILE": "mfa", "AWS_CONFIG_FILE": "config"},
        {"AWS_CONFIG_FILE": "broken"},
    ],
    ids=lambda settings: next(iter(settings.items())),
)
def test_credentials_that_do_not_work_are_told_in_one_line(relay, aws_config, settings):
    files = {k: str(aws_config / v) for k, v in settings.items() if k.endswith("_FILE")}
    done = relay("bots", "list", "--stack", "x", environment={"AWS_REGION": "us-east-1"} | settings | files)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("relay: ")


def test_reset_waits_until_langbot_has_done_it(talk, relay):
    talk.bot.answer_with(Answer(200, {"code": 0, "msg": "reset", "data": {"removed": True}}))
    done = relay("reset", "--bot", talk.name, talk.session)
    assert (done.returncode, done.stderr) == (0, "")
    assert [r.path.rpartition("/")[2] for r in talk.bot.received] == ["reset"]


def test_a_reset_that_langbot_cannot_do_says_so(talk, relay):
    done = relay("reset", "--bot", talk.name, talk.session)
    assert done.returncode == 3
    assert done.stderr.startswith("relay: parked: answered 500")


def test_wait_takes_what_push_printed(talk, relay):
    sent = relay("push", "--bot", talk.name, talk.session, "hello").stdout.strip()
    done = relay("wait", "--bot", talk.name, talk.session, sent)
    assert (done.returncode, done.stdout) == (0, "echo: hello\n")


def test_a_wait_for_no_message_ends_with_what_that_can_mean(talk, relay):
    done = relay("wait", "--timeout", "0.1", "--bot", talk.name, talk.session, "nothing")
    assert done.returncode == 4
    assert f"message nothing of session {talk.session} of bot '{talk.name}' has no record" in done.stderr
    assert "If `relay push` printed that id, it is on the push queue" in done.stderr
    assert done.stderr.endswith("; else there is none\n")


def test_a_message_can_be_segments_and_an_image(talk, relay):
    (relay.folder / "dot.png").write_bytes(b"png")
    more = ["--message", '[{"type": "Plain", "text": "see"}]', "--image", "dot.png", "--sender", "u1"]
    more += ["--context", '{"order": 17}']
    assert relay("sync", "--bot", talk.name, talk.session, *more).returncode == 0
    (request,) = talk.bot.received
    body = json.loads(request.body)
    assert body["message"][1] == {"type": "Image", "base64": "data:image/png;base64,cG5n"}
    assert body["sender"] == {"id": "u1"}
    assert 'context     {"order": 17}\n' in relay("show", "--bot", talk.name, talk.session).stdout


def test_a_key_makes_a_repetition_the_same_message(talk, relay):
    for _ in range(2):
        assert relay("push", "--bot", talk.name, "--dedup-id", "once", talk.session, "hello").returncode == 0
    talk.conversation().wait(talk.push("next"))
    assert talk.texts() == ["hello", "next"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["push", "s", "--message", "{}"], "--message must be a list"),
        (["push", "s", "--message", "nothing"], "--message is not JSON"),
        (["push", "s", "hello", "--context", "nothing"], "--context is not JSON"),
        (["push", "s", "hello", "--context", "[17]"], "context must be object"),
        (["push", "--file", "missing.jsonl", "--context", "{}"], "give --file alone, or with --bot"),
        (["push", "s", "--image", ".local/outputs.json"], "needs a name that ends like one"),
        (["push", "s", "--image", "missing"], "image missing cannot be read: No such file"),
        (["push", "s", "--image", "missing.png"], "missing.png cannot be read: No such file"),
        (["push", "s"], "give either message or text"),
        (["push"], "give a session and a text, or --file"),
        (["push", "--file", "missing.jsonl"], "missing.jsonl cannot be read: No such file"),
        (["push", "s", "--file", "missing.jsonl"], "give --file alone, or with --bot"),
        (["push", "--file", "missing.jsonl", "--sender", "u1"], "give --file alone, or with --bot"),
        (["sync", "s", "hello", "--timeout", "-5"], "'-5' is not a number of seconds above 0"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(relay, words, said):
    done = relay(*words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr


@pytest.fixture
def file_of_messages(relay, talk):
    """A file of three messages."""
    path = relay.folder / "messages.jsonl"
    lines = [json.dumps({"session_id": talk.session, "text": f"text {number}"}) for number in range(3)]
    path.write_text("\n".join(lines))
    return path


def test_the_messages_of_a_file_are_sent_in_order(talk, relay, file_of_messages):
    done = relay("push", "--bot", talk.name, "--file", file_of_messages.name)
    assert (done.returncode, done.stdout) == (0, "messages sent: 3\n")
    talk.conversation().wait(talk.push("last"))
    assert talk.texts() == ["text 0", "text 1", "text 2", "last"]


def test_a_pipe_is_sent_and_told_as_json(talk, relay):
    line = json.dumps({"session_id": talk.session, "text": "piped"})
    done = relay("push", "--bot", talk.name, "--file", "/dev/stdin", "--json", text=line)
    assert json.loads(done.stdout) == {"sent": 1, "sent_before": 0}
    talk.conversation().wait(talk.push("last"))
    assert talk.texts() == ["piped", "last"]


def test_a_file_with_a_wrong_line_is_refused_before_anything_is_sent(talk, relay, file_of_messages):
    file_of_messages.write_text(file_of_messages.read_text() + '\n{"text": "x"}')
    done = relay("push", "--bot", talk.name, "--file", file_of_messages.name)
    assert done.returncode == 2
    assert "line 4: session_id is required" in done.stderr
    talk.conversation().wait(talk.push("last"))
    assert talk.texts() == ["last"]


def test_completion_knows_the_commands(relay):
    assert "resend" in relay("completion", "bash").stdout


def test_the_version_is_the_packages(relay):
    assert relay("--version").stdout.startswith("relay")


def test_input_that_is_no_text_is_called_so(relay):
    done = relay("push", "s", "-", text=b"\xff")
    assert done.stderr == "relay: not a valid message: standard input is not text in UTF-8\n"


def test_tail_follows_a_session_and_ends_on_ctrl_c(talk, relay):
    talk.conversation().wait(talk.push("before"))
    with relay.running("tail", "--json", "--bot", talk.name, talk.session) as tail:
        assert json.loads(tail.stdout.readline())["text"] == "echo: before"
        talk.push("LONG:12:5")
        parts = [json.loads(tail.stdout.readline()) for _ in range(12)]
        tail.send_signal(2)
        assert tail.wait(60) == 0
    assert [part["text"] for part in parts] == [p["message"][0]["text"] for p in talk.bot.emitted[1:]]


def test_tail_for_people_shows_the_message_and_the_end_of_its_reply(talk, relay):
    talk.conversation().wait(talk.push("LONG:2:5"))
    with relay.running("tail", "--bot", talk.name, talk.session) as tail:
        lines = [tail.stdout.readline() for _ in range(3)]
    assert lines[0].endswith("  >  LONG:2:5\n")
    assert lines[1].endswith("  1  w001\n")
    assert lines[2].endswith("  2  w001 w002  ■\n")


def test_tail_tells_what_waits_and_what_is_parked(talk, relay, parked):
    talk.conversation().wait(talk.push("before"))
    talk.bot.answer_with(*[Answer(502)] * 20)
    talk.deployed.state(talk.push("later"), "retrying")
    with relay.running("tail", "--bot", talk.name, talk.session) as tail:
        lines = [tail.stdout.readline().split("  ", 1)[1].strip() for _ in range(6)]
    assert lines[0] == ">  private words"
    assert lines[1].startswith("!  parked: push does not try it again: answered 400")
    assert lines[2] == ">  before"
    assert lines[3].endswith("echo: before  ■")
    assert lines[4] == ">  later"
    assert lines[5].startswith("!  retrying: LangBot has not accepted it, in ")


def test_tail_tells_what_stays_silent_and_what_broke_off(talk, relay):
    talk.deployed.state(talk.push("SILENT"), "delivered")
    sent = talk.push("LONG:4:1 MIDFAIL")
    talk.deployed.state(sent, "delivered")
    eventually(lambda: len(talk.parts()) == 3)
    options = Namespace(session=talk.session, bot=talk.name)
    transcript, parts = Transcript(talk.deployed.stack, options), talk.parts()
    now = time.time()
    assert not [line for line in transcript.lines(parts, now) if "  !  " in line]
    lines = list(transcript.lines([], now + SILENT_AFTER + 60))
    first, second = [line for line in lines if "  !  delivered: LangBot accepted it" in line]
    assert "no part of a reply came yet" in first
    assert "3 parts of the reply came, the last " in second
    assert not list(transcript.lines([], now + 2 * SILENT_AFTER + 60))


def test_logs_show_the_fields_of_what_the_functions_log(talk, relay):
    raw = part_body(talk)
    assert post_part(talk, raw, signed_headers(raw, "guess")).status_code == 401
    with relay.running("logs", "callback") as logs:
        line = next(line for line in logs.stdout if talk.name in line)
    assert "WARNING  a request was refused" in line
    assert f"bot={talk.name} reason=signature_mismatch" in line


def test_help_explains_the_exit_codes(relay):
    assert "3  the message is parked" in relay("--help").stdout


# ---------------------------------------------------------------- parked, resend, drop


@pytest.fixture
def parked(talk):
    """A parked message."""
    sent, _ = park(talk, "private words")
    return sent


def test_parked_messages_are_listed_a_line_each_without_their_text(talk, relay, parked):
    done = relay("waiting")
    (line,) = [line for line in done.stdout.splitlines() if talk.name in line]
    assert f"  --bot {talk.name} {talk.session}  {parked.message_id}  parked: answered 400" in line
    assert "private words" not in line


def test_unanswered_messages_are_listed_with_the_parked_ones(talk, relay):
    sent = talk.push("SILENT")
    make_overdue(talk, sent)
    handle_due(talk)
    (line,) = [line for line in relay("waiting").stdout.splitlines() if talk.name in line]
    assert f"  --bot {talk.name} {talk.session}  {sent.message_id}  unanswered: no reply" in line
    reply(talk, talk.deployed.record(sent)["accepted_message_id"])
    talk.deployed.state(sent, "answered")
    eventually(lambda: talk.name not in relay("waiting").stdout)


def test_the_list_can_be_that_of_one_session(talk, relay, parked):
    (line,) = relay("waiting", "--bot", talk.name, talk.session).stdout.splitlines()
    assert parked.message_id in line
    (line,) = relay("waiting", talk.session).stdout.splitlines()
    assert parked.message_id in line
    done = relay("waiting", "--bot", talk.name, "another")
    assert (done.stdout, done.stderr) == ("", "relay: no message waits for an operator\n")
    assert relay("waiting", "--bot", talk.name, "another", "--json").stderr == ""


def test_parked_messages_are_listed_for_programs(talk, relay, parked):
    listed = map(json.loads, relay("waiting", "--json").stdout.splitlines())
    (fields,) = [fields for fields in listed if fields["bot"] == talk.name]
    assert (fields["message_id"], fields["state"]) == (parked.message_id, "parked")
    assert fields["reason"] == "answered 400: failed to parse message: x"


def test_show_tells_the_story_of_the_last_message(talk, relay, parked):
    talk.conversation().wait(talk.push("second"))
    shown = relay("show", "--bot", talk.name, talk.session, parked.message_id).stdout
    for known in (parked.message_id, "private words", "refused   400", "failed to parse", "`relay resend"):
        assert known in shown
    listed, _, last = relay("show", "--bot", talk.name, talk.session).stdout.partition("\n\n")
    assert [line.split()[2] for line in listed.splitlines()] == ["parked", "answered"]
    assert last.startswith(f"message     {parked.message_id}\nstate       parked\n")
    assert last.endswith("            echo: second\n")


def test_show_tells_programs_record_diagnosis_and_reply(talk, relay):
    sent = talk.push("hello")
    talk.conversation().wait(sent)
    talk.deployed.state(sent, "answered")
    shown = json.loads(relay("show", "--json", "--bot", talk.name, talk.session).stdout)
    assert shown["record"]["message_id"] == sent.message_id
    assert shown["diagnosis"]["summary"] == "it is answered"
    assert shown["reply"] == [{"type": "Plain", "text": "echo: hello"}]


def test_show_names_the_callbacks_that_were_refused(talk, relay):
    change_secret(talk, outbound_secret="another")
    sent = talk.push("hello")
    talk.deployed.state(sent, "delivered")
    shown = eventually(lambda: out if "refused" in (out := show(talk, relay)) else None)
    assert "why         callback refused 1 request for the bot: signature_mismatch" in shown
    (advised,) = commands_in(shown)
    done = relay(*advised, text=f"{talk.bot.outbound_secret}\n")
    assert done.stdout.startswith(f"bot {talk.name}: outbound_secret changed")
    time.sleep(MIN_REFRESH_INTERVAL)  # until then callback does not read it for another wrong signature
    assert talk.conversation().wait(talk.push("again")).text == "echo: again"


def show(talk, relay):
    return relay("show", "--bot", talk.name, talk.session).stdout


def test_show_of_a_session_without_a_record_says_what_that_means(talk, relay):
    done = relay("show", "--bot", talk.name, talk.session)
    assert done.returncode == 2
    assert "has no record, and SQS does not tell what is on a queue" in done.stderr
    assert f"No message for a bot '{talk.name}' was tried yet, so look at its name" in done.stderr


def test_resend_prints_the_new_id_and_then_that_it_was_resent(talk, relay, parked):
    done = relay("resend", "--bot", talk.name, talk.session, parked.message_id)
    assert (done.returncode, done.stderr) == (0, "")
    assert talk.deployed.state(parked, "resent")
    eventually(lambda: len(talk.keys()) == 2)
    assert talk.keys()[-1] == f"{done.stdout.strip()}.0"
    again = relay("resend", "--bot", talk.name, talk.session, parked.message_id)
    assert (again.returncode, again.stdout) == (0, f"resent before, as {done.stdout.strip()}\n")


def test_a_message_to_no_bot_is_resent_to_another_as_show_advises(talk, relay):
    sent = talk.push("hello", bot=f"{talk.name}x")
    record = eventually(lambda: relay_messages(talk).find(talk.session, sent.message_id, sent.bot))
    assert record["state"] == "parked"
    resend, drop = commands_in(relay("show", "--bot", sent.bot, talk.session).stdout)
    assert resend == ["resend", "--bot", talk.name, talk.session, sent.message_id]
    assert drop[:2] == ["drop", "--bot"]
    new = relay(*resend).stdout.strip()
    assert relay("wait", "--bot", talk.name, talk.session, new).stdout == "echo: hello\n"
    assert talk.deployed.record(sent)["drop_reason"] == f"sent to bot '{talk.name}' as {new}"


def test_a_message_of_a_bot_that_exists_is_not_resent_to_another(talk, relay, parked):
    done = relay("resend", "--bot", "default", talk.session, parked.message_id)
    assert (done.returncode, done.stdout) == (2, "")
    assert talk.deployed.record(parked)["state"] == "parked"


def test_an_invalid_message_is_found_by_the_session_that_it_names(talk, relay):
    body = json.dumps({"session_id": talk.session, "bot": talk.name, "text": 1})
    sent = send_raw(talk, body, group_id="any")
    eventually(lambda: sent in relay("waiting", talk.session).stdout)
    advice = f"Others wait for an operator in a session of that name: `relay waiting {talk.session}`"
    assert advice in relay("show", talk.session).stderr
    shown = relay("show", "--bot", talk.name, talk.session).stdout
    assert "why         text must be string" in shown
    (drop,) = commands_in(shown)
    assert relay(*drop).stdout == f"dropped {sent}\n"


def test_drop_closes_a_message_with_its_reason(talk, relay, parked):
    done = relay("drop", "--bot", talk.name, talk.session, parked.message_id, "asked in person")
    assert (done.returncode, done.stdout) == (0, f"dropped {parked.message_id}\n")
    assert talk.deployed.record(parked)["drop_reason"] == "asked in person"


def test_a_message_that_cannot_be_read_is_listed_shown_and_dropped(talk, relay):
    sent = send_raw(talk, "no JSON", group_id=talk.name)
    listed = eventually(lambda: out if sent in (out := relay("waiting").stdout) else None)
    assert f"--bot '' {talk.name}  {sent}" in listed
    assert "no JSON" in relay("show", "--bot", "", talk.name).stdout
    assert relay("resend", "--bot", "", talk.name, sent).returncode == 2
    assert relay("drop", "--bot", "", talk.name, sent, "a typing error").returncode == 0
    assert sent not in relay("waiting").stdout


@pytest.mark.parametrize(("command", "more"), [("resend", []), ("drop", ["why"])])
def test_an_id_that_is_no_messages_is_refused(talk, relay, command, more):
    done = relay(command, "--bot", talk.name, talk.session, "nothing", *more)
    assert done.returncode == 2
    begin = f"relay: message nothing of session {talk.session} of bot '{talk.name}' has no record"
    assert done.stderr.startswith(begin)


def test_a_message_that_ended_well_is_not_resent(talk, relay):
    sent = talk.push("hello")
    talk.deployed.state(sent, "answered")
    done = relay("resend", "--bot", talk.name, talk.session, sent.message_id)
    assert done.returncode == 2
    assert done.stderr == "relay: the message is answered: only a parked or unanswered one can be resent\n"
