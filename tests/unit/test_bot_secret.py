import json

import pytest

from relay_cli.bot_secret import changed, changed_fields, new_secret, with_secrets
from relay_cli.terminal import CommandFailed

STRONG = {"inbound_secret": ["new-inbound-secret", "old-inbound-secret"], "outbound_secret": "o" * 43}


def test_a_change_keeps_what_it_does_not_name():
    before = json.dumps({"url": "https://bot.example/1", "note": {"owner": "é"}, **STRONG})
    after = json.loads(changed("sales", before, {"timezone": "Asia/Shanghai"}))
    assert after == json.loads(before) | {"timezone": "Asia/Shanghai"}


def test_an_empty_value_removes_its_field_and_no_other():
    before = json.dumps({"url": "", "timezone": "UTC", "group_at": True, **STRONG})
    after = json.loads(changed("sales", before, {"timezone": "", "group_at": False}))
    assert after == {"url": "", **STRONG}


def test_a_bot_without_a_secret_gets_two_of_43_characters():
    fields = json.loads(changed("sales", None, {"url": "https://bot.example/1"}))
    assert {len(fields["inbound_secret"]), len(fields["outbound_secret"])} == {43}
    assert fields["inbound_secret"] != fields["outbound_secret"]
    assert new_secret() != new_secret()


@pytest.mark.parametrize(
    ("before", "why"),
    [
        ("hush", "not a JSON object"),
        (json.dumps({"outbound_secret": "hush" * 9}), "inbound_secret is empty or missing"),
        (json.dumps({"inbound_secret": "hush", "outbound_secret": "hush" * 9}), "fewer than 16 characters"),
        (json.dumps({"inbound_secret": "hush" * 9}), "outbound_secret is missing"),
    ],
)
def test_a_secret_that_is_not_valid_or_weak_is_refused_unquoted(before, why):
    with pytest.raises(CommandFailed, match=why) as refused:
        changed("sales", before, {"timezone": "UTC"})
    assert refused.value.code == 2
    assert "hush" not in str(refused.value)


def test_fields_that_differ_are_named_without_their_values():
    before, after = json.dumps({"url": "a", "timezone": "UTC"}), json.dumps({"url": "b", "group_at": True})
    assert changed_fields(before, after) == ["group_at", "timezone", "url"]
    assert changed_fields(before, before) == []
    assert changed_fields(None, after) == ["group_at", "url"]


def test_other_signing_secrets_keep_the_other_fields():
    before = json.dumps({"url": "old", "timezone": "UTC", **STRONG})
    assert json.loads(with_secrets(before, {}, url="new")) == json.loads(before) | {"url": "new"}
    secrets = {"inbound_secret": ["i" * 43, "j" * 43], "outbound_secret": "p" * 43}
    assert json.loads(with_secrets(before, secrets)) == json.loads(before) | secrets
