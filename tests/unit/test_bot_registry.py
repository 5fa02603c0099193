"""The cache of bots, with a Secrets Manager that fails when it must and a clock that the tests set."""

import json

import pytest
from botocore.exceptions import ClientError

from relay.adapters.bot_registry import (
    CACHE_TTL,
    MAX_CACHED_NAMES,
    MIN_REFRESH_INTERVAL,
    BotRegistry,
    UnknownBot,
)


class SecretsManager:
    class exceptions:  # noqa: N801
        class ResourceNotFoundException(Exception):
            pass

        class InvalidRequestException(Exception):
            pass

    def __init__(self, **secrets):
        self.secrets, self.reads, self.down = secrets, [], False

    def get_secret_value(self, SecretId):  # noqa: N803
        self.reads.append(SecretId)
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
def registry(manager, clock):
    return BotRegistry(manager, "relay/bots/", lambda: clock[0])


def test_a_bot_is_read_once_in_the_lifetime_of_its_cache_entry(registry, manager, clock):
    for _ in range(5):
        registry.get("sales")
    clock[0] += CACHE_TTL
    registry.get("sales")
    assert manager.reads == ["relay/bots/sales"] * 2


def test_the_first_refresh_reads_a_secret_that_was_just_read(registry, manager):
    registry.get("sales")
    manager.secrets["sales"] = secret("new")
    assert registry.refresh("sales").inbound_secrets == ("new",)


def test_many_refreshes_are_one_read(registry, manager, clock):
    for _ in range(20):
        registry.refresh("sales")
    assert len(manager.reads) == 1
    clock[0] += MIN_REFRESH_INTERVAL
    registry.refresh("sales")
    assert len(manager.reads) == 2


def test_a_name_without_a_secret_is_read_once_until_the_interval_is_over(registry, manager, clock):
    for _ in range(20):
        with pytest.raises(UnknownBot, match="there is no secret relay/bots/unknown"):
            registry.get("unknown")
    assert len(manager.reads) == 1
    manager.secrets["unknown"] = secret()
    clock[0] += MIN_REFRESH_INTERVAL
    assert registry.get("unknown").name == "unknown"


def test_no_secret_is_read_for_a_text_that_cannot_be_a_name(registry, manager):
    for name in ("", "UPPER", "a/b", "a" * 64, "a\n"):
        with pytest.raises(UnknownBot):
            registry.get(name)
    assert manager.reads == []


def test_made_up_names_cannot_fill_the_cache_nor_push_a_bot_out_of_it(registry, manager):
    def is_cached(name):
        reads = len(manager.reads)
        with pytest.raises(UnknownBot):
            registry.get(name)
        return len(manager.reads) == reads

    registry.get("sales")
    names = [f"x{number}" for number in range(MAX_CACHED_NAMES + 5)]
    assert not any(is_cached(name) for name in names)
    # From the newest on: to look at a name that is not cached caches it.
    assert sum(is_cached(name) for name in reversed(names)) < MAX_CACHED_NAMES
    manager.down = True
    assert registry.get("sales").inbound_secrets == ("in",)


@pytest.mark.parametrize("broken", ["down", "invalid"])
def test_the_last_good_secret_stays_in_use(registry, manager, clock, broken):
    registry.get("sales")
    manager.down, manager.secrets["sales"] = broken == "down", "{}"
    clock[0] += 10 * CACHE_TTL
    assert registry.get("sales").inbound_secrets == ("in",)


def test_a_refresh_that_cannot_be_read_is_an_error_and_the_cache_stays(registry, manager):
    registry.get("sales")
    manager.down = True
    with pytest.raises(ClientError):
        registry.refresh("sales")
    assert registry.get("sales").inbound_secrets == ("in",)


def test_a_refresh_with_an_invalid_secret_is_unusable_and_the_cache_stays(registry, manager):
    registry.get("sales")
    manager.secrets["sales"] = "{}"
    assert registry.refresh("sales").unusable
    assert registry.get("sales").inbound_secrets == ("in",)


def test_an_invalidated_bot_is_read_again_and_stays_if_that_fails(registry, manager):
    registry.get("sales")
    registry.invalidate("sales")
    manager.secrets["sales"] = secret("new")
    assert registry.get("sales").inbound_secrets == ("new",)
    registry.invalidate("sales")
    manager.down = True
    assert registry.get("sales").inbound_secrets == ("new",)


def test_a_secret_that_was_never_read_and_cannot_be_read_is_an_error(registry, manager):
    manager.down = True
    for _ in range(2):  # and does not become an unknown bot, whose parts would be refused for good
        with pytest.raises(ClientError):
            registry.get("sales")


def test_a_bot_whose_secret_was_never_valid_is_unusable(registry, manager):
    manager.secrets["sales"] = "{}"
    assert "'sales': inbound_secret is empty" in registry.get("sales").unusable
