"""The command `relay doctor`, as it is typed."""

import json

import pytest
import requests

from relay.log_fields import PROBE
from support.bots import change_secret
from support.callbacks import part_body, signed_headers
from support.command_line import CommandLine
from support.waiting import eventually

OF_A_BOT = (
    "secret",
    "circuit",
    "slots",
    "url",
    "signatures",
    "clock of LangBot",
    "LangBot's form",
    "callbacks",
)


@pytest.fixture
def doctor(talk, tmp_path):
    """Return what the doctor finds of the stack and of the test's bot, by check."""
    relay = CommandLine(talk.deployed, tmp_path)

    def doctor():
        done = relay("doctor", "--bot", talk.name, "--json")
        findings = list(map(json.loads, done.stdout.splitlines()))
        assert done.stderr == ""
        assert done.returncode == any(finding["ok"] is False for finding in findings)
        return {finding["check"].removeprefix(f"{talk.name}: "): finding for finding in findings}

    return doctor


def test_each_part_of_a_stack_has_its_line(doctor):
    found = doctor()
    of_the_stack = found.keys() - set(OF_A_BOT)
    assert of_the_stack == {
        "deletion",
        "event bus",
        "push queue",
        "parked",
        "spilled",
        "triggers",
        "alarms",
        "alarm metrics",
        "roles",
        "concurrency",
        "API throttle",
        "callback URL",
        "clock here",
    }
    assert not any(found[check]["ok"] is False for check in of_the_stack - {"parked"})


def test_a_function_that_gets_nothing_is_named_with_the_command_that_helps(talk, doctor):
    functions, publish = talk.deployed.client("lambda"), talk.deployed.physical_id("PublishFunction")
    mapping = functions.list_event_source_mappings(FunctionName=publish)["EventSourceMappings"][0]["UUID"]
    functions.update_event_source_mapping(UUID=mapping, Enabled=False)
    try:
        found = doctor()["triggers"]
    finally:
        functions.update_event_source_mapping(UUID=mapping, Enabled=True)
    assert (found["ok"], publish in found["text"]) == (False, True)
    assert found["advice"] == f"aws lambda update-event-source-mapping --enabled --uuid {mapping}"


def test_a_role_that_was_changed_by_hand_is_named(talk, doctor):
    iam, role = talk.deployed.client("iam"), talk.deployed.physical_id("PublishRole")
    before = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
    without_condition = json.dumps(before | {"Statement": [before["Statement"][0] | {"Condition": {}}]})
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=without_condition)
    try:
        found = doctor()["roles"]
    finally:
        iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(before))
    assert (found["ok"], found["text"]) == (False, "not as deployed: PublishRole")


def test_an_alarm_whose_metric_has_values_is_not_named(talk, doctor):
    queue = talk.deployed.physical_id("SpillQueue").rpartition("/")[2]
    data = {
        "MetricName": "ApproximateNumberOfMessagesNotVisible",
        "Dimensions": [{"Name": "QueueName", "Value": queue}],
        "Value": 0,
    }
    assert "SpillAlarm" in doctor()["alarm metrics"]["text"]
    talk.deployed.client("cloudwatch").put_metric_data(Namespace="AWS/SQS", MetricData=[data])
    assert "SpillAlarm" not in doctor()["alarm metrics"]["text"]


def test_an_alarm_whose_metric_is_written_only_in_trouble_is_not_named(doctor):
    assert "ParkedAlarm" not in doctor()["alarm metrics"]["text"]


def test_bot_that_works_has_no_fault(talk, doctor):
    found = doctor()
    assert {check: found[check]["ok"] for check in OF_A_BOT} == {
        "secret": True,
        "circuit": True,
        "slots": True,
        "url": True,
        "signatures": True,
        "clock of LangBot": True,
        "LangBot's form": None,
        "callbacks": True,
    }
    assert talk.bot.emitted == []  # no message was sent


def test_wrong_inbound_secret_is_named_without_a_message(talk, doctor):
    talk.bot.inbound_secret += "x"
    url = doctor()["url"]
    assert (url["ok"], "signature_mismatch" in url["text"]) == (False, True)
    assert "Inbound Signing Secret" in url["advice"]


def test_url_that_names_no_bot_is_named(talk, doctor):
    change_secret(talk, url=talk.bot.url + "x")
    url = doctor()["url"]
    assert (url["ok"], url["text"]) == (False, "answered 404: Bot not found")


def test_bot_that_cannot_be_reached_from_here_is_left_to_the_test(talk, doctor):
    change_secret(talk, url="http://127.0.0.1:1/bots/1")
    url = doctor()["url"]
    assert (url["ok"], "seen from this computer" in url["text"]) == (None, True)
    assert f"`relay bots test {talk.name}`" in url["advice"]


def test_refused_callbacks_are_named_with_the_command_that_helps(talk, doctor):
    refuse(talk, talk.name)
    callbacks = eventually(lambda: one if not (one := doctor()["callbacks"])["ok"] else None)
    assert callbacks["text"].startswith(
        "callback refused 1 request for the bot: signature_mismatch; the last at"
    )
    assert f"`relay bots set {talk.name} --outbound-secret`" in callbacks["advice"]


def test_callbacks_for_a_bot_that_does_not_exist_are_named(talk, tmp_path):
    refuse(talk, f"{talk.name}x")
    relay = CommandLine(talk.deployed, tmp_path)
    said = f"for a bot '{talk.name}x', which does not exist"
    shown = eventually(lambda: out if said in (out := relay("doctor", "--bot", talk.name).stdout) else None)
    assert f"must be exactly {talk.deployed.callback_url(talk.name)}\n" in shown


def test_refusals_of_a_time_are_those_of_the_bot_between_its_ends(talk):
    refuse(talk, talk.name)
    logs = talk.deployed.stack.open_logs()
    (line,) = eventually(lambda: logs.refusals("bot", talk.name, 0))
    assert logs.refusals("bot", talk.name, line.at, line.at + 1) == [line]
    assert logs.refusals("bot", talk.name, 0, line.at - 1) == []
    assert logs.refusals("bot", talk.name, line.at + 1) == []


def refuse(talk, bot):
    """Have callback refuse a request for a bot, or a name that no bot has."""
    raw = part_body(talk)
    url = talk.deployed.callback_url(bot)
    assert requests.post(url, raw, headers=signed_headers(raw, "guess"), timeout=60).status_code == 401


def test_doctors_own_probe_is_nobodys_refusal(talk, tmp_path):
    CommandLine(talk.deployed, tmp_path)("doctor", "--bot", talk.name)
    refused = talk.deployed.stack.open_logs().refused(0, 10_000)
    assert "timestamp_missing" not in {
        line.fields["reason"] for line in refused if line.fields["bot"] in ("default", PROBE)
    }


def test_unusable_secret_is_named(talk, doctor):
    change_secret(talk, timezone="Mars/Phobos")
    secret = doctor()["secret"]
    assert (secret["ok"], "timezone is not an IANA name" in secret["text"]) == (False, True)


def test_bot_that_is_missing_is_named(talk, tmp_path):
    done = CommandLine(talk.deployed, tmp_path)("doctor", "--bot", "nobody")
    assert done.returncode == 1
    assert "FAIL  nobody: secret             there is none" in done.stdout
    assert "-> `relay connect --bot nobody` makes it" in done.stdout
