import json

import pytest

from relay.domain.bot import parse_bot, weakness

VALID = {"url": "https://bot.example/bots/1", "inbound_secret": "in", "outbound_secret": "out"}


def bot(**fields):
    return parse_bot("sales", json.dumps(VALID | fields))


def test_a_valid_secret_gives_a_usable_bot():
    assert bot().unusable is None


def test_a_secret_may_be_a_list_newest_first_or_a_single_string():
    found = bot(inbound_secret=["new", "old"])
    assert (found.inbound_secrets, found.outbound_secrets) == (("new", "old"), ("out",))


@pytest.mark.parametrize("empty", ["", None, []])
def test_callbacks_are_signed_with_the_inbound_secret_if_there_is_no_other(empty):
    assert bot(outbound_secret=empty).outbound_secrets == ("in",)


def test_a_trailing_slash_of_the_url_is_removed_since_langbot_refuses_it():
    assert bot(url="https://bot.example/bots/1/").endpoint("") == "https://bot.example/bots/1"


def test_a_query_of_the_url_stays_behind_the_path():
    found = bot(url="https://bot.example/bots/1/?token=a#b")
    assert found.endpoint("/sync") == "https://bot.example/bots/1/sync?token=a"


def test_white_space_and_byte_order_marks_are_not_part_of_a_secret():
    pasted = {name: f"\ufeff {value}\r\n" for name, value in VALID.items()}
    assert parse_bot("sales", f"\ufeff{json.dumps(pasted)}\n") == bot()


@pytest.mark.parametrize(("value", "is_on"), [(True, True), (False, False), ("yes", False), (None, False)])
def test_messages_to_a_group_name_the_bot_only_if_its_secret_says_so(value, is_on):
    assert bot(group_at=value).group_at is is_on


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
        (
            {"outbound_secret": ["out"] * 11},
            "outbound_secret must be a non-empty string or a list of up to 10",
        ),
        ({"url": "bot.example/bots/1"}, "url must be an address"),
        ({"url": "https://[your-langbot-host]/bots/1"}, "url must be an address"),
        ({"url": "http://[::1:5300/bots/1"}, "url must be an address"),
        ({"url": "http://bot.example:99999/"}, "url must be an address"),
        ({"url": "https:///bots/1"}, "url must be an address"),
        ({"url": "file:///etc/passwd"}, "url must be an address"),
        ({"url": ["https://bot.example"]}, "url must be an address"),
        ({"session_type": "channel"}, "session_type must be person or group"),
        ({"replies": "callback"}, "replies must be push"),
        ({"timezone": "Mars/Olympus"}, "timezone is not an IANA name"),
        ({"timezone": "../../etc/passwd"}, "timezone is not an IANA name"),
        ({"timezone": 8}, "timezone is not an IANA name"),
    ],
)
def test_a_fault_in_the_secret_makes_the_bot_unusable_and_is_named(fields, fault):
    unusable = bot(**fields).unusable
    assert unusable.startswith("the secret of bot 'sales': ")
    assert fault in unusable


@pytest.mark.parametrize("secret", ["", "not json", "[]", "null"])
def test_a_secret_that_is_no_object_makes_the_bot_unusable(secret):
    assert "it is not" in parse_bot("sales", secret).unusable


@pytest.mark.parametrize("fields", [{"url": "hush-3"}, {"timezone": "hush-3"}, {"session_type": "hush-3"}])
def test_callbacks_of_an_unusable_bot_can_be_verified_and_no_value_is_quoted(fields):
    found = bot(inbound_secret="hush-1", outbound_secret="hush-2", **fields)
    assert found.outbound_secrets == ("hush-2",)
    assert "hush" not in found.unusable


def test_no_text_made_of_a_bot_shows_its_secrets():
    found = bot(inbound_secret="hush-1", outbound_secret="hush-2")
    assert "hush" not in f"{found} {found!r}"


@pytest.mark.parametrize(
    ("inbound", "outbound", "weak"),
    [
        ("i" * 16, "o" * 16, None),
        (["i" * 16, "j" * 16], ["o" * 16, "p" * 16], None),
        ("i" * 15, "o" * 16, "inbound_secret has fewer than 16 characters"),
        ("i" * 16, ["o" * 16, "hush"], "outbound_secret has fewer than 16 characters"),
        ("s" * 16, "s" * 16, "inbound_secret and outbound_secret are the same"),
        (["i" * 16, "s" * 16], ["s" * 16, "o" * 16], "inbound_secret and outbound_secret are the same"),
        ("i" * 16, "", "or outbound_secret is missing"),
    ],
)
def test_a_weakness_is_named_without_the_secret_and_the_bot_works(inbound, outbound, weak):
    found = bot(inbound_secret=inbound, outbound_secret=outbound)
    assert found.unusable is None
    text = weakness(found)
    assert text is None if weak is None else weak in text
    assert not text or "hush" not in text
