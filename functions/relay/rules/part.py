"""A reply part: what is valid, and the item that keeps it once and in order."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from relay.rules import strict_json
from relay.rules.message import schema_fault, session_key
from relay.rules.segments import text_of

_BARE = (
    *("session", "part", "session_id", "bot", "reply_to", "sequence", "is_final", "stream"),
    *("created_at", "sent_at", "received_at", "digest", "expires_at"),
)
_QUARTER = timedelta(minutes=15)
_MAX_OFFSET = timedelta(hours=15)

ZONES = _MAX_OFFSET.total_seconds()
"""Seconds by which the clock of LangBot's host may differ from UTC, either way."""
# The signed time has whole seconds and is taken after the stamp, so it reads up to 1 s earlier.
_ROUNDING = timedelta(seconds=2)


def utc(moment: float | datetime) -> str:
    """A time as all items state it: UTC with microseconds and a Z, so that text order is time order."""
    at = datetime.fromtimestamp(moment, UTC) if isinstance(moment, int | float) else moment.astimezone(UTC)
    return at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse(raw: bytes) -> dict[str, Any]:
    """The fields of a verified body, numbers as DynamoDB wants them. Raises strict_json.Malformed."""
    body = strict_json.loads(raw, parse_float=Decimal)
    if fault := schema_fault("part.schema.json", body):
        raise strict_json.Malformed(fault)
    return dict(body)


def moments(timestamp: object, signed_at: float, zone: ZoneInfo | None) -> tuple[datetime, datetime]:
    """When a part was emitted: the stamp that orders it, without an offset, and the time in UTC.

    LangBot stamps a part on its host's clock without an offset; the stamp is that text unless an
    offset or the bot's zone makes it UTC. A part is signed after it is stamped, so the zone's offset
    is what is left between the two, rounded up to a quarter of an hour, and an hour that a zone
    has twice is the later one that is not after the signature. Without a usable timestamp
    both are the signed time.
    """
    signed = datetime.fromtimestamp(signed_at, UTC)
    try:
        written = datetime.fromisoformat(timestamp) if isinstance(timestamp, str) else None
        if written and written.tzinfo:
            emitted = written.astimezone(UTC)
            return emitted.replace(tzinfo=None), emitted
        if written and zone:
            twice = sorted({written.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)})
            emitted = max((one for one in twice if one <= signed + _ROUNDING), default=twice[0])
            return emitted.replace(tzinfo=None), emitted
        if written:
            offset = -((signed.replace(tzinfo=None) + _ROUNDING - written) // _QUARTER) * _QUARTER
            known = abs(offset) <= _MAX_OFFSET
            return written, (written - offset).replace(tzinfo=UTC) if known else signed
    except (ValueError, OverflowError):
        pass
    return signed.replace(tzinfo=None), signed


@dataclass(frozen=True)
class Part:
    """A part as it is kept: the item of RepliesTable, and the raw body for what an item cannot hold."""

    item: dict[str, Any]
    raw: bytes

    @property
    def bare(self) -> dict[str, Any]:
        """The item without what only the raw body can hold."""
        digits_fit = abs(self.item["sequence"]) < 10**38
        return {name: self.item[name] for name in _BARE if name != "sequence" or digits_fit}

    @property
    def path(self) -> str:
        """Where the raw body lies in the overflow bucket, if it has to."""
        return f"parts/{self.item['bot']}/{self.item['digest']}.json"


def part(
    bot: str,
    raw: bytes,
    body: dict[str, Any],
    signed_at: float,
    received_at: float,
    keep_days: int,
    zone: ZoneInfo | None = None,
) -> Part:
    """The item for a verified part; times in Unix seconds.

    Its key is the stamp, the sequence for people, and a digest of the raw body: a retry is
    byte-identical and so has the same key, two different parts never share one, and stamp order was
    emission order in every recording.
    """
    digest = hashlib.sha256(raw).hexdigest()
    stamp, created_at = moments(body.get("timestamp"), signed_at, zone)
    sequence = min(max(body["sequence"], 0), 999_999)
    return Part(
        item={
            **body,
            "session": session_key(bot, body["session_id"]),
            "part": f"{stamp.isoformat(timespec='microseconds')}#{sequence:06}#{digest[:12]}",
            "bot": bot,
            "stream": body.get("stream", False),
            "text": text_of(body["message"]),
            "created_at": utc(created_at),
            "sent_at": utc(signed_at),
            "received_at": utc(received_at),
            "digest": digest,
            "expires_at": int(received_at) + keep_days * 86_400,
        },
        raw=raw,
    )
