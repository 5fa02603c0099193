"""The deployed callback while it may not write to its table, and afterwards."""

import hashlib
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from relay.domain.timestamps import utc_text
from support.callbacks import overflow_objects, part_body, post_part, signed_headers
from support.deployed import IN, OUT
from support.permissions import without
from support.waiting import eventually

LANGBOT_RETRIES = (1, 2, 4, 0)
"""Seconds for which LangBot waits after each failed try of a callback; after the last it gives up."""


@contextmanager
def pause_between_tries(deployed, seconds):
    """Let SpillQueue deliver a part again after so many seconds."""
    sqs, queue = deployed.client("sqs"), deployed.physical_id("SpillQueue")
    before = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": str(seconds)})
    yield
    sqs.set_queue_attributes(QueueUrl=queue, Attributes=before)


@pytest.fixture
def short_pause(deployed):
    """A pause that a test can wait for."""
    with pause_between_tries(deployed, 5):
        yield


@pytest.fixture
def longer_pause(deployed):
    """A pause in which a slow machine can post some hundred parts, and not only try the spilled ones."""
    with pause_between_tries(deployed, 20):
        yield


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("longer_pause")
def test_a_thousand_parts_of_an_outage_are_stored_once_and_in_order(talk):
    # A longer outage has more tries and nothing else.
    sessions = [f"{talk.session}-{number}" for number in range(20)]
    start, ahead = int(time.time()) - 5, 8 * 3600
    emitted, signed, received = {}, {}, {}
    for number in range(50):
        for session in sessions:
            # Stamped as LangBot does, on its host's clock and without an offset.
            at = start + number / 10
            stamp = utc_text(at + ahead).removesuffix("Z")
            fields = {"sequence": number % 7, "is_final": number == 49, "timestamp": stamp}
            emitted[part_body(talk, session_id=session, **fields)] = at
    parts = list(emitted)
    posted_again = parts[500::20]

    def post(raw):
        """Post a part as LangBot does, which signs it once and tries again after a 5xx."""
        signed.setdefault(raw, signed_headers(raw))
        before = time.time()
        for pause in LANGBOT_RETRIES:
            # If the machine is too slow for callback's time-outs, it answers 503.
            if (status := post_part(talk, raw, signed[raw]).status_code) < 500:
                break
            time.sleep(pause)
        received.setdefault(raw, (utc_text(before), utc_text(time.time())))
        return status

    with ThreadPoolExecutor(4) as threads:
        with without(talk.deployed, "dynamodb:PutItem"):
            statuses = Counter(threads.map(post, parts))
            retries = Counter(threads.map(post, posted_again))
            assert all(talk.conversation(session).parts() == [] for session in sessions)
        retries += Counter(threads.map(post, posted_again))
    assert (statuses, retries) == ({200: 1000}, {200: 50})

    def stored():
        found = {session: talk.conversation(session).parts() for session in sessions}
        return found if sum(map(len, found.values())) >= 1000 else None

    found = eventually(stored, within=300, what="all 1,000 parts in the table")
    for session in sessions:
        own = [raw for raw in parts if json.loads(raw)["session_id"] == session]
        assert [part["digest"] for part in found[session]] == [hashlib.sha256(raw).hexdigest() for raw in own]
        for part, raw in zip(found[session], own, strict=True):
            assert part["created_at"] == utc_text(emitted[raw])
            assert part["sent_at"] == utc_text(float(signed[raw]["X-LB-Timestamp"]))
            # If a part came more than once, any reception can be the first to be stored.
            if raw not in posted_again:
                assert received[raw][0] <= part["received_at"] <= received[raw][1]


@pytest.mark.usefixtures("short_pause")
def test_a_large_part_outlives_an_outage(talk):
    raw = part_body(talk, message=[{"type": "Image", "base64": "A" * 2_000_000}])
    with without(talk.deployed, "dynamodb:PutItem"):
        assert post_part(talk, raw).status_code == 200
        assert overflow_objects(talk.deployed, f"spill/{talk.name}/") == [raw]
    (part,) = eventually(talk.conversation().parts)
    assert part["message"] == json.loads(raw)["message"]
    assert part["digest"] == hashlib.sha256(raw).hexdigest()


def test_a_part_that_cannot_be_spilled_is_answered_503_and_kept_next_time(talk):
    raw = part_body(talk)
    signed = signed_headers(raw)
    with without(talk.deployed, "dynamodb:PutItem", "sqs:SendMessage"):
        response = post_part(talk, raw, signed)
    assert (response.status_code, response.json()) == (503, {"message": "could not be kept, try again"})
    assert post_part(talk, raw, signed).status_code == 200
    assert len(talk.conversation().parts()) == 1


@pytest.mark.usefixtures("short_pause")
def test_a_spilled_part_has_the_key_of_its_reception_even_without_its_bot(talk):
    secret = talk.deployed.local.outputs["BotSecretPrefix"] + talk.name
    manager = talk.deployed.client("secretsmanager")
    fields = {"inbound_secret": IN, "outbound_secret": OUT, "timezone": "Asia/Shanghai"}
    manager.put_secret_value(SecretId=secret, SecretString=json.dumps(fields))
    emitted = int(time.time()) - 60 + 0.000001
    in_shanghai = utc_text(emitted + 8 * 3600).removesuffix("Z")
    raw = part_body(talk, timestamp=in_shanghai)
    with without(talk.deployed, "dynamodb:PutItem"):
        assert post_part(talk, raw).status_code == 200
        manager.delete_secret(SecretId=secret, ForceDeleteWithoutRecovery=True)
    (part,) = eventually(talk.conversation().parts)
    assert part["part"].startswith(utc_text(emitted).removesuffix("Z") + "#")
    assert part["created_at"] == utc_text(emitted)


def test_the_last_good_secret_serves_while_secrets_manager_refuses(talk):
    assert post_part(talk, part_body(talk)).status_code == 200
    with without(talk.deployed, "secretsmanager:GetSecretValue"):
        raw = part_body(talk, sequence=2)
        # If a signature is wrong, callback reads the secret, which is refused. It cannot decide then, and
        # LangBot tries again.
        assert post_part(talk, raw, signed_headers(raw, secret="wrong")).status_code == 503
        assert post_part(talk, raw).status_code == 200
    assert len(talk.conversation().parts()) == 2
