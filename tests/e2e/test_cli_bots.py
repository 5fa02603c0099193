"""The commands `relay bots …`, as they are typed."""

import json

import pytest

from local.sample_bot import Answer
from support.deployed import IN, OUT

SECRETS = {"inbound_secret": IN, "outbound_secret": OUT}


def secret_name(talk, bot=None):
    return talk.deployed.local.outputs["BotSecretPrefix"] + (bot or talk.name)


def write(talk, fields):
    manager = talk.deployed.client("secretsmanager")
    manager.put_secret_value(SecretId=secret_name(talk), SecretString=json.dumps(fields))


def read(talk, bot=None):
    """Return the version of a bot's secret, and its fields."""
    response = talk.deployed.client("secretsmanager").get_secret_value(SecretId=secret_name(talk, bot))
    return response["VersionId"], json.loads(response["SecretString"])


def line_of(talk, done):
    (line,) = [line for line in done.stdout.splitlines() if talk.name in line]
    return line


# ---------------------------------------------------------------- list


def test_bots_are_listed_without_their_secrets(talk, relay):
    done = relay("bots", "list")
    assert (done.returncode, done.stderr) == (0, "")
    assert line_of(talk, done).split() == [talk.name, talk.bot.url, "closed", "0", "of", "50", "0", "-"]
    assert not any(secret in done.stdout for secret in SECRETS.values())


def test_bots_alone_lists_them(talk, relay):
    assert line_of(talk, relay("bots")).split() == line_of(talk, relay("bots", "list")).split()
    assert json.loads(relay("bots", "--json").stdout.splitlines()[0])["bot"]


def test_secret_that_is_no_bots_is_not_listed(talk, relay):
    manager = talk.deployed.client("secretsmanager")
    manager.create_secret(Name=secret_name(talk, "sales/backup"), SecretString="{}")
    assert "backup" not in relay("bots", "list").stdout


def test_list_shows_no_token_of_a_url(talk, relay):
    write(talk, {"url": "https://user:hush@bot.example/bots/1?token=hush", **SECRETS})
    done = relay("bots", "list")
    assert "https://bot.example/bots/1?…" in line_of(talk, done)
    assert "hush" not in done.stdout


def test_failing_bot_is_listed_with_its_circuit_and_last_error(talk, relay):
    talk.conversation().wait(talk.push("before"))  # push is up from here on
    talk.bot.answer_with(*[Answer(502)] * 99)
    talk.deployed.state(talk.push("hello"), "retrying")
    (listed,) = [
        fields
        for fields in map(json.loads, relay("bots", "list", "--json").stdout.splitlines())
        if fields["bot"] == talk.name
    ]
    assert listed["failures"] >= 1
    assert listed["circuit"] != "closed"
    assert listed["last_error"] == "answered 502"


# ---------------------------------------------------------------- set


def test_set_changes_one_field_and_keeps_all_others(talk, relay):
    write(talk, {"url": talk.bot.url, "note": "ours", **SECRETS})
    done = relay("bots", "set", talk.name, "--timezone", "Asia/Shanghai", "--group-at")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"bot {talk.name}: group_at, timezone changed; the relay uses it within a minute\n"
    expected = {"url": talk.bot.url, "note": "ours", "timezone": "Asia/Shanghai", "group_at": True}
    assert read(talk)[1] == expected | SECRETS


def test_empty_value_removes_a_field(talk, relay):
    write(talk, {"url": talk.bot.url, "timezone": "UTC", "group_at": True, **SECRETS})
    assert relay("bots", "set", talk.name, "--timezone", "", "--no-group-at").returncode == 0
    assert read(talk)[1] == {"url": talk.bot.url, **SECRETS}


def test_set_that_changes_nothing_writes_nothing(talk, relay):
    before = read(talk)
    done = relay("bots", "set", talk.name, "--url", talk.bot.url)
    assert done.stdout == f"bot {talk.name}: nothing changes\n"
    assert read(talk) == before


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--url", "langbot.example", "url must be an address"),
        ("--timezone", "Mars/Phobos", "timezone is not an IANA name"),
        ("--replies", "pull", "replies must be push"),
        ("--session-type", "crowd", "session_type must be person or group"),
    ],
)
def test_invalid_field_is_refused_and_nothing_is_changed(talk, relay, option, value, why):
    before = read(talk)
    done = relay("bots", "set", talk.name, option, value)
    assert done.returncode == 2
    assert why in done.stderr
    assert read(talk) == before


