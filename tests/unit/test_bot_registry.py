"""The cache of bots, with a Secrets Manager that fails when it must and a clock that the tests set."""

import gc
import json
import weakref
from contextlib import suppress

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from relay.adapters.bot_registry import (
    CACHE_TTL,
    MAX_CACHED_NAMES,
    MAX_UNREADABLE,
    MAX_UNUSABLE,
    MIN_REFRESH_INTERVAL,
    SAVED_SECONDS,
    BotRegistry,
    TooManyNames,
    UnknownBot,
)


class SecretsManager:
    class exceptions:  # noqa: N801
        class ResourceNotFoundException(Exception):
            pass

        class InvalidRequestException(Exception):
            pass

    def __init__(self, **secrets):
        self.secrets, self.reads, self.down, self.denied = secrets, [], False, {}
        self.hangs = False

    def get_secret_value(self, SecretId):  # noqa: N803
        self.reads.append(SecretId)
        name = SecretId.removeprefix("relay/bots/")
        if self.hangs:
            try:
                raise TimeoutError
            except TimeoutError as error:
                raise ReadTimeoutError(endpoint_url="https://secretsmanager", error=error) from error
        if self.down:
            raise ClientError({"Error": {"Code": "InternalServiceError", "Message": ""}}, "GetSecretValue")
        if text := self.denied.get(name, self.denied.get("*")):
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": text}}, "GetSecretValue")
        try:
            return {"SecretString": self.secrets[name]}
        except KeyError:
            raise self.exceptions.ResourceNotFoundException from None


DENIED = "User: … is not authorized to perform: secretsmanager:GetSecretValue on resource: …"


def secret(inbound="in"):
    return json.dumps({"url": "https://bot", "inbound_secret": inbound})


def errors(caplog):
    return [record for record in caplog.records if record.levelname == "ERROR"]


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


def test_made_up_names_cannot_fill_the_cache_nor_push_a_bot_out_of_it(manager):
    registry = BotRegistry(manager, "relay/bots/", names_per_second=2 * MAX_CACHED_NAMES)

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


@pytest.mark.parametrize("broken", ["down", "denied"])
def test_the_last_good_secret_serves_for_hours_if_no_read_succeeds(registry, manager, clock, broken):
    registry.get("sales")
    manager.down, manager.denied = broken == "down", {"*": DENIED}
    clock[0] += MAX_UNREADABLE - 1
    assert registry.get("sales").inbound_secrets == ("in",)
    clock[0] += 1
    with pytest.raises(ClientError):
        registry.get("sales")
    manager.down, manager.denied = False, {}
    clock[0] += MIN_REFRESH_INTERVAL
    assert registry.get("sales").inbound_secrets == ("in",)


@pytest.mark.parametrize("rubbish", ["", "revoked", "{}"])
def test_a_secret_overwritten_with_rubbish_stops_serving_within_minutes(registry, manager, clock, rubbish):
    registry.get("sales")
    manager.secrets["sales"] = rubbish
    clock[0] += CACHE_TTL
    assert registry.get("sales").inbound_secrets == ("in",)
    clock[0] += MAX_UNUSABLE - CACHE_TTL
    assert registry.get("sales").unusable


def test_a_deleted_secret_stops_serving_within_a_minute(registry, manager, clock):
    registry.get("sales")
    del manager.secrets["sales"]
    clock[0] += CACHE_TTL
    with pytest.raises(UnknownBot):
        registry.get("sales")


def test_a_deleted_secret_does_not_serve_in_a_later_outage(registry, manager, clock):
    registry.get("sales")
    del manager.secrets["sales"]
    with pytest.raises(UnknownBot):
        registry.refresh("sales")
    manager.down = True
    clock[0] += MIN_REFRESH_INTERVAL
    with pytest.raises(ClientError):
        registry.get("sales")


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


def test_a_secret_that_was_never_read_and_cannot_be_read_is_an_error(registry, manager, clock):
    manager.down = True
    for _ in range(5):  # and does not become an unknown bot, whose parts would be refused for good
        with pytest.raises(ClientError):
            registry.get("sales")
    assert len(manager.reads) == 1
    clock[0] += MIN_REFRESH_INTERVAL
    manager.down = False
    assert registry.get("sales").inbound_secrets == ("in",)


def test_an_error_that_was_not_foreseen_does_not_make_a_bot_unknown(registry, manager, monkeypatch):
    monkeypatch.setattr(manager, "get_secret_value", lambda **_: {}["unforeseen"])
    with pytest.raises(KeyError):
        registry.get("sales")
    with pytest.raises(TooManyNames):
        registry.get("sales")


def test_after_a_question_without_an_answer_none_is_asked_for_a_second(registry, manager, clock):
    registry.get("sales")
    manager.hangs = True
    for name in ["a", "b", "c"]:
        with pytest.raises(ReadTimeoutError):
            registry.get(name)
    with pytest.raises(ReadTimeoutError):
        registry.refresh("sales")
    assert registry.get("sales").inbound_secrets == ("in",)
    assert manager.reads == ["relay/bots/sales", "relay/bots/a"]
    manager.hangs = False
    clock[0] += MIN_REFRESH_INTERVAL
    assert registry.refresh("sales").inbound_secrets == ("in",)


