"""RecheckQueue: final parts that are checked again, since their message had no record yet."""

import json
from dataclasses import asdict
from typing import Any

from relay.domain.settlement import FinalPart


class RecheckQueue:
    """The queue. Its methods raise botocore's errors."""

    def __init__(self, sqs: Any, url: str) -> None:
        self._sqs = sqs
        self._url = url

    def schedule(self, final: FinalPart, checks: int, delay: int) -> None:
        """Have `final` checked again after `delay` seconds, when it was checked `checks` times before."""
        self._sqs.send_message(
            QueueUrl=self._url,
            DelaySeconds=delay,
            MessageBody=json.dumps({"final": asdict(final), "checks": checks}),
        )

    @staticmethod
    def read(body: str) -> tuple[FinalPart, int]:
        """Return the final part of a message of the queue, and how often it was checked before."""
        fields = json.loads(body)
        return FinalPart(**fields["final"]), fields["checks"]
