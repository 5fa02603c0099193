"""Which secrets of the account are bots, by the names of the real Secrets Manager."""

import pytest

from relay import BotAdmin


@pytest.fixture
def admin(talk):
    return BotAdmin(talk.deployed.stack)


@pytest.mark.parametrize("name", ["UPPER", "a/path"])
def test_only_secrets_that_are_named_like_bots_are_listed(talk, admin, name):
    secrets = talk.deployed.client("secretsmanager")
    arn = secrets.create_secret(Name=talk.deployed.stack.bot_secret_prefix + name, SecretString="{}")["ARN"]
    try:
        names = admin.names()
    finally:
        secrets.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
    assert talk.name in names
    assert name not in names
    assert names == sorted(names)


def test_a_bot_exists_until_its_secret_waits_for_deletion(talk, admin):
    assert admin.exists(talk.name)
    assert not admin.exists(f"{talk.name}-not")
    talk.deployed.client("secretsmanager").delete_secret(
        SecretId=talk.deployed.stack.bot_secret_prefix + talk.name
    )
    assert not admin.exists(talk.name)
