"""The cache of bots, with a Secrets Manager that fails when it must and a clock that the tests set."""

import gc
import json
import weakref

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from relay.adapters.bot_cache import (
    BURST_SECONDS,
    CACHE_TTL,
    MAX_CACHED_NAMES,
    MIN_REFRESH_INTERVAL,
    STALE_IF_ERROR,
    STALE_IF_INVALID,
    LookupRateLimited,
)
from relay.adapters.bot_registry import BotRegistry, UnknownBot


class SecretsManager:
    class exceptions:  # noqa: N801
        class ResourceNotFoundException(Exception):
            pass

        class InvalidRequestException(Exception):
            pass

    def __init__(self, **secrets):
        self.secrets, self.reads, self.denied = secrets, [], {}
        self.fault = None

    def get_secret_value(self, SecretId):  # noqa: N803
        self.reads.append(SecretId)
        name = SecretId.removeprefix("relay/bots/")
        if self.fault == "hangs":
            try:
                raise TimeoutError
            except TimeoutError as error:
                raise ReadTimeoutError(endpoint_url="https://secretsmanager", error=error) from error
        if self.fault == "down":
            raise ClientError({"Error": {"Code": "InternalServiceError", "Message": ""}}, "GetSecretValue")
        if text := DENIED if self.fault == "denied" else self.denied.get(name):
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": text}}, "GetSecretValue")
        try:
            return {"SecretString": self.secrets[name]}
        except KeyError:
            raise self.exceptions.ResourceNotFoundException from None


DENIED = "User: … is not authorized to perform: secretsmanager:GetSecretValue on resource: …"


def secret(inbound="in"):
    return json.dumps({"url": "https://bot", "inbound_secret": inbound})


def outcome(call, name="sales"):
    """Return the inbound secret of the bot that a call returns, or the kind of the error that it raises."""
    try:
        (inbound,) = call(name).inbound_secrets
    except (UnknownBot, LookupRateLimited, ClientError, ReadTimeoutError) as error:
        return type(error)
    return inbound


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
    assert outcome(registry.refresh) == "new"


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
        assert outcome(registry.get, name) is UnknownBot
    assert manager.reads == []


def test_made_up_names_cannot_fill_the_cache_nor_push_a_bot_out_of_it(manager):
    registry = BotRegistry(manager, "relay/bots/", lookups_per_second=2 * MAX_CACHED_NAMES)

    def is_cached(name):
        reads = len(manager.reads)
        assert outcome(registry.get, name) is UnknownBot
        return len(manager.reads) == reads

    registry.get("sales")
    names = [f"x{number}" for number in range(MAX_CACHED_NAMES + 5)]
    assert not any(is_cached(name) for name in names)
    # From the newest on: to look at a name that is not cached caches it.
    assert sum(is_cached(name) for name in reversed(names)) < MAX_CACHED_NAMES
    manager.fault = "down"
    assert outcome(registry.get) == "in"


@pytest.mark.parametrize("fault", ["down", "denied"])
def test_the_last_good_secret_serves_for_hours_if_no_read_succeeds(registry, manager, clock, fault):
    registry.get("sales")
    manager.fault = fault
    clock[0] += STALE_IF_ERROR - 1
    assert outcome(registry.get) == "in"
    clock[0] += 1
    assert outcome(registry.get) is ClientError
    manager.fault = None
    clock[0] += MIN_REFRESH_INTERVAL
    assert outcome(registry.get) == "in"


@pytest.mark.parametrize("rubbish", ["", "revoked", "{}"])
def test_a_secret_overwritten_with_rubbish_stops_serving_within_minutes(registry, manager, clock, rubbish):
    registry.get("sales")
    manager.secrets["sales"] = rubbish
    clock[0] += CACHE_TTL
    assert outcome(registry.get) == "in"
    clock[0] += STALE_IF_INVALID - CACHE_TTL
    assert registry.get("sales").unusable


def test_a_slip_can_be_corrected_for_five_minutes(registry, manager, clock):
    registry.get("sales")
    clock[0] += CACHE_TTL - 1
    manager.secrets["sales"] = "{}"
    for _ in range(300):
        clock[0] += 1
        assert outcome(registry.get) == "in"


