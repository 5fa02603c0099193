"""RepliesTable and what lies beside it in the overflow bucket."""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from relay.edge.table import TableWithOverflow, query
from relay.rules import strict_json
from relay.rules.delivery import KEY_LIFE
from relay.rules.ledger import from_utc
from relay.rules.part import Part, utc
from relay.rules.segments import Segment, text_of
from relay.rules.signing import WINDOW


class Replies:
    """Where reply parts are kept, each once: one conditional write and no read."""

    def __init__(self, dynamodb: Any, table: str, s3: Any = None, bucket: str = "") -> None:
        self._dynamodb = dynamodb
        self.table = table
        self._s3 = s3
        self._bucket = bucket
        self._items = TableWithOverflow(dynamodb, table, s3, bucket)

    def keep(self, part: Part) -> bool:
        """Keeps a part; False when it was kept before. Raises botocore's errors."""
        return self._items.put(part.item, part.bare, part.raw, part.path, once=True)

    def quarantine(self, bot: str, raw: bytes) -> str:
        """Keeps a verified body that is no valid part; where it lies. Raises botocore's errors."""
        path = f"quarantine/{bot}/{hashlib.sha256(raw).hexdigest()}"
        self._s3.put_object(Bucket=self._bucket, Key=path, Body=raw)
        return path

    def clock_offset(self, session: str) -> float:
        """Seconds by which the stamps of a session's newest part are ahead of UTC; 0 without a part."""
        newest = self._dynamodb.query(
            TableName=self.table,
            KeyConditionExpression="#s = :s",
            ProjectionExpression="part, created_at",
            ExpressionAttributeNames={"#s": "session"},
            ExpressionAttributeValues={":s": {"S": session}},
            ScanIndexForward=False,
            Limit=1,
        )["Items"]
        if not newest:
            return 0
        stamp = datetime.fromisoformat(newest[0]["part"]["S"].split("#")[0] + "Z")
        return (stamp - datetime.fromisoformat(newest[0]["created_at"]["S"])).total_seconds()

    def begun(self, session: str, since: str) -> set[str]:
        """The turns of a session that have a part stamped after `since`."""
        return {part["reply_to"] for part in self._since(session, since)}

    def of_turn(self, session: str, reply_to: str, delivered_at: str) -> list[dict[str, Any]]:
        """The parts that answer a message, in order; without what they say.

        LangBot may have had it for as long as it knows the key; and its clock, which stamps them, may be off
        by the window of its signatures.
        """
        since = utc(from_utc(delivered_at) + self.clock_offset(session) - KEY_LIFE - WINDOW)
        return [part for part in self._since(session, since) if part["reply_to"] == reply_to]

    def turn_until(self, last: dict[str, Any], since: str) -> list[dict[str, Any]]:
        """The parts of a turn up to `last`, in order, of those stamped after `since`."""
        return list(
            query(
                self._dynamodb,
                self.table,
                "#s = :s AND #p BETWEEN :since AND :last",
                {"#s": "session", "#p": "part"},
                {":s": last["session"], ":since": since, ":last": last["part"], ":r": last["reply_to"]},
                FilterExpression="reply_to = :r",
                # The last part can be told of before it is everywhere.
                ConsistentRead=True,
            )
        )

    def message(self, part: dict[str, Any]) -> list[Segment] | None:
        """What a part says, wherever it lies; None where its body is not to be had from the bucket.

        Raises botocore's errors.
        """
        try:
            said = whole(part, self._s3, self._bucket) if "overflow" in part else part
        except ClientError as error:
            # S3 denies what is not there to those who may not list.
            if error.response["Error"]["Code"] in ("NoSuchKey", "AccessDenied"):
                return None
            raise
        return list(said["message"])

    def _since(self, session: str, since: str) -> Iterator[dict[str, Any]]:
        return query(
            self._dynamodb,
            self.table,
            "#s = :s AND #p > :p",
            {"#s": "session", "#p": "part"},
            {":s": session, ":p": since},
            ProjectionExpression="#s, #p, reply_to, is_final, created_at, sent_at",
        )


def whole(part: dict[str, Any], s3: Any, bucket: str) -> dict[str, Any]:
    """A part whose body lies in the overflow bucket, with what it says. Raises botocore's errors."""
    raw = s3.get_object(Bucket=bucket, Key=part["overflow"])["Body"].read()
    body: dict[str, Any] = strict_json.loads(raw)
    return body | part | {"sequence": body["sequence"], "text": text_of(body["message"])}
