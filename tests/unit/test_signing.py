import base64
import json
from pathlib import Path

import pytest

from relay.domain.signing import SIGNATURE_TOLERANCE, NotAuthentic, Refusal, secret_used, sign, signed_time

DATA = Path(__file__).parents[1] / "data"
VECTORS = json.loads((DATA / "signing-vectors.json").read_text("utf-8"))
BY_CLIENTS = json.loads((DATA / "reference-clients.json").read_text("utf-8"))
"""Signatures made by client.py and client.ts of examples/http-bot, at LangBot's commit 962366c."""
NOW = 1_795_352_448.9


def body_of(vector):
    if vector["body_base64"] is None:
        text, times = vector["body_repeat"]
        return text.encode() * times
    return base64.b64decode(vector["body_base64"])


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["timestamp"])
def test_a_signature_equals_the_one_that_langbot_made(vector):
    assert sign(vector["secret"], vector["timestamp"], body_of(vector)) == vector["signature"]


@pytest.mark.parametrize("made", BY_CLIENTS, ids=lambda made: made["client"])
def test_a_signature_of_a_reference_client_of_langbot_is_accepted(made):
    assert secret_used((made["secret"],), made["timestamp"], made["signature"], made["body"].encode()) == 0


@pytest.mark.parametrize("made", BY_CLIENTS, ids=lambda made: made["client"])
def test_a_reference_client_of_langbot_accepts_a_signature(made):
    # It makes the signature itself and compares the two.
    assert sign(made["secret"], made["timestamp"], made["body"].encode()) == made["signature"]


def test_operators_read_these_refusals():
    assert list(Refusal) == [
        "timestamp_missing",
        "timestamp_malformed",
        "timestamp_expired",
        "signature_missing",
        "signature_mismatch",
        "unknown_bot",
    ]


@pytest.mark.parametrize("age", [0, SIGNATURE_TOLERANCE, -SIGNATURE_TOLERANCE])
def test_a_time_within_the_tolerance_is_accepted(age):
    assert signed_time(str(int(NOW) - age), NOW) == int(NOW) - age


def test_a_time_with_a_fraction_is_accepted_as_langbot_accepts_it():
    assert signed_time("1795352448.5", NOW) == 1795352448.5


@pytest.mark.parametrize("age", [SIGNATURE_TOLERANCE + 1, -SIGNATURE_TOLERANCE - 1, 10**9])
def test_a_time_outside_the_tolerance_is_refused(age):
    with pytest.raises(NotAuthentic, match="300 s from now") as refused:
        signed_time(str(int(NOW) - age), NOW)
    assert refused.value.refusal is Refusal.EXPIRED


@pytest.mark.parametrize(
    "text",
    [
        "inf",
        "nan",
        "1e400",
        "-5",
        "+5",
        " 1795352448",
        "1795352448,1795352448",
        "9" * 5000,
        "١٧٩٥",
        "0x10",
        "1.",
    ],
)
def test_a_time_that_is_no_plain_number_is_refused(text):
    with pytest.raises(NotAuthentic, match=r"^X-LB-Timestamp is not a time in Unix seconds$") as refused:
        signed_time(text, NOW)
    assert refused.value.refusal is Refusal.BAD_TIMESTAMP


@pytest.mark.parametrize("text", [None, ""])
def test_a_missing_time_is_refused(text):
    with pytest.raises(NotAuthentic, match=r"^X-LB-Timestamp is missing$") as refused:
        signed_time(text, NOW)
    assert refused.value.refusal is Refusal.NO_TIMESTAMP


@pytest.mark.parametrize(("secret", "position"), [("new", 0), ("old", 1)])
def test_the_secret_that_made_a_signature_is_found(secret, position):
    assert secret_used(("new", "old"), "1", sign(secret, "1", b"{}"), b"{}") == position


@pytest.mark.parametrize(
    "signature",
    [
        sign("other", "1", b"{}"),
        sign("secret", "2", b"{}"),
        sign("secret", "1", b"{} "),
        sign("secret", "1", b"{}").upper(),
        sign("secret", "1", b"{}").removeprefix("sha256="),
        sign("secret", "1", b"{}") + "," + sign("secret", "1", b"{}"),
        "",
        "sha256=é",
        "\ud800",
    ],
)
def test_every_other_signature_is_refused(signature):
    assert secret_used(("secret",), "1", signature, b"{}") is None


def test_no_signature_is_accepted_if_there_is_no_secret():
    assert secret_used((), "1", sign("", "1", b"{}"), b"{}") is None
