import json
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.domain.attempt import MAX_RESPONSE_VALUES, AttemptHistory, Response, Verdict, classify
from relay.domain.part import (
    MAX_REPLY_TO_BYTES,
    VerifiedCallback,
    is_id,
    parse_part,
    reply_part,
    session_id_in,
    sync_reply_body,
    with_body,
    with_text,
    without_body,
    without_replaced_text,
)
from relay.domain.strict_json import MAX_VALUES, Malformed
from support.recordings import RECORDINGS, callbacks
from support.samples import NOW, received_part


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


def raw_without(field):
    return json.dumps({name: value for name, value in body().items() if name != field}).encode()


# ---------------------------------------------------------------- the item


def test_an_item_holds_the_part_and_its_times():
    part = received_part(raw())
    assert {name: part[name] for name in part if name not in ("part", "digest")} == {
        "session": "default#s-1",
        "session_id": "s-1",
        "bot": "default",
        "reply_to": "in_1",
        "sequence": 1,
        "is_final": True,
        "stream": True,
        "message": [{"type": "Plain", "text": "hi"}],
        "text": "hi",
        "timestamp": "2026-11-22T13:00:48.606776",
        "created_at": "2026-11-22T13:00:48.606776Z",
        "sent_at": "2026-11-22T13:00:48.000000Z",
        "received_at": "2026-11-22T13:00:49.000000Z",
        "expires_at": int(NOW) + 1 + 90 * 86_400,
    }
    assert part["part"] == f"2026-11-22T13:00:48.606776#000001#{part['digest'][:12]}"


def test_a_part_without_a_timestamp_gets_none():
    assert "timestamp" not in received_part(raw_without("timestamp"))


def test_the_zone_of_a_bot_makes_the_stamp_in_the_key_utc():
    part = received_part(raw(timestamp="2026-11-22T21:00:48.606776"), zone=ZoneInfo("Asia/Shanghai"))
    assert part["part"].startswith("2026-11-22T13:00:48.606776#")


def test_an_item_says_which_secret_its_body_was_signed_with():
    callback = VerifiedCallback("default", raw(), NOW, NOW, None, verified_with=1)
    assert reply_part(callback, parse_part(raw()), keep_days=90)["verified_with"] == 1


def test_a_stamp_without_microseconds_keeps_its_width():
    part = received_part(raw(timestamp="2026-11-22T13:00:48"))
    assert part["part"].startswith("2026-11-22T13:00:48.000000#")


def test_unknown_fields_are_kept_and_cannot_replace_ours():
    theirs = dict.fromkeys(
        ("session", "part", "digest", "text", "overflow", "normalized", "conflicting_fields"), "evil"
    )
    part = received_part(raw(trace={"id": "x"}, **theirs))
    assert part["trace"] == {"id": "x"}
    assert (part["session"], part["text"]) == ("default#s-1", "hi")
    assert not {"overflow", "normalized"} & part.keys()
    assert part["conflicting_fields"] == theirs


def test_a_part_that_an_older_relay_normalized_is_read():
    stored = without_body(received_part(raw())) | {"altered": True, "extra": {"part": "evil"}}
    part = with_body(stored, raw(altered="evil"))
    assert (part["text"], part["altered"], part["extra"]) == ("hi", True, {"part": "evil"})


def test_a_part_whose_body_is_gone_is_read_without_it():
    part = with_body(without_body(received_part(raw())), None)
    assert (part["message"], part["text"], part["is_final"], part["sequence"]) == ([], "", True, 1)


def test_a_sequence_that_is_gone_with_its_body_is_read_as_0():
    assert with_body(without_body(received_part(raw(sequence=10**38))), None)["sequence"] == 0


