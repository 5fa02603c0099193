"""Reply parts over HTTP into the deployed stack."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from conftest import OUT
from recordings import RECORDINGS, callbacks
from relay.rules.signing import sign


def body(talk, **fields):
    part = {
        "session_id": talk.session,
        "reply_to": "in_1",
        "sequence": 1,
        "is_final": True,
        "stream": True,
        "message": [{"type": "Plain", "text": "hi"}],
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.000001", time.gmtime()),
    }
    return json.dumps(part | fields, ensure_ascii=False).encode()


def headers(raw, secret=OUT, timestamp=None):
    timestamp = timestamp or str(int(time.time()))
    return {"X-LB-Timestamp": timestamp, "X-LB-Signature": sign(secret, timestamp, raw)}


def post(talk, raw, sent_headers=None, bot=None, content_type="application/json"):
    return requests.post(
        talk.deployed.callback_url(bot or talk.name),
        data=raw,
        headers={"Content-Type": content_type} | (headers(raw) if sent_headers is None else sent_headers),
        timeout=15,
    )


def items(deployed):
    return deployed.client("dynamodb").scan(TableName=deployed.stack.replies_table, Select="COUNT")["Count"]


def objects(deployed, prefix):
    s3 = deployed.client("s3")
    found = s3.list_objects_v2(Bucket=deployed.stack.overflow_bucket, Prefix=prefix).get("Contents", [])
    return [s3.get_object(Bucket=deployed.stack.overflow_bucket, Key=o["Key"])["Body"].read() for o in found]


def test_a_signed_part_is_kept(talk):
    answer = post(talk, body(talk))
    assert (answer.status_code, answer.json()) == (200, {"message": "kept"})
    (part,) = talk.conversation().parts()
    assert (part["text"], part["reply_to"], part["is_final"]) == ("hi", "in_1", True)


def test_a_retry_is_answered_200_and_kept_once(talk):
    raw = body(talk)
    signed = headers(raw)
    assert [post(talk, raw, signed).status_code for _ in range(3)] == [200] * 3
    assert len(talk.conversation().parts()) == 1


def test_retries_at_the_same_time_are_kept_once(talk):
    raw = body(talk)
    signed = headers(raw)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: post(talk, raw, signed).status_code, range(8)))
    assert answers == [200] * 8
    assert len(talk.conversation().parts()) == 1


def test_different_parts_of_one_sequence_and_stamp_are_both_kept(talk):
    for text in ("one", "two"):
        post(talk, body(talk, message=[{"type": "Plain", "text": text}], timestamp="2026-11-22T13:00:00"))
    assert {part["text"] for part in talk.conversation().parts()} == {"one", "two"}


@pytest.mark.parametrize(
    "forge",
    [
        lambda raw: {},
        lambda raw: {"X-LB-Timestamp": str(int(time.time()))},
        lambda raw: {"X-LB-Signature": sign(OUT, str(int(time.time())), raw)},
        lambda raw: headers(raw, secret="other"),
        lambda raw: headers(raw, secret="in-secret"),
        lambda raw: headers(raw + b" "),
        lambda raw: headers(raw, timestamp=str(int(time.time()) - 302)),
        lambda raw: headers(raw, timestamp=str(int(time.time()) + 302)),
        lambda raw: headers(raw, timestamp="inf"),
        lambda raw: headers(raw, timestamp="1e400"),
        lambda raw: headers(raw, timestamp="nan"),
        lambda raw: headers(raw, timestamp="9" * 5000),
        lambda raw: headers(raw) | {"X-LB-Signature": "sha256=é".encode()},
        lambda raw: headers(raw) | {"X-LB-Signature": headers(raw)["X-LB-Signature"].upper()},
        lambda raw: headers(raw) | {"X-LB-Signature": ",".join([headers(raw)["X-LB-Signature"]] * 2)},
        lambda raw: headers(raw) | {"X-LB-Timestamp": f"{int(time.time())},{int(time.time())}"},
        lambda raw: headers(raw) | {"X-LB-Signature": ""},
    ],
)
def test_what_is_not_signed_is_refused_and_nothing_is_stored(talk, forge):
    before = items(talk.deployed)
    raw = body(talk)
    answer = post(talk, raw, forge(raw))
    assert (answer.status_code, answer.json()) == (401, {"message": "not authentic"})
    assert (items(talk.deployed), objects(talk.deployed, f"quarantine/{talk.name}/")) == (before, [])


def test_duplicated_headers_are_refused(talk):
    import http.client
    from urllib.parse import urlsplit

    raw = body(talk)
    url = urlsplit(talk.deployed.callback_url(talk.name))
    connection = http.client.HTTPConnection(url.netloc)
    connection.putrequest("POST", url.path)
    for name, value in [*headers(raw).items(), *headers(raw).items(), ("Content-Length", str(len(raw)))]:
        connection.putheader(name, value)
    connection.endheaders(raw)
    assert connection.getresponse().status == 401
    connection.close()
    assert talk.conversation().parts() == []


@pytest.mark.parametrize("bot", ["nobody", "UPPER", "a" * 64, "%2e%2e", "x%00y"])
def test_an_unknown_bot_looks_just_like_a_wrong_signature(talk, bot):
    raw = body(talk)
    answer = post(talk, raw, bot=bot)
    assert (answer.status_code, answer.json()) == (401, {"message": "not authentic"})


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b'"text"',
        b"{" * 10_000,
        b'{"session_id": "", "reply_to": "", "sequence": NaN, "is_final": true, "message": []}',
        b'{"session_id": "", "reply_to": "", "sequence": 1, "sequence": 1, "is_final": true, "message": []}',
        b'{"session_id": "", "reply_to": "", "sequence": 1, "is_final": true, "message": [{"": "\\ud800"}]}',
    ],
    ids=["empty", "object", "array", "string", "deep", "nan", "duplicate-key", "surrogate"],
)
def test_a_signed_body_that_is_no_part_is_answered_400_and_kept_in_the_quarantine(talk, raw):
    before = items(talk.deployed)
    assert post(talk, raw).status_code == 400
    assert objects(talk.deployed, f"quarantine/{talk.name}/") == [raw]
    assert items(talk.deployed) == before


@pytest.mark.parametrize("sequence", [-1, 0, 2**70, 10**37, 10**40, -(10**40)])
def test_a_part_is_kept_whatever_its_sequence_says(talk, sequence):
    assert post(talk, body(talk, sequence=sequence)).status_code == 200
    assert [part["sequence"] for part in talk.conversation().parts()] == [sequence]


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
def test_a_part_that_an_item_cannot_hold_is_read_like_any_other(talk, message):
    raw = body(talk, message=message)
    signed = headers(raw)
    assert [post(talk, raw, signed).status_code for _ in range(2)] == [200, 200]
    (part,) = talk.conversation().parts()
    assert part["message"] == message
    assert talk.conversation().turns()[0].finished
    assert objects(talk.deployed, f"parts/{talk.name}/") == [raw]


def test_a_part_that_an_item_can_hold_stays_out_of_the_bucket(talk):
    message = [{"type": "Plain", "text": "x" * 150_000, "half": 0.5, "none": None, "empty": {"": []}}]
    assert post(talk, body(talk, message=message)).status_code == 200
    assert talk.conversation().parts()[0]["message"] == message
    assert objects(talk.deployed, f"parts/{talk.name}/") == []


def test_a_body_that_the_gateway_encodes_is_verified_as_it_was_sent(talk):
    assert post(talk, body(talk), content_type="application/octet-stream").status_code == 200
    assert len(talk.conversation().parts()) == 1


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_recorded_traffic_is_kept_in_the_order_in_which_it_was_emitted(talk, recording):
    emitted = list(dict.fromkeys(callback.raw for callback in callbacks(recording)))
    for callback in callbacks(recording):
        assert post(talk, callback.raw).status_code == 200
    for session in {json.loads(raw)["session_id"] for raw in emitted}:
        own = [json.loads(raw) for raw in emitted if json.loads(raw)["session_id"] == session]
        assert [part["message"] for part in talk.conversation(session).parts()] == [p["message"] for p in own]


def test_a_rotated_secret_is_picked_up_with_its_first_part(talk):
    raw = body(talk)
    assert post(talk, raw).status_code == 200
    talk.deployed.client("secretsmanager").put_secret_value(
        SecretId=talk.deployed.local.outputs["BotSecretPrefix"] + talk.name,
        SecretString=json.dumps(
            {"url": talk.bot.url, "inbound_secret": "in", "outbound_secret": ["new", OUT]}
        ),
    )
    assert post(talk, raw, headers(raw, secret="new")).status_code == 200
    assert post(talk, raw, headers(raw, secret=OUT)).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_posts_are_taken(talk, method):
    raw = body(talk)
    answer = requests.request(
        method, talk.deployed.callback_url(talk.name), data=raw, headers=headers(raw), timeout=15
    )
    assert answer.status_code == 404
