"""OverflowBucket: bodies that DynamoDB or a queue cannot hold, and the quarantine. All its paths are here."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from relay.adapters.dynamodb import Table

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


def message_path(message_id: str) -> str:
    """Return where the body of a queued message is."""
    return f"messages/{message_id}.json"


def part_path(bot: str, digest: str) -> str:
    """Return where the body of a part is; `digest` is its SHA-256 in hex."""
    return f"parts/{bot}/{digest}.json"


def spill_path(bot: str, raw: bytes) -> str:
    """Return where the body of a spilled part is."""
    return f"spill/{bot}/{hashlib.sha256(raw).hexdigest()}"


@dataclass(frozen=True)
class StoredBody:
    """A body in the bucket, and when it was put there (Unix seconds)."""

    path: str
    stored_at: float


class OverflowBucket:
    """The bucket. All methods raise botocore's errors."""

    def __init__(self, s3: "S3Client", name: str) -> None:
        self._s3 = s3
        self._name = name

    def put(self, path: str, raw: bytes) -> None:
        """Keep a body at a path."""
        self._s3.put_object(Bucket=self._name, Key=path, Body=raw)

    def get(self, path: str) -> bytes:
        """Return the body at a path. Raise ClientError if there is none."""
        raw: bytes = self._s3.get_object(Bucket=self._name, Key=path)["Body"].read()
        return raw

    def quarantine(self, bot: str, raw: bytes) -> str:
        """Keep an authentic body that is no valid part; return its path."""
        path = f"quarantine/{bot}/{hashlib.sha256(raw).hexdigest()}"
        self.put(path, raw)
        return path

    def find(self, path: str) -> bytes | None:
        """Return the body at `path`, or None if it is not there."""
        try:
            return self.get(path)
        except ClientError as error:
            # To a role that may not list the bucket, S3 denies access to a missing object.
            if error.response["Error"]["Code"] in ("NoSuchKey", "AccessDenied"):
                return None
            raise

    def spilled(self, bot: str) -> Iterator[StoredBody]:
        """Return the bodies of a bot's spilled parts. They stay when the parts are stored."""
        return self._list(f"spill/{bot}/")

    def quarantined(self, bot: str) -> Iterator[StoredBody]:
        """Return the bodies of a bot in the quarantine."""
        return self._list(f"quarantine/{bot}/")

    def delete(self, paths: Sequence[str]) -> None:
        """Delete the bodies at these paths, 1000 at the most, as far as there are any."""
        if not paths:
            return
        response = self._s3.delete_objects(
            Bucket=self._name, Delete={"Objects": [{"Key": path} for path in paths], "Quiet": True}
        )
        # S3 answers 200 also if it has deleted none.
        for error in response.get("Errors", []):
            raise ClientError(
                {"Error": {"Code": error["Code"], "Message": error["Message"]}}, "DeleteObjects"
            )

    def _list(self, prefix: str) -> Iterator[StoredBody]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=prefix)
        for page in pages:
            for found in page.get("Contents", []):
                yield StoredBody(found["Key"], found["LastModified"].timestamp())


MAX_VALUES = 10_000
"""Values of an item that DynamoDB is asked to hold: each takes some 10 µs to convert, and a part of 6 MB can
have two million."""


@dataclass(frozen=True)
class OverflowingItem:
    """An item, and what replaces it if DynamoDB cannot hold it: `without_body`, and `raw` at `path`.

    With more than `max_bytes` in `raw` it is replaced in any case. With `keeps_raw` the bucket always has
    `raw`.
    """

    item: Mapping[str, Any]
    without_body: Mapping[str, Any]
    raw: bytes
    path: str
    max_bytes: float = math.inf
    keeps_raw: bool = False


def put_item(
    table: Table, bucket: OverflowBucket, entry: OverflowingItem, condition: str, values: Mapping[str, Any]
) -> bool:
    """Write an item that may be too large, too deep or too exact for DynamoDB, as `Table.put` does.

    DynamoDB itself decides what it can hold: only if it refuses the item as invalid, or the item has over
    MAX_VALUES values or `max_bytes`, the body goes into the bucket and then the item, with `overflow` as the
    path. Raise botocore's errors.
    """
    if entry.keeps_raw:
        bucket.put(entry.path, entry.raw)
    try:
        if len(entry.raw) <= entry.max_bytes and count_values(entry.item, MAX_VALUES) <= MAX_VALUES:
            return table.put(entry.item, condition, values)
    except (ArithmeticError, RecursionError):
        pass
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise
    if not entry.keeps_raw:
        bucket.put(entry.path, entry.raw)
    return table.put({**entry.without_body, "overflow": entry.path}, condition, values)


def count_values(item: Mapping[str, Any], most: int) -> int:
    """Return how many values an item has, with those within its values; some number above `most` if more."""
    found: list[Any] = [item]
    for value in found:  # it grows meanwhile
        if isinstance(value, Mapping | list):
            found += value.values() if isinstance(value, Mapping) else value
        if len(found) > most:
            break
    return len(found)