@pytest.mark.parametrize(("sequence", "shown"), [(-1, "000000"), (2**70, "999999"), (7, "000007")])
def test_a_sequence_of_any_size_keeps_the_form_of_the_key(sequence, shown):
    part = received_part(raw(sequence=sequence))
    assert part["part"].split("#")[1] == shown
    assert part["sequence"] == sequence


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_recorded_parts_are_kept_once_each_in_the_order_of_their_emission(recording):
    sessions = {}
    for callback in callbacks(recording):
        part = received_part(callback.raw, signed_at=float(callback.timestamp))
        sessions.setdefault(part["session"], []).append((part["part"], callback.raw))
    assert sessions
    for parts in sessions.values():
        keys = list(dict.fromkeys(key for key, _ in parts))
        assert keys == sorted(keys)
        assert len(keys) == len({raw_body for _, raw_body in parts})


# ---------------------------------------------------------------- bodies that are not as expected


@pytest.mark.parametrize(
    ("raw_body", "reason"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"null", "it is no JSON object"),
        (b"\xff\xfe", "not valid JSON"),
        (raw(message="hi"), "message must be a list of segments"),
        (raw(session_id="s" * 481), "session_id must be a string of at most 480 characters"),
        (raw(session_id=5), "session_id must be a string of at most 480 characters"),
        (raw(message=[{"x": [[]]}]).replace(b"[[]]", b"[" * 10_000 + b"]" * 10_000), "nested too deep"),
    ],
)
def test_a_signed_body_that_is_no_part_is_refused_and_its_fault_named(raw_body, reason):
    with pytest.raises(Malformed) as refused:
        parse_part(raw_body)
    assert str(refused.value) == reason


def test_the_longest_ids_are_kept():
    part = received_part(raw(session_id="s" * 480, reply_to="r" * MAX_REPLY_TO_BYTES))
    assert (len(part["session_id"]), len(part["reply_to"])) == (480, MAX_REPLY_TO_BYTES)
    assert not is_id("r" * (MAX_REPLY_TO_BYTES + 1))


@pytest.mark.parametrize(
    ("raw_body", "name", "value"),
    [
        (raw().replace(b"hi", b"\xc3\x28"), "text", "\ufffd("),
        (raw().replace(b'"hi"', b'"half \\ud800"'), "text", "half \ufffd"),
        (raw(temperature=float("nan")), "temperature", "NaN"),
        (raw().replace(b'"sequence": 1', b'"sequence": 1, "sequence": 2'), "sequence", 2),
        (raw(sequence="1"), "sequence", 0),
        (raw(sequence=True), "sequence", 0),
        (raw(sequence=1.5), "sequence", 0),
        (raw(is_final=1), "is_final", False),
        (raw(stream="yes"), "stream", False),
        (raw(message=["hi"]), "message", []),
        (raw(reply_to=None), "reply_to", ""),
        (raw(reply_to="客" * 342), "reply_to", ""),
        (raw_without("sequence"), "sequence", 0),
    ],
)
def test_a_part_that_is_not_as_expected_is_stored_as_it_was_meant(raw_body, name, value):
    part = received_part(raw_body)
    assert (part[name], part["normalized"]) == (value, True)
    assert parse_part(raw_body).is_exact is False


@pytest.mark.parametrize("raw_body", [raw(), raw(stream=False), raw_without("stream")])
def test_a_part_that_is_as_expected_is_not_normalized(raw_body):
    assert "normalized" not in received_part(raw_body)


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
        parsed = parse_part(raw_body)
    except Malformed:
        return
    part = reply_part(VerifiedCallback("default", raw_body, signed_at, NOW, None), parsed, keep_days=90)
    stamp, _, digest = part["part"].split("#")
    assert (len(stamp), len(digest)) == (26, 12)
    assert set(without_body(part)) <= set(part)


# ---------------------------------------------------------------- the text beside the segments


