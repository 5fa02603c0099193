"""callback's own handler and clients while the AWS services beneath it refuse, fail or hang.

The deployed callback, whose services work, stores what this one spills.
"""

import hashlib
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from relay.adapters.aws import client
from relay.adapters.dynamodb import Table
from relay.adapters.replies_table import RepliesTable
from relay.adapters.spill_queue import SpillQueue
from relay.domain.timestamps import utc_text
from support.callbacks import overflow_objects, part_body, signed_headers
from support.deaths import Died, Dying
from support.waiting import eventually

TEMPLATE = Path(__file__).parents[2].joinpath("template.yaml").read_text("utf-8")
TIMEOUT = int(
    re.search(r"^  CallbackFunction:.*?^      Timeout: (\d+)$", TEMPLATE, re.DOTALL | re.MULTILINE)[1]
)
"""Seconds after which Lambda ends the function."""


def stored(talk, count=1):
    """Return the parts of the session, once there are so many."""
    conversation = talk.conversation()
    return eventually(lambda: parts if len(parts := conversation.parts()) >= count else None)


@pytest.mark.parametrize("mode", ["refuses", "fails", "hangs", "is down"])
def test_a_part_is_answered_200_and_stored_later_if_the_table_fails(talk, callback, mode):
    callback.table.mode = mode
    raw, before = part_body(talk), time.time()
    status, seconds = callback.post(talk, raw, signed_headers(raw, timestamp=str(int(before) - 7)))
    assert (status, callback.queue.requests) == (200, 1)
    assert seconds < TIMEOUT
    (part,) = stored(talk)
    assert part["digest"] == hashlib.sha256(raw).hexdigest()
    assert part["sent_at"] == utc_text(int(before) - 7)
    assert part["verified_with"] == 0
    assert utc_text(before) <= part["received_at"] <= utc_text(before + 0.5)


def test_a_part_that_is_stored_does_not_touch_the_spill_queue(talk, callback):
    assert callback.post(talk, part_body(talk))[0] == 200
    assert (callback.queue.requests, callback.bucket.requests) == (0, 0)
    assert len(talk.conversation().parts()) == 1


@pytest.mark.parametrize("mode", ["refuses", "hangs"])
def test_a_part_that_cannot_be_spilled_either_is_answered_503_in_time(talk, callback, mode):
    callback.table.mode = callback.queue.mode = mode
    status, seconds = callback.post(talk, part_body(talk))
    assert status == 503
    assert seconds < TIMEOUT


def test_a_forged_part_is_answered_401_and_not_spilled(talk, callback):
    callback.table.mode = "refuses"
    raw = part_body(talk)
    assert callback.post(talk, raw, signed_headers(raw, secret="forged"))[0] == 401
    assert callback.queue.requests == 0


@pytest.mark.parametrize("raw", [b"{}", b"\xff\x00\xfe not text"])
def test_a_signed_body_that_is_no_part_is_spilled_and_quarantined(talk, callback, raw):
    callback.bucket.mode = "refuses"
    assert callback.post(talk, raw)[0] == 400
    assert eventually(lambda: overflow_objects(talk.deployed, f"quarantine/{talk.name}/")) == [raw]


def test_a_signed_body_that_cannot_be_kept_or_spilled_is_answered_503(talk, callback):
    callback.bucket.mode = callback.queue.mode = "refuses"
    assert callback.post(talk, b"{}")[0] == 503


# A message of the queue holds 1 MiB: 786,432 bytes as base64, less some 130 for the other fields.
@pytest.mark.parametrize(("size", "in_bucket"), [(786_000, False), (786_432, True), (5_000_000, True)])
def test_a_part_of_any_size_is_spilled(talk, callback, size, in_bucket):
    callback.table.mode = "refuses"
    empty = len(part_body(talk, message=[{"type": "Plain", "text": ""}]))
    raw = part_body(talk, message=[{"type": "Plain", "text": "x" * (size - empty)}])
    assert len(raw) == size
    assert callback.post(talk, raw)[0] == 200
    assert stored(talk)[0]["text"] == "x" * (size - empty)
    assert overflow_objects(talk.deployed, f"spill/{talk.name}/") == ([raw] if in_bucket else [])


def test_a_part_too_large_for_the_queue_needs_the_bucket_to_be_spilled(talk, callback):
    callback.table.mode = callback.bucket.mode = "refuses"
    assert callback.post(talk, part_body(talk, message=[{"type": "Plain", "text": "x" * 800_000}]))[0] == 503


def test_a_part_too_large_for_the_table_is_spilled_if_the_bucket_refuses(talk, callback):
    callback.bucket.mode = "refuses"
    assert callback.post(talk, part_body(talk, message=[{"type": "Plain", "text": "x" * 500_000}]))[0] == 200
    assert stored(talk)[0]["text"] == "x" * 500_000


@pytest.mark.parametrize("mode", ["refuses", "fails", "hangs", "is down"])
def test_the_last_good_secret_stays_in_use_if_secrets_manager_fails(talk, callback, monkeypatch, mode):
    monkeypatch.setattr("relay.adapters.bot_cache.CACHE_TTL", 0)
    assert callback.post(talk, part_body(talk))[0] == 200
    before, callback.secrets.mode = callback.secrets.requests, mode
    assert callback.post(talk, part_body(talk, sequence=2))[0] == 200
    assert callback.secrets.requests > before
    raw = part_body(talk, sequence=3)
    for _ in range(2):
        assert callback.post(talk, raw, signed_headers(raw, secret="forged"))[0] == 503
    assert len(talk.conversation().parts()) == 2


