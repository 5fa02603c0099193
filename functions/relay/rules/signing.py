"""LangBot's signatures, the same in both directions.

Source: langbot 4.11.2, pkg/platform/sources/http_bot_signing.py, and signatures it made.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable

WINDOW = 300
"""Seconds by which a signed time may differ from ours, either way."""

# LangBot reads any float; of what `float` reads, only plain decimal text is a time.
_TIMESTAMP = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")


class NotAuthentic(Exception):
    """Not signed, not in time, or not by anyone who has a secret. Says which, and nothing secret."""


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The value of X-LB-Signature for `body` as sent; `timestamp` is X-LB-Timestamp's exact text."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def signed_time(timestamp: str | None, now: float) -> float:
    """The time that X-LB-Timestamp states, in Unix seconds. Raises NotAuthentic."""
    if not timestamp:
        raise NotAuthentic("X-LB-Timestamp is missing")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise NotAuthentic("X-LB-Timestamp is not a time in Unix seconds")
    signed_at = float(timestamp)
    if abs(int(now) - int(signed_at)) > WINDOW:
        raise NotAuthentic(f"X-LB-Timestamp is more than {WINDOW} s from now")
    return signed_at


def is_signed(secrets: Iterable[str], timestamp: str, signature: str, body: bytes) -> bool:
    """Whether `signature` was made with one of `secrets`, in constant time for each."""
    given = signature.encode("utf-8", "replace")
    return True in [hmac.compare_digest(sign(secret, timestamp, body).encode(), given) for secret in secrets]
