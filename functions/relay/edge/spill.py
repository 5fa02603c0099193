"""The spill queue: verified parts that could not be kept, until they can be."""

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from relay.edge.queues import MAX_MESSAGE


@dataclass(frozen=True)
class Verified:
    """An authentic body with all that its item is made of; times in Unix seconds.

    The zone is the bot's at reception. It decides the item's key, so a copy that is stored later and
    LangBot's retry that is stored at once are one item, whatever becomes of the bot meanwhile.
    """

    bot: str
    raw: bytes
    signed_at: float
    received_at: float
    zone: ZoneInfo | None


class Spill:
    """The spill queue, and spill/ in the overflow bucket for bodies that a message cannot hold."""

    def __init__(self, sqs: Any, url: str, s3: Any, bucket: str) -> None:
        self._sqs = sqs
        self._url = url
        self._s3 = s3
        self._bucket = bucket

    def put(self, verified: Verified) -> None:
        """Puts a part on the queue. Raises botocore's errors."""
        fields = {
            "bot": verified.bot,
            "signed_at": verified.signed_at,
            "received_at": verified.received_at,
            "zone": verified.zone.key if verified.zone else None,
        }
        # A verified body is bytes, and need not be text.
        text = json.dumps(fields | {"raw": base64.b64encode(verified.raw).decode()})
        if len(text) > MAX_MESSAGE:
            path = f"spill/{verified.bot}/{hashlib.sha256(verified.raw).hexdigest()}"
            self._s3.put_object(Bucket=self._bucket, Key=path, Body=verified.raw)
            text = json.dumps(fields | {"raw_at": path})
        self._sqs.send_message(QueueUrl=self._url, MessageBody=text)

    def read(self, text: str) -> Verified:
        """The part in a message of the queue. Raises botocore's errors."""
        fields = json.loads(text)
        if "raw" in fields:
            raw = base64.b64decode(fields["raw"])
        else:
            raw = self._s3.get_object(Bucket=self._bucket, Key=fields["raw_at"])["Body"].read()
        return Verified(
            bot=fields["bot"],
            raw=raw,
            signed_at=fields["signed_at"],
            received_at=fields["received_at"],
            zone=ZoneInfo(fields["zone"]) if fields["zone"] else None,
        )
