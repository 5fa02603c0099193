"""SpillQueue: verified callbacks that could not be stored, until they can be."""

import base64
import json
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from relay.adapters.overflow_bucket import OverflowBucket, spill_path
from relay.adapters.queue_size import MAX_QUEUED_BYTES
from relay.domain.part import VerifiedCallback

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient


class SpillQueue:
    """The queue, and the bucket for bodies that it cannot hold. Its methods raise botocore's errors."""

    def __init__(self, sqs: "SQSClient", url: str, bucket: OverflowBucket) -> None:
        self._sqs = sqs
        self._url = url
        self._bucket = bucket

    def put(self, callback: VerifiedCallback) -> None:
        """Put a callback on the queue."""
        fields = {
            "bot": callback.bot,
            "signed_at": callback.signed_at,
            "received_at": callback.received_at,
            "zone": callback.zone.key if callback.zone else None,
            "verified_with": callback.verified_with,
        }
        # A verified body is bytes, and may be no text.
        text = json.dumps(fields | {"raw": base64.b64encode(callback.raw).decode()})
        if len(text) > MAX_QUEUED_BYTES:
            path = spill_path(callback.bot, callback.raw)
            self._bucket.put(path, callback.raw)
            text = json.dumps(fields | {"raw_at": path})
        self._sqs.send_message(QueueUrl=self._url, MessageBody=text)

    def read(self, text: str) -> VerifiedCallback:
        """Return the callback in a message of the queue."""
        fields = json.loads(text)
        return VerifiedCallback(
            bot=fields["bot"],
            raw=base64.b64decode(fields["raw"]) if "raw" in fields else self._bucket.get(fields["raw_at"]),
            signed_at=fields["signed_at"],
            received_at=fields["received_at"],
            zone=ZoneInfo(fields["zone"]) if fields["zone"] else None,
            verified_with=fields.get("verified_with"),
        )
