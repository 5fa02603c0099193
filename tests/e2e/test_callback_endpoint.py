"""Reply parts over HTTP into the deployed stack."""

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import pytest
import requests

from relay.domain.signing import sign
from support.bots import change_secret
from support.callbacks import overflow_objects, part_body, post_part, signed_headers
from support.deployed import IN, OUT
from support.recordings import RECORDINGS, callbacks
from support.tables import scan
from support.waiting import eventually


def stored_parts(talk):
    """Count the parts of the test's bot. Parts of other tests may still come."""
    stack = talk.deployed.stack
    return sum(part["bot"] == talk.name for part in scan(stack, stack.replies_table, "bot"))


def test_a_signed_part_is_stored(talk):
    response = post_part(talk, part_body(talk))
    assert (response.status_code, response.json()) == (200, {"message": "kept"})
    (part,) = talk.parts()
    assert (part["text"], part["reply_to"], part["is_final"]) == ("hi", "in_1", True)


def test_a_retry_is_answered_200_and_stored_once(talk):
    raw = part_body(talk)
    signed = signed_headers(raw)
    assert [post_part(talk, raw, signed).status_code for _ in range(3)] == [200] * 3
    assert len(talk.parts()) == 1


def test_parallel_retries_are_stored_once(talk):
    raw = part_body(talk)
    signed = signed_headers(raw)
    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(lambda _: post_part(talk, raw, signed).status_code, range(8)))
    assert statuses == [200] * 8
    assert len(talk.parts()) == 1


def test_different_parts_with_one_sequence_and_stamp_are_both_stored(talk):
    for text in ("one", "two"):
        post_part(
            talk, part_body(talk, message=[{"type": "Plain", "text": text}], timestamp="2026-11-22T13:00:00")
        )
    assert {part["text"] for part in talk.parts()} == {"one", "two"}


@pytest.mark.parametrize(
    "forge",
    [
        lambda raw: {},
        lambda raw: {"X-LB-Timestamp": str(int(time.time()))},
        lambda raw: {"X-LB-Signature": sign(OUT, str(int(time.time())), raw)},
        lambda raw: signed_headers(raw, secret="other"),
        lambda raw: signed_headers(raw, secret=IN),
        lambda raw: signed_headers(raw + b" "),
        lambda raw: signed_headers(raw, timestamp=str(int(time.time()) - 302)),
        lambda raw: signed_headers(raw, timestamp=str(int(time.time()) + 302)),
        lambda raw: signed_headers(raw, timestamp="inf"),
        lambda raw: signed_headers(raw, timestamp="1e400"),
        lambda raw: signed_headers(raw, timestamp="nan"),
        lambda raw: signed_headers(raw, timestamp="9" * 5000),
        lambda raw: signed_headers(raw) | {"X-LB-Signature": "sha256=é".encode()},
        lambda raw: signed_headers(raw) | {"X-LB-Signature": signed_headers(raw)["X-LB-Signature"].upper()},
        lambda raw: (
            signed_headers(raw) | {"X-LB-Signature": ",".join([signed_headers(raw)["X-LB-Signature"]] * 2)}
        ),
        lambda raw: signed_headers(raw) | {"X-LB-Timestamp": f"{int(time.time())},{int(time.time())}"},
        lambda raw: signed_headers(raw) | {"X-LB-Signature": ""},
    ],
)
def test_an_unsigned_request_is_refused_and_not_stored(talk, forge):
    raw = part_body(talk)
    response = post_part(talk, raw, forge(raw))
    assert (response.status_code, response.json()) == (401, {"message": "not authentic"})
    assert (stored_parts(talk), overflow_objects(talk.deployed, f"quarantine/{talk.name}/")) == (0, [])


def test_duplicated_headers_are_refused(talk):
    raw = part_body(talk)
    url = urlsplit(talk.deployed.callback_url(talk.name))
    connection = http.client.HTTPConnection(url.netloc)
    connection.putrequest("POST", url.path)
    for name, value in [
        *signed_headers(raw).items(),
        *signed_headers(raw).items(),
        ("Content-Length", str(len(raw))),
    ]:
        connection.putheader(name, value)
    connection.endheaders(raw)
    assert connection.getresponse().status == 401
    connection.close()
    assert talk.parts() == []


