"""The floor of the time of a message: its POST, by a session of requests as it comes."""

import os
from typing import Any

import requests

from bench.lambda_events import signed


class Subject:
    """See bench.subject."""

    def __init__(self) -> None:
        self._http = requests.Session()

    def prepare(self, count: int) -> list[Any]:
        """Return bodies."""
        return [b'{"session_id": "bench", "message": [{"type": "Plain", "text": "hi"}]}'] * count

    def run(self, given: Any) -> None:
        """Post."""
        self._http.post(os.environ["BENCH_BOT_URL"], data=given, headers=signed(given)).raise_for_status()

    def clean(self) -> None:
        """Nothing is left behind."""