def test_a_part_is_spilled_in_time_if_secrets_manager_and_the_table_hang(talk, callback, monkeypatch):
    monkeypatch.setattr("relay.adapters.bot_cache.CACHE_TTL", 0)
    assert callback.post(talk, part_body(talk))[0] == 200
    callback.secrets.mode = callback.table.mode = "hangs"
    status, seconds = callback.post(talk, part_body(talk, sequence=2))
    assert status == 200
    assert seconds < TIMEOUT
    stored(talk, 2)


def test_all_calls_that_may_hang_together_end_within_the_timeout(talk, callback):
    callback.table.mode = "refuses"
    raw = part_body(talk, message=[{"type": "Plain", "text": "x" * 800_000}])
    assert callback.post(talk, raw)[0] == 200  # with clients of all four services

    def longest(service):
        config = callback.clients[service].meta.config
        tries = config.retries["total_max_attempts"]
        return tries * (config.connect_timeout + config.read_timeout) + tries - 1

    assert longest("s3") == longest("dynamodb")
    assert longest("secretsmanager") + longest("dynamodb") + longest("sqs") < TIMEOUT


@pytest.fixture
def spilled(talk, callback):
    """Makes the message of a spilled part, and keeps it from the queue."""

    def spilled(raw):
        callback.table.mode, callback.queue.mode = "refuses", "accepts"
        assert callback.post(talk, raw)[0] == 200
        callback.table.mode = callback.queue.mode = "works"
        return callback.queue.accepted.pop()

    return spilled


def test_a_spilled_part_that_comes_twice_is_stored_once(talk, callback, spilled):
    raw = part_body(talk)
    message = spilled(raw)
    batches = [[message], [message], [message, message]]
    assert [callback.store_spilled(*batch) for batch in batches] == [[], [], []]
    assert callback.post(talk, raw)[0] == 200
    assert len(talk.conversation().parts()) == 1


def test_a_part_that_was_spilled_hours_ago_is_stored_with_its_own_times(talk, callback, spilled):
    hours_ago = int(time.time()) - 5 * 3600
    raw = part_body(talk, timestamp=utc_text(hours_ago + 8 * 3600).removesuffix("Z"))
    old = json.loads(spilled(raw)) | {"signed_at": hours_ago, "received_at": hours_ago + 1}
    assert callback.store_spilled(json.dumps(old)) == []
    (part,) = talk.conversation().parts()
    assert (part["created_at"], part["sent_at"]) == (utc_text(hours_ago), utc_text(hours_ago))
    assert part["received_at"] == utc_text(hours_ago + 1)
    assert part["expires_at"] == hours_ago + 1 + 86_400


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_part_whose_function_died_while_spilling_is_stored_once(talk, callback, monkeypatch, when):
    app = callback.app
    sqs = Dying(client("sqs"), "send_message", when)
    dying = SpillQueue(sqs, app.settings.spill_queue_url, app.bucket)
    monkeypatch.setattr(app, "receiver", replace(app.receiver, spill_queue=dying))
    callback.table.mode = "refuses"
    raw = part_body(talk)
    with pytest.raises(Died):
        callback.post(talk, raw)
    assert callback.post(talk, raw)[0] == 200  # LangBot tries again
    stored(talk)
    callback.table.mode = "works"
    assert callback.post(talk, raw)[0] == 200
    assert len(talk.conversation().parts()) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_spilled_part_whose_function_died_while_storing_is_stored_once(
    talk, callback, spilled, monkeypatch, when
):
    app, message = callback.app, spilled(part_body(talk))
    table = Dying(Table(client("dynamodb"), app.settings.replies_table), "put", when)
    dying = RepliesTable(table, app.bucket)
    monkeypatch.setattr(app, "receiver", replace(app.receiver, replies_table=dying))
    with pytest.raises(Died):
        callback.store_spilled(message)
    assert callback.store_spilled(message) == []
    assert len(talk.conversation().parts()) == 1


def test_a_spilled_part_is_logged_by_bot_and_error_and_never_by_text(talk, callback, log_lines):
    callback.table.mode = "refuses"
    callback.post(talk, part_body(talk, message=[{"type": "Plain", "text": "private words"}]))
    (line,) = [json.loads(line) for line in log_lines if "spill queue" in line]
    assert (line["bot"], line["error"]) == (talk.name, "AccessDeniedException")
    assert "private words" not in "\n".join(log_lines)


def test_what_cannot_be_stored_of_a_batch_stays_in_the_queue(talk, callback, spilled):
    good, lost = spilled(part_body(talk)), json.loads(spilled(part_body(talk, sequence=2)))
    del lost["raw"]
    lost["raw_at"] = "spill/no-bot/gone"
    assert callback.store_spilled(json.dumps(lost), good, "not ours") == [0, 2]
    assert [part["sequence"] for part in talk.conversation().parts()] == [1]


def test_spilled_parts_stay_in_the_queue_while_the_table_refuses(talk, callback, spilled):
    messages = [spilled(part_body(talk, sequence=number)) for number in range(3)]
    callback.table.mode = "refuses"
    before = callback.queue.requests
    assert callback.store_spilled(*messages) == [0, 1, 2]
    assert callback.queue.requests == before
    callback.table.mode = "works"
    assert callback.store_spilled(*messages) == []
    assert len(talk.conversation().parts()) == 3
