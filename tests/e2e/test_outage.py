"""The deployed callback while it may not write to its table, and afterwards."""

import hashlib
import json

import pytest

from support.callbacks import overflow_objects, part_body, post_part, signed_headers
from support.permissions import without
from support.waiting import eventually


@pytest.fixture
def short_pause(deployed):
    """Let SpillQueue deliver a part again after a pause that a test can wait for."""
    sqs, queue = deployed.client("sqs"), deployed.physical_id("SpillQueue")
    before = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "5"})
    yield
    sqs.set_queue_attributes(QueueUrl=queue, Attributes=before)


@pytest.mark.usefixtures("short_pause")
def test_a_large_part_outlives_an_outage(talk):
    raw = part_body(talk, message=[{"type": "Image", "base64": "A" * 2_000_000}])
    with without(talk.deployed, "dynamodb:PutItem"):
        assert post_part(talk, raw).status_code == 200
        assert overflow_objects(talk.deployed, f"spill/{talk.name}/") == [raw]
    (part,) = eventually(talk.parts)
    assert part["message"] == json.loads(raw)["message"]
    assert part["digest"] == hashlib.sha256(raw).hexdigest()


def test_a_part_that_cannot_be_spilled_is_answered_503_and_kept_next_time(talk):
    raw = part_body(talk)
    signed = signed_headers(raw)
    with without(talk.deployed, "dynamodb:PutItem", "sqs:SendMessage"):
        response = post_part(talk, raw, signed)
    assert (response.status_code, response.json()) == (503, {"message": "could not be kept, try again"})
    assert post_part(talk, raw, signed).status_code == 200
    assert len(talk.parts()) == 1
