"""LangBot's signatures, the same in both directions.

Source: langbot 4.11.2, pkg/platform/sources/http_bot_signing.py, and signatures that it made.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
from enum import StrEnum

SIGNATURE_TOLERANCE = 300
"""Seconds by which a signed time may differ from ours, either way."""

# LangBot reads any float; of what `float` reads, only plain decimal text is a time.
_TIMESTAMP = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")


class Refusal(StrEnum):
    """Why a callback is not authentic. These few values are also the dimension of a metric."""

    NO_TIMESTAMP = "timestamp_missing"
    """`X-LB-Timestamp` is missing."""
    BAD_TIMESTAMP = "timestamp_malformed"
    """`X-LB-Timestamp` is no time in Unix seconds."""
    EXPIRED = "timestamp_expired"
    """`X-LB-Timestamp` is more than 300 seconds from now."""
    NO_SIGNATURE = "signature_missing"
    """`X-LB-Signature` is missing."""
    MISMATCH = "signature_mismatch"
    """The signature was made with none of the bot's secrets."""
    UNKNOWN_BOT = "unknown_bot"
    """There is no secret for the bot in the URL."""


class NotAuthentic(Exception):
    """Not signed, not in time, or signed with none of the bot's secrets. The text holds nothing secret."""

    def __init__(self, refusal: Refusal, text: str) -> None:
        super().__init__(text)
        self.refusal = refusal


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return X-LB-Signature for `body` as sent; `timestamp` is X-LB-Timestamp's exact text."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def signed_time(timestamp: str | None, now: float) -> float:
    """Return the time that X-LB-Timestamp states, in Unix seconds. Raise NotAuthentic."""
    if not timestamp:
        raise NotAuthentic(Refusal.NO_TIMESTAMP, "X-LB-Timestamp is missing")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise NotAuthentic(Refusal.BAD_TIMESTAMP, "X-LB-Timestamp is not a time in Unix seconds")
    signed_at = float(timestamp)
    if abs(int(now) - int(signed_at)) > SIGNATURE_TOLERANCE:
        raise NotAuthentic(Refusal.EXPIRED, f"X-LB-Timestamp is more than {SIGNATURE_TOLERANCE} s from now")
    return signed_at


def secret_used(secrets: Iterable[str], timestamp: str, signature: str, body: bytes) -> int | None:
    """Return which of `secrets` made `signature`, from 0, or None; in constant time for each."""
    given = signature.encode(errors="replace")
    equal = [hmac.compare_digest(sign(secret, timestamp, body).encode(), given) for secret in secrets]
    return equal.index(True) if True in equal else None