def test_set_writes_no_weak_secret(talk, relay):
    write(talk, {"url": talk.bot.url, **SECRETS, "inbound_secret": "short"})
    before = read(talk)
    done = relay("bots", "set", talk.name, "--timezone", "UTC")
    assert done.returncode == 2
    assert "inbound_secret has fewer than 16 characters" in done.stderr
    assert read(talk) == before


def test_set_makes_a_bot_with_new_secrets_that_it_does_not_print(talk, relay):
    name = f"{talk.name}-new"
    done = relay("bots", "set", name, "--url", "https://langbot.example/bots/1")
    assert (done.returncode, done.stderr) == (0, "")
    assert talk.deployed.callback_url(name) in done.stdout
    _, fields = read(talk, name)
    secrets = [fields.pop("inbound_secret"), fields.pop("outbound_secret")]
    assert fields == {"url": "https://langbot.example/bots/1"}
    assert [len(secret) for secret in set(secrets)] == [43, 43]
    assert not any(secret in done.stdout for secret in secrets)


def test_bot_that_set_makes_has_the_key_of_its_stack(talk, relay, guarded):
    outputs = talk.deployed.local.outputs
    environment = {
        "AWS_ENDPOINT_URL": outputs["EndpointUrl"],
        "AWS_DEFAULT_REGION": outputs["Region"],
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    url = ["--url", "https://langbot.example/bots/1"]
    done = relay("bots", "set", "sales", *url, "--stack", guarded, environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    manager = talk.deployed.client("secretsmanager")
    keys = [
        manager.describe_secret(SecretId=f"{guarded}/bots/{bot}")["KmsKeyId"] for bot in ("default", "sales")
    ]
    assert len(set(keys)) == 1


def test_set_takes_secrets_from_standard_input(talk, relay):
    secrets = {"inbound_secret": "i" * 40, "outbound_secret": "o" * 40}
    words = "bots", "set", talk.name, "--inbound-secret", "--outbound-secret"
    done = relay(*words, text="\n".join(secrets.values()))
    assert (done.returncode, done.stderr) == (0, "")
    assert read(talk)[1] == {"url": talk.bot.url, **secrets}
    assert relay(*words, text="\n").stderr == "relay: inbound_secret is empty; nothing was changed\n"


def test_set_without_a_field_says_which_there_are(talk, relay):
    done = relay("bots", "set", talk.name)
    assert (done.returncode, "--url" in done.stderr) == (2, True)


# ---------------------------------------------------------------- test


def test_both_directions_of_a_bot_that_works(talk, relay):
    done = relay("bots", "test", talk.name)
    assert (done.returncode, done.stderr) == (0, "")
    there, back = done.stdout.splitlines()
    assert there.split() == ["ok", "to", "LangBot", "LangBot", "accepted", "the", "message"]
    assert back.startswith("ok    from LangBot")
    assert "echo: This is a test" in back


def test_wrong_inbound_secret_is_a_fault_on_the_way_to_langbot(talk, relay):
    talk.bot.inbound_secret += "x"
    done = relay("bots", "test", talk.name, "--timeout", "5", "--json")
    there, back = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, there["ok"], back["ok"]) == (4, False, None)
    assert "signature_mismatch" in there["text"]
    assert "Inbound Signing Secret" in there["advice"]


def test_wrong_outbound_secret_is_a_fault_on_the_way_back(talk, relay):
    talk.bot.outbound_secret += "x"
    done = relay("bots", "test", talk.name, "--timeout", "5", "--json")
    there, back = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, there["ok"], back["ok"]) == (4, True, False)
    assert "callback refused 1 request for the bot: signature_mismatch" in back["text"]
    assert f"`relay bots set {talk.name} --outbound-secret` asks for" in back["advice"]