@pytest.mark.parametrize("down", ["down", "denied"])
def test_every_refresh_is_an_error_until_the_secret_can_be_read(registry, manager, clock, down):
    registry.get("sales")
    manager.down, manager.denied = down == "down", {"*": DENIED} if down == "denied" else {}
    for _ in range(20):
        with pytest.raises(ClientError):
            registry.refresh("sales")
    assert len(manager.reads) == 2
    clock[0] += MIN_REFRESH_INTERVAL
    with pytest.raises(ClientError):
        registry.refresh("sales")
    assert registry.get("sales").inbound_secrets == ("in",)
    manager.down, manager.denied = False, {}
    clock[0] += MIN_REFRESH_INTERVAL
    for _ in range(2):
        assert registry.refresh("sales").inbound_secrets == ("in",)
    assert len(manager.reads) == 4


def test_a_refresh_is_an_error_also_if_the_cache_ends_within_the_interval(registry, manager, clock):
    registry.get("sales")
    clock[0] += CACHE_TTL - MIN_REFRESH_INTERVAL / 2
    manager.down = True
    with pytest.raises(ClientError):
        registry.refresh("sales")
    clock[0] += MIN_REFRESH_INTERVAL / 2
    with pytest.raises(ClientError):
        registry.refresh("sales")
    assert registry.get("sales").inbound_secrets == ("in",)


def test_a_read_by_get_also_ends_the_errors_of_refresh(registry, manager):
    registry.get("sales")
    manager.down = True
    with pytest.raises(ClientError):
        registry.refresh("sales")
    manager.down, manager.secrets["sales"] = False, secret("new")
    registry.invalidate("sales")
    registry.get("sales")
    assert registry.refresh("sales").inbound_secrets == ("new",)


def test_a_name_that_was_unknown_is_an_error_while_it_cannot_be_read(registry, manager, clock):
    with pytest.raises(UnknownBot):
        registry.get("new")
    manager.down = True
    clock[0] += MIN_REFRESH_INTERVAL
    for _ in range(2):
        with pytest.raises(ClientError):
            registry.get("new")


def test_a_denied_name_is_unknown_if_another_secret_can_be_read(registry, manager, clock):
    registry.get("sales")
    manager.denied["unknown"] = DENIED
    clock[0] += 100 * CACHE_TTL
    for _ in range(20):
        with pytest.raises(UnknownBot):
            registry.get("unknown")
    assert manager.reads == ["relay/bots/sales", "relay/bots/unknown", "relay/bots/sales"]


def test_a_denied_name_is_an_error_if_no_other_secret_was_read(registry, manager):
    manager.denied["sales"] = DENIED
    for _ in range(2):
        with pytest.raises(ClientError):
            registry.get("sales")


@pytest.mark.parametrize("after", [0, 10 * CACHE_TTL])
def test_a_denied_name_is_an_error_if_the_role_is_denied_altogether(registry, manager, clock, after):
    registry.get("sales")
    manager.denied["*"] = DENIED
    clock[0] += after
    with pytest.raises(ClientError):
        registry.get("unknown")
    assert registry.get("sales").inbound_secrets == ("in",)


@pytest.mark.parametrize("text", ["Access to KMS is not allowed", f"{DENIED} with an explicit deny"])
def test_a_denial_that_does_not_come_from_the_name_is_an_error(registry, manager, text):
    registry.get("sales")
    manager.denied["support"] = text
    with pytest.raises(ClientError):
        registry.get("support")


def test_a_bot_that_was_read_before_is_not_unknown_when_it_is_denied(registry, manager, clock):
    registry.get("sales")
    manager.secrets["support"] = secret()
    registry.get("support")
    manager.denied["support"] = DENIED
    with pytest.raises(ClientError):
        registry.refresh("support")
    clock[0] += CACHE_TTL
    assert registry.get("support").inbound_secrets == ("in",)


@pytest.mark.parametrize("known", [True, False])
def test_the_log_says_once_what_to_check_if_a_name_is_denied(registry, manager, clock, caplog, known):
    if known:
        registry.get("sales")
    manager.denied["unknown"] = DENIED
    for _ in range(5):
        with pytest.raises(UnknownBot if known else ClientError):
            registry.get("unknown")
        clock[0] += MIN_REFRESH_INTERVAL
    (line,) = errors(caplog)
    assert (line.levelname, line.bot, line.secret) == ("ERROR", "unknown", "relay/bots/unknown")
    assert "check the bot's name, and that the function's role has secretsmanager:GetSecretValue" in line.msg
    clock[0] += CACHE_TTL
    with pytest.raises(UnknownBot if known else ClientError):
        registry.get("unknown")
    assert len(errors(caplog)) == 2