@pytest.mark.parametrize("bot", ["missing", "UPPER", "a" * 64, "%2e%2e", "x%00y"])
def test_an_unknown_bot_looks_like_a_wrong_signature(talk, bot):
    raw = part_body(talk)
    response = post_part(talk, raw, bot=bot)
    assert (response.status_code, response.json()) == (401, {"message": "not authentic"})


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b'"text"',
        b"{" * 10_000,
        b'{"session_id": "s", "message": "hi"}',
    ],
    ids=["empty", "object", "array", "string", "deep", "no-segments"],
)
def test_a_signed_body_that_is_no_part_is_answered_400_and_quarantined(talk, raw):
    assert post_part(talk, raw).status_code == 400
    assert overflow_objects(talk.deployed, f"quarantine/{talk.name}/") == [raw]
    assert stored_parts(talk) == 0


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (b'"sequence": 1', b'"sequence": NaN', "hi"),
        (b'"sequence": 1', b'"sequence": 1, "sequence": 2', "hi"),
        (b'"hi"', b'"half \\ud83d an emoji"', "half \ufffd an emoji"),
    ],
    ids=["nan", "duplicate-key", "surrogate"],
)
def test_a_part_in_careless_json_is_stored_and_its_raw_body_kept(talk, old, new, text):
    raw = part_body(talk).replace(old, new)
    assert post_part(talk, raw).status_code == 200
    (part,) = talk.parts()
    assert (part["text"], part["normalized"]) == (text, True)
    assert overflow_objects(talk.deployed, f"parts/{talk.name}/") == [raw]


@pytest.mark.parametrize("overflow", ["scroll", True, {"hidden": 3}, None])
def test_a_field_that_is_called_as_one_of_ours_reads_nothing_else(talk, overflow):
    theirs = {"overflow": overflow, "session": "default#other", "digest": "0" * 64, "normalized": True}
    assert post_part(talk, part_body(talk, **theirs)).status_code == 200
    assert post_part(talk, part_body(talk, sequence=2)).status_code == 200
    parts = talk.parts()
    assert [part["text"] for part in parts] == ["hi", "hi"]
    assert sum(part.get("conflicting_fields") == theirs for part in parts) == 1


@pytest.mark.parametrize("number", ["1e400", "-1e999", "1" + "0" * 500, "1" + "0" * 4301])
def test_a_part_with_a_number_past_a_double_is_read_like_any_other(talk, number):
    raw = part_body(talk, message=[{"type": "Plain", "text": "hi"}, {"type": "Chart", "n": "NUMBER"}])
    assert post_part(talk, raw.replace(b'"NUMBER"', number.encode())).status_code == 200
    assert post_part(talk, part_body(talk, sequence=2)).status_code == 200
    assert sorted(part["text"] for part in talk.parts()) == ["hi", "hi"]


@pytest.mark.parametrize("sequence", [-1, 0, 2**70, 10**37, 10**40, -(10**40)])
def test_a_part_is_stored_with_any_sequence(talk, sequence):
    assert post_part(talk, part_body(talk, sequence=sequence)).status_code == 200
    assert [part["sequence"] for part in talk.parts()] == [sequence]


def nested(levels):
    return json.loads("[" * levels + "]" * levels)


@pytest.mark.parametrize(
    "message",
    [
        [{"type": "Plain", "text": "x" * 300_000}],
        [{"type": "Plain", "text": "ü" * 250_000}],
        [{"type": "Image", "base64": "data:image/png;base64," + "A" * 5_000_000}],
        [{"type": "Plain", "text": "deep", "extra": nested(40)}],
        [{"type": "Plain", "text": "deeper", "extra": nested(190)}],
        [{"type": "Plain", "text": "exact", "extra": 12345678901234567890123456789012345678901234567890}],
        [{"type": "Plain", "text": "tiny", "extra": 1e-200}],
    ],
    ids=["300k", "500k-bytes", "5MB-image", "deep", "deeper", "digits", "tiny"],
)
def test_a_part_that_no_item_can_hold_is_read_like_any_other(talk, message):
    raw = part_body(talk, message=message)
    signed = signed_headers(raw)
    assert [post_part(talk, raw, signed).status_code for _ in range(2)] == [200, 200]
    (part,) = talk.parts()
    assert part["message"] == message
    assert talk.conversation().turns()[0].finished
    assert overflow_objects(talk.deployed, f"parts/{talk.name}/") == [raw]


