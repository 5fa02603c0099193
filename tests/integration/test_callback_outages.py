"""callback's own handler and clients while the AWS services beneath it refuse, fail or hang.

What follows from such an error is simulated; here botocore itself raises it, in its own time. The deployed
callback, whose services work, stores what this one spills.
"""

import hashlib
import re
import time
from pathlib import Path

import pytest

from relay.domain.timestamps import utc_text
from support.callbacks import part_body, signed_headers
from support.waiting import eventually

TEMPLATE = Path(__file__).parents[2].joinpath("template.yaml").read_text("utf-8")
TIMEOUT = int(
    re.search(r"^  CallbackFunction:.*?^      Timeout: (\d+)$", TEMPLATE, re.DOTALL | re.MULTILINE)[1]
)
"""Seconds after which Lambda ends the function."""


def stored(talk, count=1):
    """Return the parts of the session, once there are so many."""
    conversation = talk.conversation()
    return eventually(lambda: parts if len(parts := list(conversation.parts())) >= count else None)


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