def test_a_deleted_secret_stops_serving_within_minutes(registry, manager, clock):
    registry.get("sales")
    del manager.secrets["sales"]
    clock[0] += CACHE_TTL
    assert outcome(registry.get) is UnknownBot


def test_a_deleted_secret_does_not_serve_in_a_later_outage(registry, manager, clock):
    registry.get("sales")
    del manager.secrets["sales"]
    assert outcome(registry.refresh) is UnknownBot
    manager.fault = "down"
    clock[0] += MIN_REFRESH_INTERVAL
    assert outcome(registry.get) is ClientError


def test_a_refresh_with_an_invalid_secret_is_unusable_and_the_cache_stays(registry, manager):
    registry.get("sales")
    manager.secrets["sales"] = "{}"
    assert registry.refresh("sales").unusable
    assert outcome(registry.get) == "in"


def test_an_invalidated_bot_is_read_again_and_stays_if_that_fails(registry, manager):
    registry.get("sales")
    registry.invalidate("sales")
    manager.secrets["sales"] = secret("new")
    assert outcome(registry.get) == "new"
    registry.invalidate("sales")
    manager.fault = "down"
    assert outcome(registry.get) == "new"


def test_a_secret_that_was_never_read_and_cannot_be_read_is_an_error(registry, manager, clock):
    manager.fault = "down"
    for _ in range(5):  # and does not become an unknown bot, whose parts would be refused for good
        assert outcome(registry.get) is ClientError
    assert len(manager.reads) == 1
    clock[0] += MIN_REFRESH_INTERVAL
    manager.fault = None
    assert outcome(registry.get) == "in"


def test_an_error_that_was_not_foreseen_does_not_make_a_bot_unknown(registry, manager, monkeypatch):
    monkeypatch.setattr(manager, "get_secret_value", lambda **_: {}["unforeseen"])
    with pytest.raises(KeyError):
        registry.get("sales")
    assert outcome(registry.get) is LookupRateLimited


def test_after_a_lookup_without_an_answer_none_is_made_for_a_second(registry, manager, clock):
    registry.get("sales")
    manager.fault = "hangs"
    for name in ["a", "b", "c"]:
        assert outcome(registry.get, name) is ReadTimeoutError
    assert outcome(registry.refresh) is ReadTimeoutError
    assert outcome(registry.get) == "in"
    assert manager.reads == ["relay/bots/sales", "relay/bots/a"]
    manager.fault = None
    clock[0] += MIN_REFRESH_INTERVAL
    assert outcome(registry.refresh) == "in"


@pytest.mark.parametrize("fault", ["down", "denied"])
def test_every_refresh_is_an_error_until_the_secret_can_be_read(registry, manager, clock, fault):
    registry.get("sales")
    manager.fault = fault
    for _ in range(20):
        assert outcome(registry.refresh) is ClientError
    assert outcome(registry.get) == "in"
    assert len(manager.reads) == 2
    clock[0] += MIN_REFRESH_INTERVAL
    assert outcome(registry.refresh) is ClientError
    assert outcome(registry.get) == "in"
    manager.fault = None
    clock[0] += MIN_REFRESH_INTERVAL
    for _ in range(2):
        assert outcome(registry.refresh) == "in"
    assert len(manager.reads) == 4


def test_a_refresh_is_an_error_also_if_the_cache_ends_within_the_interval(registry, manager, clock):
    registry.get("sales")
    clock[0] += CACHE_TTL - MIN_REFRESH_INTERVAL / 2
    manager.fault = "down"
    assert outcome(registry.refresh) is ClientError
    clock[0] += MIN_REFRESH_INTERVAL / 2
    assert outcome(registry.refresh) is ClientError
    assert outcome(registry.get) == "in"


def test_a_read_by_get_also_ends_the_errors_of_refresh(registry, manager):
    registry.get("sales")
    manager.fault = "down"
    assert outcome(registry.refresh) is ClientError
    manager.fault, manager.secrets["sales"] = None, secret("new")
    registry.invalidate("sales")
    registry.get("sales")
    assert outcome(registry.refresh) == "new"


