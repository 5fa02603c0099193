"""The memory of bots, with a Secrets Manager that is told to fail and a clock that is set by hand."""

import json

import pytest
from botocore.exceptions import ClientError

from relay.edge.bots import COOL_DOWN, MOST, REMEMBER, Bots, UnknownBot
from relay.rules.bot import InvalidBot


class SecretsManager:
    class exceptions:  # noqa: N801
        class ResourceNotFoundException(Exception):
            pass

    def __init__(self, **secrets):
        self.secrets, self.asked, self.down = secrets, [], False

    def get_secret_value(self, SecretId):  # noqa: N803
        self.asked.append(SecretId)
        if self.down:
            raise ClientError({"Error": {"Code": "InternalServiceError", "Message": ""}}, "GetSecretValue")
        try:
            return {"SecretString": self.secrets[SecretId.removeprefix("relay/bots/")]}
        except KeyError:
            raise self.exceptions.ResourceNotFoundException from None


def secret(inbound="in"):
    return json.dumps({"url": "https://bot", "inbound_secret": inbound})


@pytest.fixture
def manager():
    return SecretsManager(sales=secret())


@pytest.fixture
def clock():
    return [1000.0]


@pytest.fixture
def bots(manager, clock):
    return Bots(manager, "relay/bots/", lambda: clock[0])


def test_a_bot_is_asked_for_once_in_a_while(bots, manager, clock):
    for _ in range(5):
        bots.get("sales")
    clock[0] += REMEMBER
    bots.get("sales")
    assert manager.asked == ["relay/bots/sales"] * 2


def test_a_secret_that_has_just_been_read_is_read_anew_for_who_failed_with_it(bots, manager):
    bots.get("sales")
    manager.secrets["sales"] = secret("new")
    assert bots.get("sales", anew=True).inbound_secrets == ("new",)


def test_many_failures_are_one_question(bots, manager, clock):
    for _ in range(20):
        bots.get("sales", anew=True)
    assert len(manager.asked) == 1
    clock[0] += COOL_DOWN
    bots.get("sales", anew=True)
    assert len(manager.asked) == 2


def test_a_made_up_name_is_one_question(bots, manager, clock):
    for _ in range(20):
        with pytest.raises(UnknownBot, match="there is no secret relay/bots/nobody"):
            bots.get("nobody")
    assert len(manager.asked) == 1
    manager.secrets["nobody"] = secret()
    clock[0] += COOL_DOWN
    assert bots.get("nobody").name == "nobody"


def test_what_cannot_be_a_name_is_no_question(bots, manager):
    for name in ("", "UPPER", "a/b", "a" * 64, "a\n"):
        with pytest.raises(UnknownBot):
            bots.get(name)
    assert manager.asked == []


def test_made_up_names_cannot_fill_the_memory_nor_drive_a_bot_out_of_it(bots, manager):
    bots.get("sales")
    for number in range(MOST + 5):
        with pytest.raises(UnknownBot):
            bots.get(f"x{number}")
    assert len(bots._known) <= MOST
    manager.down = True
    assert bots.get("sales").inbound_secrets == ("in",)


@pytest.mark.parametrize("broken", ["down", "invalid"])
def test_the_last_good_secret_keeps_serving(bots, manager, clock, broken):
    bots.get("sales")
    manager.down, manager.secrets["sales"] = broken == "down", "{}"
    clock[0] += 10 * REMEMBER
    assert bots.get("sales").inbound_secrets == ("in",)


def test_who_doubts_a_secret_that_cannot_be_read_anew_is_told_so(bots, manager):
    bots.get("sales")
    manager.down = True
    with pytest.raises(ClientError):
        bots.get("sales", anew=True)
    assert bots.get("sales").inbound_secrets == ("in",)


def test_a_bot_that_failed_is_read_again_and_kept_where_it_cannot_be(bots, manager):
    bots.get("sales")
    bots.doubt("sales")
    manager.secrets["sales"] = secret("new")
    assert bots.get("sales").inbound_secrets == ("new",)
    bots.doubt("sales")
    manager.down = True
    assert bots.get("sales").inbound_secrets == ("new",)


def test_a_secret_that_was_never_read_and_cannot_be_is_an_error(bots, manager):
    manager.down = True
    for _ in range(2):  # and does not become an unknown bot, whose parts would be refused for good
        with pytest.raises(ClientError):
            bots.get("sales")


def test_a_secret_that_is_not_valid_is_an_error_that_names_it(bots, manager):
    manager.secrets["sales"] = "{}"
    with pytest.raises(InvalidBot, match="'sales': inbound_secret is empty"):
        bots.get("sales")
