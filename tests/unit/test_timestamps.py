import time
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from relay.domain.timestamps import emission_time, given_time, host_clock_offset, unix_seconds, utc_text
from support.samples import NOW

BERLIN = ZoneInfo("Europe/Berlin")


# ---------------------------------------------------------------- items and code


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (NOW, "2026-11-22T13:00:48.000000Z"),
        (NOW + 0.606776, "2026-11-22T13:00:48.606776Z"),
        (0, "1970-01-01T00:00:00.000000Z"),
    ],
)
def test_a_time_is_utc_text_in_an_item_and_unix_seconds_in_code(seconds, text):
    assert utc_text(seconds) == text
    assert unix_seconds(text) == seconds


def test_text_order_is_time_order():
    times = [NOW + step for step in (-(10**9), -3600, -0.5, 0, 0.000001, 0.5, 9, 10, 86_400, 10**9)]
    assert sorted(map(utc_text, times)) == [utc_text(seconds) for seconds in times]


@pytest.fixture
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have this process in another time zone than UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("in_new_york")
def test_no_time_depends_on_the_zone_of_the_process():
    assert utc_text(NOW) == "2026-11-22T13:00:48.000000Z"
    for timestamp, zone in [("2026-11-22T14:00:48", BERLIN), ("2026-11-22T14:00:48+01:00", None)]:
        assert emission_time(timestamp, NOW, zone) == (
            "2026-11-22T13:00:48.000000",
            "2026-11-22T13:00:48.000000Z",
        )


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01T00:00:00.000000Z"])
def test_a_text_that_is_no_time_is_an_error(text):
    with pytest.raises(ValueError, match=r"."):
        unix_seconds(text)


# ---------------------------------------------------------------- the emission of a part


@pytest.mark.parametrize(
    ("timestamp", "zone", "stamp", "created"),
    [
        ("2026-11-22T13:00:48.606776", None, "2026-11-22T13:00:48.606776", "13:00:48.606776"),
        # A host in Shanghai, its zone known or not; held back for five minutes behind a retry.
        ("2026-11-22T20:55:48.606776", None, "2026-11-22T20:55:48.606776", "12:55:48.606776"),
        ("2026-11-22T20:55:48.606776", "Asia/Shanghai", "2026-11-22T12:55:48.606776", "12:55:48.606776"),
        # Hosts west of UTC and with odd offsets.
        ("2026-11-22T05:00:48.500000", None, "2026-11-22T05:00:48.500000", "13:00:48.500000"),
        ("2026-11-22T18:45:48.500000", None, "2026-11-22T18:45:48.500000", "13:00:48.500000"),
        # Offsets that are written.
        ("2026-11-22T21:00:48.606776+08:00", None, "2026-11-22T13:00:48.606776", "13:00:48.606776"),
        ("2026-11-22T13:00:48.606776Z", "Asia/Shanghai", "2026-11-22T13:00:48.606776", "13:00:48.606776"),
    ],
)
def test_the_stamp_is_utc_if_the_zone_is_known_and_as_written_otherwise(timestamp, zone, stamp, created):
    found, created_at = emission_time(timestamp, NOW, ZoneInfo(zone) if zone else None)
    assert found == stamp
    assert created_at == f"2026-11-22T{created}Z"


@pytest.mark.parametrize(
    "timestamp", [None, 5, "", "soon", "2026-13-01T00:00:00", [], "9999-12-31T23:59:59-23:59"]
)
def test_without_a_usable_timestamp_the_signed_time_orders_the_part(timestamp):
    stamp, created_at = emission_time(timestamp, NOW, None)
    assert stamp == "2026-11-22T13:00:48.000000"
    assert unix_seconds(created_at) == NOW


