import json

import pytest

from relay_cli.connection import RelayBot, address_warnings, find_bot, plan
from relay_cli.terminal import CommandFailed

CALLBACK = "https://relay.example/callbacks/sales"
IN, OUT, OLD_IN, OLD_OUT = "i" * 43, "o" * 43, "j" * 43, "p" * 43
CONFIG = {
    "callback_url": CALLBACK,
    "inbound_secret": IN,
    "outbound_secret": OUT,
    "signature_required": True,
    "callback_timeout": 30,
    "callback_max_retries": 3,
    "default_session_type": "group",
    "note": "kept",
}


def langbots(name="sales", uuid="uuid-1", **changes):
    """Make a bot of LangBot."""
    config = CONFIG | changes.pop("config", {})
    return {"uuid": uuid, "name": name, "enable": True, "adapter_config": config} | changes


def relay_bot(**fields):
    secret = {"url": "https://langbot.example/bots/uuid-1", "inbound_secret": IN, "outbound_secret": OUT}
    return RelayBot("sales", json.dumps(secret | fields), CALLBACK)


# ---------------------------------------------------------------- which bot of LangBot


def test_bot_is_found_by_its_url_even_if_it_calls_back_elsewhere():
    mine = langbots(config={"callback_url": "https://elsewhere.example"})
    other = langbots(uuid="uuid-2")
    assert find_bot([other, mine], relay_bot(url="https://langbot.example/bots/uuid-1/?token=x"), "x") is mine


def test_bot_is_found_by_its_callback_url_if_its_url_is_not_known():
    mine = langbots(name="renamed")
    assert find_bot([langbots(config={"callback_url": "other"}), mine], relay_bot(url=""), "x") is mine


def test_bot_that_is_connected_to_nothing_is_found_by_its_name():
    mine = langbots(name="stack-sales", config={"callback_url": ""})
    assert find_bot([mine], relay_bot(url=""), "stack-sales") is mine


def test_bot_of_another_stack_is_not_taken_over():
    other = langbots(name="stack-sales", config={"callback_url": "https://other.example/callbacks/sales"})
    assert find_bot([other], relay_bot(url=""), "stack-sales") is None


def test_two_bots_for_one_are_refused():
    with pytest.raises(CommandFailed, match="2 HTTP bots 'sales'"):
        find_bot([langbots(), langbots(uuid="uuid-2")], relay_bot(url=""), "x")


# ---------------------------------------------------------------- what to change


def test_what_fits_is_not_changed():
    planned = plan(relay_bot(), langbots())
    assert (planned.changes, planned.secrets, planned.adapter_config) == ((), {}, CONFIG)


@pytest.mark.parametrize(
    "relay_side",
    [
        {"inbound_secret": [OLD_IN, IN], "outbound_secret": [OLD_OUT, OUT]},
        {"outbound_secret": [OLD_OUT, "q" * 43, OUT]},
    ],
)
def test_secret_that_the_relay_knows_from_a_rotation_fits(relay_side):
    assert plan(relay_bot(**relay_side), langbots()).changes == ()


def test_langbot_that_signs_with_the_inbound_secret_fits():
    config = {"outbound_secret": ""}
    assert plan(relay_bot(outbound_secret=""), langbots(config=config)).changes == ()


def test_other_secrets_in_langbot_are_replaced_and_its_other_fields_kept():
    planned = plan(relay_bot(), langbots(config={"outbound_secret": "typed", "callback_url": CALLBACK + "/"}))
    assert planned.adapter_config == CONFIG
    assert planned.secrets == {}
    assert planned.changes == (
        f"LangBot: Outbound Callback URL: {CALLBACK}/ -> {CALLBACK}",
        "LangBot: Outbound Signing Secret: a new value",
    )


def test_erased_configuration_is_written_whole():
    planned = plan(relay_bot(), {**langbots(), "adapter_config": {}})
    assert planned.adapter_config == {
        "default_session_type": "person",
        "signature_required": True,
        "callback_timeout": 15,
        "callback_max_retries": 3,
        "callback_url": CALLBACK,
        "inbound_secret": IN,
        "outbound_secret": OUT,
    }


def test_empty_secret_in_langbot_never_fits():
    planned = plan(relay_bot(), langbots(config={"inbound_secret": "", "outbound_secret": ""}))
    assert planned.adapter_config["inbound_secret"] == IN


@pytest.mark.parametrize(
    "secret",
    [
        None,
        json.dumps({"inbound_secret": "short", "outbound_secret": "short"}),
        json.dumps({"inbound_secret": IN, "outbound_secret": [""]}),
    ],
)
def test_missing_and_weak_secrets_are_made_anew(secret):
    planned = plan(RelayBot("sales", secret, CALLBACK), langbots())
    assert planned.secrets.keys() == {"inbound_secret", "outbound_secret"}
    assert {len(one) for one in planned.secrets.values()} == {43}
    assert planned.adapter_config == CONFIG | planned.secrets


def test_signature_and_bot_are_switched_on():
    planned = plan(relay_bot(), langbots(config={"signature_required": False}, enable=False))
    assert planned.adapter_config["signature_required"] is True
    assert planned.changes == (
        "LangBot: Require Inbound Signature: on",
        "LangBot: the bot is switched on",
    )


def test_changes_name_no_secret():
    planned = plan(relay_bot(), langbots(config={"inbound_secret": "hush-1", "outbound_secret": "hush-2"}))
    text = " ".join(planned.changes)
    assert not any(secret in text for secret in (IN, OUT, "hush"))


# ---------------------------------------------------------------- the address


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "10.0.0.7", "192.168.1.5", "langbot", "langbot.local", "[::1]"]
)
def test_address_that_lambda_cannot_reach_is_named(host):
    (warning,) = address_warnings(f"https://{host}:5300", deployed=True)
    assert "Lambda cannot reach" in warning
    assert address_warnings(f"http://{host}", deployed=False) == []


def test_address_without_encryption_is_named():
    assert "not encrypted" in address_warnings("http://langbot.example.com", deployed=True)[0]
    assert address_warnings("https://langbot.example.com", deployed=True) == []