def test_a_part_that_an_item_can_hold_is_not_in_the_bucket(talk):
    message = [{"type": "Plain", "text": "x" * 150_000, "half": 0.5, "none": None, "empty": {"": []}}]
    assert post_part(talk, part_body(talk, message=message)).status_code == 200
    assert talk.parts()[0]["message"] == message
    assert overflow_objects(talk.deployed, f"parts/{talk.name}/") == []


def test_a_body_that_the_gateway_encodes_is_verified_as_sent(talk):
    assert post_part(talk, part_body(talk), content_type="application/octet-stream").status_code == 200
    assert len(talk.parts()) == 1


def moved_to_now(callback, seconds):
    """Return a recorded body with its stamp so many seconds later: one of days ago would not be believed."""
    stamp = json.loads(callback.raw)["timestamp"]
    later = datetime.fromisoformat(stamp) + timedelta(seconds=seconds)
    return callback.raw.replace(stamp.encode(), later.isoformat(timespec="microseconds").encode())


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_recorded_traffic_is_stored_in_order_of_emission(talk, recording):
    seconds = int(time.time() - float(callbacks(recording)[0].timestamp))
    posted = [moved_to_now(callback, seconds) for callback in callbacks(recording)]
    emitted = list(dict.fromkeys(posted))
    for raw in posted:
        assert post_part(talk, raw).status_code == 200
    for session in {json.loads(raw)["session_id"] for raw in emitted}:
        own = [json.loads(raw) for raw in emitted if json.loads(raw)["session_id"] == session]
        assert [part["message"] for part in talk.parts(session)] == [p["message"] for p in own]


def test_a_rotated_secret_is_used_for_its_first_part(talk):
    raw = part_body(talk)
    assert post_part(talk, raw).status_code == 200
    talk.deployed.client("secretsmanager").put_secret_value(
        SecretId=talk.deployed.local.outputs["BotSecretPrefix"] + talk.name,
        SecretString=json.dumps(
            {"url": talk.bot.url, "inbound_secret": "in", "outbound_secret": ["new", OUT]}
        ),
    )
    assert post_part(talk, raw, signed_headers(raw, secret="new")).status_code == 200
    assert post_part(talk, raw, signed_headers(raw, secret=OUT)).status_code == 200


def test_a_revoked_secret_serves_until_callback_is_changed(talk):
    raw = part_body(talk)
    assert post_part(talk, raw).status_code == 200
    change_secret(talk, outbound_secret="n" * 43)
    assert post_part(talk, raw).status_code == 200
    functions, name = talk.deployed.client("lambda"), talk.deployed.physical_id("CallbackFunction")
    functions.update_function_configuration(FunctionName=name, MemorySize=513)
    try:
        eventually(lambda: post_part(talk, raw).status_code == 401)
    finally:
        functions.update_function_configuration(FunctionName=name, MemorySize=512)


def test_a_part_says_with_which_of_the_secrets_it_was_verified(talk):
    change_secret(talk, outbound_secret=["new", OUT])
    for sequence, secret in enumerate(["new", OUT]):
        raw = part_body(talk, sequence=sequence)
        assert post_part(talk, raw, signed_headers(raw, secret=secret)).status_code == 200
    assert [part["verified_with"] for part in talk.parts()] == [0, 1]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_post_is_accepted(talk, method):
    raw = part_body(talk)
    response = requests.request(
        method, talk.deployed.callback_url(talk.name), data=raw, headers=signed_headers(raw), timeout=15
    )
    assert response.status_code == 404