def test_a_name_that_was_unknown_is_an_error_while_it_cannot_be_read(registry, manager, clock):
    assert outcome(registry.get, "new") is UnknownBot
    manager.fault = "down"
    clock[0] += MIN_REFRESH_INTERVAL
    for _ in range(2):
        assert outcome(registry.get, "new") is ClientError


def test_a_denied_name_is_unknown_if_another_secret_can_be_read(registry, manager, clock):
    registry.get("sales")
    manager.denied["unknown"] = DENIED
    clock[0] += 100 * CACHE_TTL
    for _ in range(20):
        assert outcome(registry.get, "unknown") is UnknownBot
    assert manager.reads == ["relay/bots/sales", "relay/bots/unknown", "relay/bots/sales"]


def test_a_denied_name_is_an_error_if_no_other_secret_was_read(registry, manager):
    manager.denied["sales"] = DENIED
    for _ in range(2):
        assert outcome(registry.get) is ClientError


@pytest.mark.parametrize("after", [0, 10 * CACHE_TTL])
def test_a_denied_name_is_an_error_if_the_role_is_denied_altogether(registry, manager, clock, after):
    registry.get("sales")
    manager.fault = "denied"
    clock[0] += after
    assert outcome(registry.get, "unknown") is ClientError
    assert outcome(registry.get) == "in"


@pytest.mark.parametrize("text", ["Access to KMS is not allowed", f"{DENIED} with an explicit deny"])
def test_a_denial_that_does_not_come_from_the_name_is_an_error(registry, manager, text):
    registry.get("sales")
    manager.denied["support"] = text
    assert outcome(registry.get, "support") is ClientError


def test_a_bot_that_was_read_before_is_not_unknown_when_it_is_denied(registry, manager, clock):
    registry.get("sales")
    manager.secrets["support"] = secret()
    registry.get("support")
    manager.denied["support"] = DENIED
    assert outcome(registry.refresh, "support") is ClientError
    clock[0] += CACHE_TTL
    assert outcome(registry.get, "support") == "in"


@pytest.mark.parametrize("known", [True, False])
def test_the_log_says_once_what_to_check_if_a_name_is_denied(registry, manager, clock, caplog, known):
    if known:
        registry.get("sales")
    manager.denied["unknown"] = DENIED
    error = UnknownBot if known else ClientError
    for _ in range(5):
        assert outcome(registry.get, "unknown") is error
        clock[0] += MIN_REFRESH_INTERVAL
    (line,) = errors(caplog)
    assert (line.levelname, line.bot, line.secret) == ("ERROR", "unknown", "relay/bots/unknown")
    assert "check the bot's name, and that the function's role has secretsmanager:GetSecretValue" in line.msg
    clock[0] += CACHE_TTL
    assert outcome(registry.get, "unknown") is error
    assert len(errors(caplog)) == 2


def test_a_bot_whose_secret_was_never_valid_is_unusable(registry, manager):
    manager.secrets["sales"] = "{}"
    assert "'sales': inbound_secret is empty" in registry.get("sales").unusable


@pytest.fixture
def flooded(manager, clock):
    """A registry that was asked for a hundred made-up names within the second."""
    registry = BotRegistry(manager, "relay/bots/", lambda: clock[0], lookups_per_second=2)
    registry.get("sales")
    flood(registry, "a")
    return registry


def flood(registry, names):
    """Ask for a hundred names; return how many are known to have no secret."""
    outcomes = [outcome(registry.get, f"{names}-{number}") for number in range(100)]
    assert set(outcomes) <= {UnknownBot, LookupRateLimited}
    return outcomes.count(UnknownBot)


def test_made_up_names_are_looked_up_at_a_fixed_rate(flooded, manager, clock):
    assert len(manager.reads) == 2 * BURST_SECONDS
    clock[0] += 0.4
    assert flood(flooded, "b") == 0
    clock[0] += 0.6
    assert flood(flooded, "c") == 2
    assert len(manager.reads) == 2 * BURST_SECONDS + 2


