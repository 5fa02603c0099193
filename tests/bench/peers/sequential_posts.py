"""Peer: a loop of requests.post, signed, that keeps nothing."""

import os
from typing import Any

import requests

from bench.lambda_events import signed


class Subject:
    """See bench.subject."""

    def prepare(self, count: int) -> list[Any]:
        """Return bodies."""
        return [b'{"session_id": "bench", "message": [{"type": "Plain", "text": "hi"}]}'] * count

    def run(self, given: Any) -> None:
        """Post."""
        url = os.environ["BENCH_BOT_URL"]
        requests.post(url, data=given, headers=signed(given), timeout=10).raise_for_status()

    def clean(self) -> None:
        """Nothing is left behind."""
