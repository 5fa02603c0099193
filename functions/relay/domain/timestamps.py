"""Times. An item holds `UtcText`, all code holds Unix seconds; they are converted here only."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NewType
from zoneinfo import ZoneInfo

UtcText = NewType("UtcText", str)
"""A time in an item: UTC with microseconds and a Z, so that text order is time order."""

Stamp = NewType("Stamp", str)
"""The emission of a part on the clock that orders a session's parts: UtcText without the Z."""

Clock = Callable[[], float]
"""Return the time in Unix seconds."""

DAY = 86_400
"""Seconds."""

MAX_UTC_OFFSET = 15 * 3600
"""Seconds by which the clock of LangBot's host may differ from UTC, either way."""

_QUARTER = timedelta(minutes=15)
# The signed time has whole seconds and is taken after the stamp, so it reads up to 1 s earlier.
_ROUNDING = timedelta(seconds=2)


def utc_text(seconds: float) -> UtcText:
    """Convert Unix seconds to the text that items hold."""
    return _text(datetime.fromtimestamp(seconds, UTC))


def unix_seconds(text: UtcText) -> float:
    """Convert the text that items hold to Unix seconds. Raise ValueError if it is no time."""
    return datetime.fromisoformat(text).timestamp()


def given_time(text: str) -> UtcText:
    """Convert a date or a time that a person typed, in UTC if it names no offset. Raise ValueError."""
    given = datetime.fromisoformat(text)
    try:
        return _text(given.astimezone(UTC) if given.tzinfo else given)
    except OverflowError:
        raise ValueError(f"{text} is no time in UTC") from None


def time_of(moment: UtcText) -> str:
    """Return a time for a column of times, to the second and without UTC, in which all are."""
    return f"{moment[:10]} {moment[11:19]}"


def date_and_time(moment: UtcText) -> str:
    """Return a time for people, to the second."""
    return f"{time_of(moment)} UTC"


def days_after(moment: float, days: int) -> int:
    """Return the Unix second so many days after `moment` (Unix seconds)."""
    return int(moment) + days * DAY


def host_clock_offset(stamp: Stamp, created_at: UtcText) -> float:
    """Return the seconds by which the clock that made `stamp` is ahead of UTC."""
    return unix_seconds(UtcText(stamp + "Z")) - unix_seconds(created_at)


def emission_time(timestamp: object, signed_at: float, zone: ZoneInfo | None) -> tuple[Stamp, UtcText]:
    """Return when a part was emitted: the stamp that orders it, and the same moment in UTC.

    `timestamp` is what the part's body says, `signed_at` (Unix seconds) what its signed header says. LangBot
    stamps a part on its host's clock without an offset. The stamp is that text, unless an offset or the bot's
    `zone` makes it UTC.

    LangBot signs a part after it stamps it. So the host's offset from UTC is the difference between the two,
    rounded up to a quarter of an hour. An hour that a zone has twice is the later one that is not after the
    signature. Without a timestamp, or with one further from the signed time than any zone explains, both are
    the signed time: a stamp that cannot be true must not decide the order of a session.
    """
    signed = datetime.fromtimestamp(signed_at, UTC)
    try:
        written = datetime.fromisoformat(timestamp) if isinstance(timestamp, str) else None
        stamp, emitted = _read_stamp(written, signed, zone) if written else (signed, signed)
        if abs((emitted - signed).total_seconds()) <= MAX_UTC_OFFSET:
            return _stamp(stamp), _text(emitted)
    except (ValueError, OverflowError):
        pass
    return _stamp(signed), _text(signed)


def _read_stamp(written: datetime, signed: datetime, zone: ZoneInfo | None) -> tuple[datetime, datetime]:
    if written.tzinfo:
        emitted = written.astimezone(UTC)
        return emitted, emitted
    if zone:
        twice = sorted({written.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)})
        emitted = max((one for one in twice if one <= signed + _ROUNDING), default=twice[0])
        return emitted, emitted
    offset = -((signed.replace(tzinfo=None) + _ROUNDING - written) // _QUARTER) * _QUARTER
    if abs(offset.total_seconds()) > MAX_UTC_OFFSET:
        raise ValueError  # no zone explains it
    return written, (written - offset).replace(tzinfo=UTC)


def _stamp(moment: datetime) -> Stamp:
    return Stamp(moment.replace(tzinfo=None).isoformat(timespec="microseconds"))


def _text(moment: datetime) -> UtcText:
    return UtcText(_stamp(moment) + "Z")
