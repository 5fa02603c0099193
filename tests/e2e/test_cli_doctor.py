"""The command `relay doctor`, as it is typed."""

import json

import pytest

from support.bots import change_secret
from support.command_line import CommandLine

OF_A_BOT = ("secret", "circuit", "slots", "url", "signatures", "clock of LangBot", "LangBot's form")


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


def test_unusable_secret_is_named(talk, doctor):
    change_secret(talk, timezone="Mars/Phobos")
    secret = doctor()["secret"]
    assert (secret["ok"], "timezone is not an IANA name" in secret["text"]) == (False, True)


def test_bot_that_is_missing_is_named(talk, tmp_path):
    done = CommandLine(talk.deployed, tmp_path)("doctor", "--bot", "nobody")
    assert done.returncode == 1
    assert "FAIL  nobody: secret             there is none" in done.stdout
    assert "-> `relay connect --bot nobody` makes it" in done.stdout
