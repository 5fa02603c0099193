"""What the relay believes of Secrets Manager. The addresses are those of AWS's documents."""

import json
from uuid import uuid4

import pytest

from beliefs.implementations import Models, code_of, on


@pytest.fixture
def secret(aws):
    """The name of a secret of the test's own, whose value is {"n": 1}."""
    name = f"belief-{uuid4().hex[:12]}/bots/one"
    manager = aws.client("secretsmanager")
    if isinstance(aws, Models):
        aws.secrets.put(name, {"n": 1})
        yield name
        return
    manager.create_secret(Name=name, SecretString='{"n": 1}')
    yield name
    manager.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)


def value(aws, name):
    return json.loads(aws.client("secretsmanager").get_secret_value(SecretId=name)["SecretString"])


def delete(aws, name):
    if isinstance(aws, Models):
        aws.secrets.put(name, None)
    else:
        aws.client("secretsmanager").delete_secret(SecretId=name)


@on("emulator", "moto", "model")
def test_a_secret_that_is_missing_is_not_found(aws):
    """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html"""
    assert code_of(lambda: value(aws, f"belief-{uuid4().hex}")) == "ResourceNotFoundException"


@on("emulator", "moto", "model")
def test_a_secret_that_is_scheduled_for_deletion_cannot_be_read(aws, secret):
    """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DeleteSecret.html

    It is another error than for a secret that is missing. Both mean that there is no such bot.
    """
    delete(aws, secret)
    assert code_of(lambda: value(aws, secret)) == "InvalidRequestException"


@on(emulator="it says ResourceExistsException", moto="it says ResourceExistsException")
def test_a_secret_that_is_scheduled_for_deletion_keeps_its_name(aws, secret):
    """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html"""
    delete(aws, secret)
    manager = aws.client("secretsmanager")
    made = code_of(lambda: manager.create_secret(Name=secret, SecretString="{}"))
    assert made == "InvalidRequestException"


@on("emulator", "moto")
def test_a_name_that_is_taken_is_refused(aws, secret):
    """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html"""
    manager = aws.client("secretsmanager")
    made = code_of(lambda: manager.create_secret(Name=secret, SecretString="{}"))
    assert made == "ResourceExistsException"


@on("emulator", "moto", "model")
def test_a_value_that_was_put_is_read(aws, secret):
    """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html"""
    aws.client("secretsmanager").put_secret_value(SecretId=secret, SecretString='{"n": 2}')
    assert value(aws, secret) == {"n": 2}


@on("emulator", "moto", "model")
def test_secrets_are_listed_by_the_begin_of_their_name(aws, secret):
    """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_Filter.html

    A secret that is scheduled for deletion is not listed.
    """

    def listed():
        filters = [{"Key": "name", "Values": [secret.removesuffix("one")]}]
        found = aws.client("secretsmanager").list_secrets(Filters=filters)["SecretList"]
        return [one["Name"] for one in found]

    assert listed() == [secret]
    delete(aws, secret)
    assert listed() == []
