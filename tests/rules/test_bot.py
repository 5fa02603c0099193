import json

import pytest

from relay.rules.bot import InvalidBot, parse

GOOD = {"url": "https://bot.example/bots/1", "inbound_secret": "in", "outbound_secret": "out"}


def bot(**fields):
    return parse("sales", json.dumps(GOOD | fields))


def test_secrets_are_newest_first_and_a_single_one_is_a_list_of_one():
    found = bot(inbound_secret=["new", "old"])
    assert (found.inbound_secrets, found.outbound_secrets) == (("new", "old"), ("out",))


@pytest.mark.parametrize("empty", ["", None, []])
def test_callbacks_are_signed_with_the_inbound_secret_where_there_is_no_outbound_one(empty):
    assert bot(outbound_secret=empty).outbound_secrets == ("in",)


def test_a_trailing_slash_which_langbot_refuses_is_taken_off():
    assert bot(url="https://bot.example/bots/1/").url == "https://bot.example/bots/1"


def test_a_bot_may_not_have_its_url_yet():
    assert bot(url="").url == ""


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"inbound_secret": ""}, "inbound_secret is empty or missing"),
        ({"inbound_secret": []}, "inbound_secret is empty or missing"),
        ({"inbound_secret": ["new", ""]}, "inbound_secret must be a non-empty string"),
        ({"inbound_secret": 5}, "inbound_secret must be a non-empty string"),
        ({"outbound_secret": [None]}, "outbound_secret must be a non-empty string"),
        ({"url": "bot.example/bots/1"}, "url must begin with https://"),
        ({"url": "file:///etc/passwd"}, "url must begin with https://"),
        ({"url": ["https://bot.example"]}, "url must begin with https://"),
        ({"session_type": "channel"}, "session_type must be person or group"),
        ({"timezone": "Mars/Olympus"}, "timezone is not an IANA name"),
        ({"timezone": "../../etc/passwd"}, "timezone is not an IANA name"),
        ({"timezone": 8}, "timezone is not an IANA name"),
    ],
)
def test_a_fault_in_the_secret_is_named(fields, fault):
    with pytest.raises(InvalidBot) as refused:
        bot(**fields)
    assert str(refused.value).startswith("the secret of bot 'sales': ")
    assert fault in str(refused.value)


@pytest.mark.parametrize("secret", ["", "not json", "[]", "null"])
def test_a_secret_that_is_no_object_is_refused(secret):
    with pytest.raises(InvalidBot, match="it is not"):
        parse("sales", secret)


def test_no_text_made_of_a_bot_shows_its_secrets():
    found = bot(inbound_secret="hush-1", outbound_secret="hush-2")
    assert "hush" not in f"{found} {found!r}"