def test_wrong_callback_url_is_a_fault_on_the_way_back(talk, relay):
    talk.bot.callback_url += "/"
    done = relay("bots", "test", talk.name, "--timeout", "5")
    assert done.returncode == 4
    assert f"exactly {talk.deployed.callback_url(talk.name)} and" in done.stdout


def test_callback_url_of_a_bot_that_does_not_exist_is_named(talk, relay):
    talk.bot.callback_url += "x"
    done = relay("bots", "test", talk.name, "--timeout", "5")
    assert f"for a bot '{talk.name}x', which does not exist" in done.stdout
    assert f"it must be exactly {talk.deployed.callback_url(talk.name)}\n" in done.stdout


def test_url_that_was_just_changed_is_the_one_that_is_tested(talk, relay):
    talk.conversation().wait(talk.push("before"))  # push has the secret in its cache
    assert relay("bots", "set", talk.name, "--url", talk.bot.url + "x").returncode == 0
    done = relay("bots", "test", talk.name, "--timeout", "5")
    assert (done.returncode, "answered 404: Bot not found" in done.stdout) == (4, True)


def test_test_message_that_is_parked_is_dropped_again(talk, relay):
    talk.bot.answer_with(Answer(400, {"code": 40001, "msg": "failed to parse"}))
    done = relay("bots", "test", talk.name)
    assert (done.returncode, "answered 400: failed to parse" in done.stdout) == (4, True)
    assert talk.name not in relay("waiting").stdout


# ---------------------------------------------------------------- retry


def test_retry_sends_to_a_failing_bot_at_once(talk, relay):
    talk.conversation().wait(talk.push("before"))
    talk.bot.answer_with(*[Answer(502, headers={"Retry-After": "60"})])
    failed = talk.push("hello")
    talk.deployed.state(failed, "retrying")

    done = relay("bots", "retry", talk.name)

    assert (done.returncode, "the last error was: answered 502" in done.stdout) == (0, True)
    # Without it the bot's circuit is open for a minute.
    assert talk.conversation("another").wait(talk.push("next", session="another"), timeout=40)


def test_retry_of_a_bot_that_works_changes_nothing(talk, relay):
    talk.conversation().wait(talk.push("before"))
    assert "its circuit is closed" in relay("bots", "retry", talk.name).stdout


# ---------------------------------------------------------------- remove


def test_remove_asks_first(talk, relay):
    before = read(talk)
    done = relay("bots", "remove", talk.name, text="n\n")
    assert (done.returncode, done.stderr) == (1, "relay: nothing was removed\n")
    assert f"Bot {talk.name} has 0 messages that wait" in done.stdout
    assert read(talk) == before


def test_remove_without_an_answer_removes_nothing(talk, relay):
    before = read(talk)
    done = relay("bots", "remove", talk.name)
    assert (done.returncode, "--yes" in done.stderr) == (2, True)
    assert read(talk) == before


def test_removed_bot_is_no_longer_listed_and_can_be_restored(talk, relay):
    done = relay("bots", "remove", talk.name, text="y\n")
    assert done.returncode == 0
    assert f"aws secretsmanager restore-secret --secret-id {secret_name(talk)}" in done.stdout
    assert talk.name not in relay("bots", "list").stdout
    again = relay("bots", "set", talk.name, "--url", "http://127.0.0.1:9/bots/1")
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert f"restore it: aws secretsmanager restore-secret --secret-id {secret_name(talk)}" in again.stderr
    talk.deployed.client("secretsmanager").restore_secret(SecretId=secret_name(talk))
    assert talk.name in relay("bots", "list").stdout


@pytest.mark.parametrize("action", ["test", "retry", "remove"])
def test_unknown_bot_is_refused(relay, action):
    done = relay("bots", action, "nobody")
    assert done.returncode == 2
    assert done.stderr.startswith("relay: there is no bot 'nobody': `relay bots list` shows the bots")


def test_name_that_no_bot_can_have_is_refused(relay):
    done = relay("bots", "test", "No\x1bBot")
    assert done.returncode == 2
    assert "not a bot's name" in done.stderr
    assert "\x1b" not in done.stderr