def test_a_bot_whose_secret_was_never_valid_is_unusable(registry, manager):
    manager.secrets["sales"] = "{}"
    assert "'sales': inbound_secret is empty" in registry.get("sales").unusable


@pytest.fixture
def flooded(manager, clock):
    """A registry that was asked for a hundred made-up names within the second."""
    registry = BotRegistry(manager, "relay/bots/", lambda: clock[0], names_per_second=2)
    registry.get("sales")
    flood(registry, "a")
    return registry


def flood(registry, names):
    """Ask for a hundred names; return how many are known to have no secret."""
    unknown = 0
    for number in range(100):
        with suppress(TooManyNames):
            try:
                registry.get(f"{names}-{number}")
            except UnknownBot:
                unknown += 1
    return unknown


def test_made_up_names_are_asked_for_at_a_fixed_rate(flooded, manager, clock):
    assert len(manager.reads) == 2 * SAVED_SECONDS
    clock[0] += 0.4
    assert flood(flooded, "b") == 0
    clock[0] += 0.6
    assert flood(flooded, "c") == 2
    assert len(manager.reads) == 2 * SAVED_SECONDS + 2


def test_made_up_names_that_come_again_are_asked_for_at_a_fixed_rate(flooded, manager, clock):
    for _ in range(3):
        flood(flooded, "a")
    assert len(manager.reads) == 2 * SAVED_SECONDS * 2
    clock[0] += 1
    for _ in range(3):
        flood(flooded, "a")
    assert len(manager.reads) == 2 * SAVED_SECONDS * 2 + 2


def test_a_new_bot_is_read_in_a_flood_when_its_part_comes_again(flooded, manager, clock):
    manager.secrets["support"] = secret()
    with pytest.raises(TooManyNames, match="bot 'support' is not read"):
        flooded.get("support")
    flood(flooded, "b")
    assert flooded.get("support").inbound_secrets == ("in",)


def test_a_rotation_is_seen_in_a_flood_of_made_up_names(flooded, manager):
    flood(flooded, "a")
    manager.secrets["sales"] = secret("new")
    assert flooded.refresh("sales").inbound_secrets == ("new",)


def test_a_name_that_was_unknown_is_not_refused_unasked_in_a_flood(flooded, clock):
    flood(flooded, "a")
    clock[0] += MIN_REFRESH_INTERVAL
    assert flood(flooded, "a") == 2  # of many that were unknown a second ago


def test_a_denied_name_takes_two_questions_of_a_flood(manager, clock):
    registry = BotRegistry(manager, "relay/bots/", lambda: clock[0], names_per_second=1)
    registry.get("sales")
    clock[0] += SAVED_SECONDS
    for name in ("x", "y"):
        with pytest.raises(UnknownBot):
            registry.get(name)
    manager.denied |= {"a": DENIED, "b": DENIED}
    with pytest.raises(UnknownBot):
        registry.get("a")
    with pytest.raises(ClientError):  # whether the role is denied cannot be asked any more
        registry.get("b")
    assert len(manager.reads) == 6


@pytest.mark.parametrize("broken", ["{}", json.dumps({"inbound_secret": [None]})])
def test_a_secret_that_was_never_usable_is_read_twice_a_second_at_most(registry, manager, clock, broken):
    manager.secrets["sales"] = broken
    for _ in range(100):
        registry.get("sales")
        registry.refresh("sales")
        clock[0] += 0.1
    assert len(manager.reads) <= 2 * 10


@pytest.mark.parametrize("fault", ["unknown", "too many", "down", "hangs"])
def test_no_refused_request_stays_in_memory(flooded, manager, clock, fault):
    class Body:
        """Holds megabytes."""

    def request():
        body = Body()
        with suppress(UnknownBot, TooManyNames, ClientError, ReadTimeoutError):
            flooded.get("made-up")
        return weakref.ref(body)

    if fault != "too many":
        clock[0] += 1
    manager.down, manager.hangs = fault == "down", fault == "hangs"
    bodies = [request() for _ in range(2)]
    gc.collect()
    assert [body() for body in bodies] == [None, None]


def test_a_text_that_is_no_name_is_cut_in_the_error(registry):
    with pytest.raises(UnknownBot) as error:
        registry.get("\0" * 3000)
    assert len(str(error.value)) < 200


def test_weak_secrets_are_logged_once_and_serve(registry, manager, clock, caplog):
    for _ in range(3):
        assert registry.get("sales").inbound_secrets == ("in",)
        clock[0] += CACHE_TTL
    (line,) = caplog.records
    assert (line.levelname, line.bot) == ("WARNING", "sales")
    assert line.weakness.startswith("inbound_secret has fewer than 16 characters")


def test_the_log_says_once_a_minute_that_the_last_good_secret_serves(registry, manager, clock, caplog):
    registry.get("sales")
    manager.down = True
    for _ in range(59):
        clock[0] += MIN_REFRESH_INTERVAL
        with pytest.raises(ClientError):
            registry.refresh("sales")
    (line,) = errors(caplog)
    assert (line.bot, line.msg) == ("sales", "the bot's secret cannot be used, the last good one serves")