@pytest.mark.parametrize(
    ("stream", "is_final", "is_stored"),
    [(True, False, False), (True, True, True), (False, False, True), (False, True, True)],
)
def test_only_a_part_that_a_later_one_replaces_is_stored_without_text(stream, is_final, is_stored):
    part = received_part(raw(stream=stream, is_final=is_final))
    stored = without_replaced_text(part)
    assert ("text" in stored, stored["message"]) == (is_stored, part["message"])
    assert with_text(stored) == part


def test_the_text_that_an_item_has_is_kept():
    part = received_part(raw(is_final=False))
    assert with_text(part) is part


# ---------------------------------------------------------------- a body that an item cannot hold


def test_a_part_without_its_body_has_no_field_of_langbots_of_any_size():
    part = without_body(received_part(raw(trace={"id": "x"})))
    assert not {"message", "text", "trace", "timestamp"} & part.keys()
    assert part["sequence"] == 1


@pytest.mark.parametrize("sequence", [10**38, -(10**38)])
def test_a_sequence_that_dynamodb_cannot_hold_is_left_out_with_the_body(sequence):
    assert "sequence" not in without_body(received_part(raw(sequence=sequence)))


@pytest.mark.parametrize("sequence", [10**38 - 1, 1 - 10**38])
def test_a_sequence_of_38_digits_is_kept_without_the_body(sequence):
    assert without_body(received_part(raw(sequence=sequence)))["sequence"] == sequence


def test_a_part_with_its_body_again_is_the_part_as_it_was():
    raw_body = raw(trace={"id": "x"}, sequence=10**38, session="evil", text="evil")
    part = received_part(raw_body)
    assert with_body(without_body(part), raw_body) == part


def test_numbers_of_a_body_that_is_read_again_are_those_of_json():
    raw_body = raw(message=[{"type": "Image", "size": 0.5}])
    size = with_body(without_body(received_part(raw_body)), raw_body)["message"][0]["size"]
    assert (size, type(size)) == (0.5, float)


def test_numbers_of_a_body_are_kept_exactly():
    part = received_part(raw().replace(b'"hi"', b'"hi", "size": 0.10000000000000000001'))
    assert part["message"][0]["size"] == Decimal("0.10000000000000000001")


def test_the_largest_sync_reply_that_push_reads_makes_a_part():
    segments = ", ".join(["{}"] * ((MAX_RESPONSE_VALUES - 4) // 2))
    response = f'{{"data": {{"reply_to": "in_1", "message": [{segments}]}}}}'
    outcome = classify("sync", Response(200, response.encode()), AttemptHistory(), NOW)
    raw_body = sync_reply_body("s-1", "in_1", outcome.reply, "2026-11-22T13:00:48.606776")
    assert parse_part(raw_body).message == outcome.reply
    more = Response(200, response.replace("{}", "[{}]", 1).encode())
    assert classify("sync", more, AttemptHistory(), NOW).verdict is Verdict.UNKNOWN


def test_a_sync_reply_is_stored_as_the_callback_that_it_stands_for():
    message = [{"type": "Plain", "text": "né"}]
    raw_body = sync_reply_body("s-1", "in_1", message, "2026-11-22T13:00:48.606776")
    assert raw_body == raw(message=message, stream=False)
    part = received_part(raw_body)
    assert (part["session"], part["reply_to"], part["message"]) == ("default#s-1", "in_1", message)
    assert (part["is_final"], part["created_at"]) == (True, "2026-11-22T13:00:48.606776Z")


@pytest.mark.parametrize(
    ("given", "session_id"),
    [
        (raw(session_id="s-é"), "s-é"),
        (raw(message="no list"), "s-1"),
        (raw(session_id=7), None),
        (b'["s-1"]', None),
        (b'{"session_id": "s-1"', None),
        (b'{"session_id": "s-1", "message": [' + b"0," * MAX_VALUES + b"0]}", None),
    ],
    ids=["part", "no part", "number", "no object", "no JSON", "too many values"],
)
def test_the_session_of_a_body_is_read_from_any_object_that_names_one(given, session_id):
    assert session_id_in(given) == session_id
