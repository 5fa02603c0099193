import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recordings import RECORDINGS, callbacks
from relay.rules.part import moments, parse, part
from relay.rules.strict_json import Malformed

SIGNED = datetime(2026, 11, 22, 13, 0, 48, tzinfo=UTC).timestamp()


def body(**fields):
    return {
        "session_id": "s-1",
        "reply_to": "in_1",
        "sequence": 1,
        "is_final": True,
        "stream": True,
        "message": [{"type": "Plain", "text": "hi"}],
        "timestamp": "2026-11-22T13:00:48.606776",
    } | fields


def raw(**fields):
    return json.dumps(body(**fields), ensure_ascii=False).encode()


def item(raw_body, zone=None, signed_at=SIGNED):
    return part("default", raw_body, parse(raw_body), signed_at, SIGNED + 1, 90, zone).item


def test_an_item_holds_what_the_part_says_and_when():
    kept = item(raw())
    assert {name: kept[name] for name in kept if name not in ("part", "digest", "timestamp")} == {
        "session": "default#s-1",
        "session_id": "s-1",
        "bot": "default",
        "reply_to": "in_1",
        "sequence": 1,
        "is_final": True,
        "stream": True,
        "message": [{"type": "Plain", "text": "hi"}],
        "text": "hi",
        "created_at": "2026-11-22T13:00:48.606776Z",
        "sent_at": "2026-11-22T13:00:48.000000Z",
        "received_at": "2026-11-22T13:00:49.000000Z",
        "expires_at": int(SIGNED) + 1 + 90 * 86_400,
    }
    assert kept["part"] == f"2026-11-22T13:00:48.606776#000001#{kept['digest'][:12]}"


def test_a_stamp_without_microseconds_keeps_its_width():
    assert item(raw(timestamp="2026-11-22T13:00:48"))["part"].startswith("2026-11-22T13:00:48.000000#")


def test_unknown_fields_are_kept_and_cannot_take_the_place_of_ours():
    kept = item(raw(trace={"id": "x"}, session="evil", digest="evil", text="evil"))
    assert kept["trace"] == {"id": "x"}
    assert (kept["session"], kept["text"]) == ("default#s-1", "hi")


@pytest.mark.parametrize(("sequence", "shown"), [(-1, "000000"), (2**70, "999999"), (7, "000007")])
def test_a_sequence_of_any_size_keeps_the_key_in_its_form(sequence, shown):
    kept = item(raw(sequence=sequence))
    assert kept["part"].split("#")[1] == shown
    assert kept["sequence"] == sequence


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
def test_the_stamp_is_utc_where_the_zone_is_known_and_as_written_otherwise(timestamp, zone, stamp, created):
    found, created_at = moments(timestamp, SIGNED, ZoneInfo(zone) if zone else None)
    assert found.isoformat(timespec="microseconds") == stamp
    assert created_at.strftime("%H:%M:%S.%f") == created


@pytest.mark.parametrize(
    "timestamp", [None, 5, "", "soon", "2026-13-01T00:00:00", [], "9999-12-31T23:59:59-23:59"]
)
def test_without_a_usable_stamp_the_signed_time_orders_the_part(timestamp):
    found, created_at = moments(timestamp, SIGNED, None)
    assert found.isoformat() == "2026-11-22T13:00:48"
    assert created_at.timestamp() == SIGNED


def test_the_hour_that_a_zone_has_twice_is_told_apart_by_the_signature():
    berlin = ZoneInfo("Europe/Berlin")  # 2026-10-25 03:00 CEST is followed by 02:00 CET
    first = datetime(2026, 10, 25, 0, 30, 1, tzinfo=UTC).timestamp()
    second = datetime(2026, 10, 25, 1, 30, 1, tzinfo=UTC).timestamp()
    assert moments("2026-10-25T02:30:00", first, berlin)[0].isoformat() == "2026-10-25T00:30:00"
    assert moments("2026-10-25T02:30:00", second, berlin)[0].isoformat() == "2026-10-25T01:30:00"


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_recorded_parts_are_kept_once_each_in_the_order_in_which_they_were_emitted(recording):
    sessions = {}
    for callback in callbacks(recording):
        kept = item(callback.raw, signed_at=float(callback.timestamp))
        sessions.setdefault(kept["session"], []).append((kept["part"], callback.raw))
    assert sessions
    for parts in sessions.values():
        keys = list(dict.fromkeys(key for key, _ in parts))
        assert keys == sorted(keys)
        assert len(keys) == len({raw_body for _, raw_body in parts})


@pytest.mark.parametrize(
    ("raw_body", "reason"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"null", "it must be object"),
        (b"\xff\xfe", "not valid UTF-8"),
        (raw().replace(b"hi", b"\xc3\x28"), "not valid UTF-8"),
        (raw(sequence=float("nan")), "NaN is not JSON"),
        (raw().replace(b'"sequence": 1', b'"sequence": 1, "sequence": 2'), "a key stands twice"),
        (raw().replace(b'"hi"', b'"\\ud800"'), "message[0].text holds a lone surrogate"),
        (raw(sequence="1"), "sequence must be integer"),
        (raw(sequence=True), "sequence must be integer"),
        (raw(sequence=1.5), "sequence must be integer"),
        (raw(is_final=1), "is_final must be boolean"),
        (raw(stream="yes"), "stream must be boolean"),
        (raw(message="hi"), "message must be array"),
        (raw(message=["hi"]), "message[0] must be object"),
        (raw(reply_to=None), "reply_to must be string"),
        (raw(session_id="s" * 481), "session_id must be shorter"),
        (raw(session_id=5), "session_id must be string"),
        (raw(message=[{"x": [[]]}]).replace(b"[[]]", b"[" * 10_000 + b"]" * 10_000), "nested deeper"),
    ],
)
def test_a_signed_body_that_is_no_part_is_refused_by_the_name_of_its_fault(raw_body, reason):
    with pytest.raises(Malformed) as refused:
        parse(raw_body)
    assert reason in str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(sorted(body())), JSON), st.integers(0, 2**33))
def test_any_body_is_kept_or_refused(fields, signed_at):
    raw_body = json.dumps(body(**fields)).encode()
    try:
        parsed = parse(raw_body)
    except Malformed:
        return
    kept = part("default", raw_body, parsed, signed_at, SIGNED, 90)
    stamp, _, digest = kept.item["part"].split("#")
    assert (len(stamp), len(digest)) == (26, 12)
    assert set(kept.bare) <= set(kept.item)