def test_the_signature_decides_which_of_two_equal_hours_is_meant():
    # 2026-10-25 03:00 CEST is followed by 02:00 CET.
    first = datetime(2026, 10, 25, 0, 30, 1, tzinfo=UTC).timestamp()
    second = datetime(2026, 10, 25, 1, 30, 1, tzinfo=UTC).timestamp()
    assert emission_time("2026-10-25T02:30:00", first, BERLIN)[0] == "2026-10-25T00:30:00.000000"
    assert emission_time("2026-10-25T02:30:00", second, BERLIN)[0] == "2026-10-25T01:30:00.000000"


def test_an_hour_twice_is_the_later_one_up_to_the_end_of_its_rounding():
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC).timestamp()
    assert emission_time("2026-10-25T02:30:00", second - 2, BERLIN)[0] == "2026-10-25T01:30:00.000000"
    assert emission_time("2026-10-25T02:30:00", second - 2.001, BERLIN)[0] == "2026-10-25T00:30:00.000000"


def test_a_stamp_of_a_host_that_is_ahead_of_the_signature_is_believed():
    stamp, created_at = emission_time("2026-11-22T14:00:58", NOW, BERLIN)
    assert (stamp, created_at) == ("2026-11-22T13:00:58.000000", "2026-11-22T13:00:58.000000Z")


@pytest.mark.parametrize(
    ("timestamp", "is_believed"),
    [("2026-11-23T04:00:48Z", True), ("2026-11-23T04:00:48.000001Z", False)],
)
def test_a_stamp_with_an_offset_is_at_most_15_hours_from_the_signature(timestamp, is_believed):
    assert (emission_time(timestamp, NOW, None) != emission_time(None, NOW, None)) is is_believed


@pytest.mark.parametrize(
    ("timestamp", "is_possible"),
    [
        ("2026-11-23T04:00:48", True),  # 15 hours ahead
        ("2026-11-23T04:15:48", False),
        ("2026-11-21T22:00:48", True),  # 15 hours behind
        ("2026-11-21T21:45:48", False),
        ("2026-11-25T13:00:48", False),
    ],
)
def test_a_host_clock_is_at_most_15_hours_from_utc_or_it_is_not_believed(timestamp, is_possible):
    stamp, created_at = emission_time(timestamp, NOW - 0.5, None)
    signed = utc_text(NOW - 0.5)
    assert stamp == (f"{timestamp}.000000" if is_possible else signed.removesuffix("Z"))
    assert created_at == (utc_text(NOW) if is_possible else signed)


@pytest.mark.parametrize("zone", [None, ZoneInfo("Asia/Shanghai")])
@pytest.mark.parametrize("timestamp", ["1970-01-01T00:00:00", "2126-11-22T13:00:48", "2025-11-22T13:00:48Z"])
def test_a_stamp_that_cannot_be_true_counts_as_missing(timestamp, zone):
    assert emission_time(timestamp, NOW, zone) == emission_time(None, NOW, zone)


@pytest.mark.parametrize(
    ("timestamp", "ahead"),
    [("2026-11-22T21:00:48", 8 * 3600), ("2026-11-22T05:00:48", -8 * 3600), ("2026-11-22T13:00:48", 0)],
)
def test_the_offset_of_the_host_clock_is_found_from_stamp_and_emission(timestamp, ahead):
    assert host_clock_offset(*emission_time(timestamp, NOW, None)) == ahead


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("2026-11-25", "2026-11-25T00:00:00.000000Z"),
        ("2026-11-25T10:30", "2026-11-25T10:30:00.000000Z"),
        ("2026-11-25 10:30:01", "2026-11-25T10:30:01.000000Z"),
        ("2026-11-25T10:30:01.5Z", "2026-11-25T10:30:01.500000Z"),
        ("2026-11-25T10:30+08:00", "2026-11-25T02:30:00.000000Z"),
    ],
)
def test_a_time_that_a_person_typed_is_utc_unless_it_names_an_offset(given, text):
    assert given_time(given) == text


@pytest.mark.parametrize("given", ["", "soon", "2026-13-01", "0001-01-01T00:00+08:00"])
def test_a_typed_text_that_is_no_time_is_an_error(given):
    with pytest.raises(ValueError, match=r"."):
        given_time(given)