def test_made_up_names_that_come_again_are_looked_up_at_a_fixed_rate(flooded, manager, clock):
    for _ in range(3):
        flood(flooded, "a")
    assert len(manager.reads) == 2 * BURST_SECONDS * 2
    clock[0] += 1
    for _ in range(3):
        flood(flooded, "a")
    assert len(manager.reads) == 2 * BURST_SECONDS * 2 + 2


def test_a_new_bot_is_read_in_a_flood_when_its_part_comes_again(flooded, manager, clock):
    manager.secrets["support"] = secret()
    with pytest.raises(LookupRateLimited, match="bot 'support' is not read"):
        flooded.get("support")
    flood(flooded, "b")
    assert outcome(flooded.get, "support") == "in"


def test_a_rotation_is_seen_in_a_flood_of_made_up_names(flooded, manager):
    flood(flooded, "a")
    manager.secrets["sales"] = secret("new")
    assert outcome(flooded.refresh) == "new"


def test_a_name_that_was_unknown_is_not_refused_unread_in_a_flood(flooded, clock):
    flood(flooded, "a")
    clock[0] += MIN_REFRESH_INTERVAL
    assert flood(flooded, "a") == 2  # of many that were unknown a second ago


def test_a_denied_name_takes_two_lookups_of_a_flood(manager, clock):
    registry = BotRegistry(manager, "relay/bots/", lambda: clock[0], lookups_per_second=1)
    registry.get("sales")
    clock[0] += BURST_SECONDS
    for name in ("x", "y"):
        assert outcome(registry.get, name) is UnknownBot
    manager.denied |= {"a": DENIED, "b": DENIED}
    assert outcome(registry.get, "a") is UnknownBot
    # Whether the role is denied cannot be looked up any more.
    assert outcome(registry.get, "b") is ClientError
    assert len(manager.reads) == 6


@pytest.mark.parametrize("broken", ["{}", json.dumps({"inbound_secret": [None]})])
def test_a_secret_that_was_never_usable_is_read_twice_a_second_at_most(registry, manager, clock, broken):
    manager.secrets["sales"] = broken
    for _ in range(100):
        registry.get("sales")
        registry.refresh("sales")
        clock[0] += 0.1
    assert len(manager.reads) <= 2 * 10


@pytest.mark.parametrize(
    ("fault", "error"),
    [("", UnknownBot), ("flood", LookupRateLimited), ("down", ClientError), ("hangs", ReadTimeoutError)],
)
def test_no_refused_request_stays_in_memory(flooded, manager, clock, fault, error):
    class Body:
        """Holds megabytes."""

    def request():
        body = Body()
        # The second lookup of a name is not that of a new one.
        assert outcome(flooded.get, "made-up") in (error, UnknownBot)
        return weakref.ref(body)

    if fault != "flood":
        clock[0] += 1
    manager.fault = fault
    bodies = [request() for _ in range(2)]
    gc.collect()
    assert [body() for body in bodies] == [None, None]


def test_a_text_that_is_no_name_is_cut_in_the_error(registry):
    with pytest.raises(UnknownBot) as error:
        registry.get("\0" * 3000)
    assert len(str(error.value)) < 200


def test_weak_secrets_are_logged_once_and_serve(registry, manager, clock, caplog):
    for _ in range(3):
        assert outcome(registry.get) == "in"
        clock[0] += CACHE_TTL
    (line,) = caplog.records
    assert (line.levelname, line.bot) == ("WARNING", "sales")
    assert line.weakness.startswith("inbound_secret has fewer than 16 characters")


def test_the_log_says_once_a_cache_life_that_the_last_good_secret_serves(registry, manager, clock, caplog):
    registry.get("sales")
    manager.fault = "down"
    for _ in range(59):
        clock[0] += MIN_REFRESH_INTERVAL
        assert outcome(registry.refresh) is ClientError
    (line,) = errors(caplog)
    assert (line.bot, line.msg) == ("sales", "the bot's secret cannot be used, the last good one serves")
