"""A bot, as its secret describes it."""

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

BOT_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True)
class Bot:
    """Where a bot is and what it shares with the relay. Secrets are newest first, for rotation without a gap.

    `url` is "" until the operator has set it: callbacks can be verified before. `unusable` says why the bot's
    secret cannot be used; all other fields are empty then. It names a key of the secret and holds no value.
    """

    name: str
    url: str = ""
    inbound_secrets: tuple[str, ...] = field(default=(), repr=False)
    outbound_secrets: tuple[str, ...] = field(default=(), repr=False)
    session_type: str | None = None
    timezone: ZoneInfo | None = None
    unusable: str | None = None


class _Fault(Exception):
    """What is wrong with a secret."""


def parse_bot(name: str, secret: str) -> Bot:
    """Return the bot `name` from the value of its secret; an invalid secret gives an unusable bot."""
    try:
        return _parse(name, secret)
    except _Fault as fault:
        return Bot(name, unusable=f"the secret of bot {name!r}: {fault}")


def _parse(name: str, secret: str) -> Bot:
    try:
        fields: Any = json.loads(secret)
    except ValueError:
        raise _Fault("it is not JSON") from None
    if not isinstance(fields, dict):
        raise _Fault("it is not a JSON object")

    inbound = _secrets(fields, "inbound_secret")
    if not inbound:
        raise _Fault("inbound_secret is empty or missing")
    url = fields.get("url") or ""
    if url and (not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https")):
        raise _Fault("url must begin with https:// or http://")
    session_type = fields.get("session_type") or None
    if session_type not in (None, "person", "group"):
        raise _Fault("session_type must be person or group")
    try:
        timezone = ZoneInfo(fields["timezone"]) if fields.get("timezone") else None
    except (KeyError, ValueError, TypeError, OSError):
        raise _Fault("timezone is not an IANA name such as Asia/Shanghai") from None
    return Bot(
        name=name,
        # LangBot answers 405 to a trailing slash.
        url=url.rstrip("/"),
        inbound_secrets=inbound,
        # LangBot signs with the inbound secret if it has no outbound one.
        outbound_secrets=_secrets(fields, "outbound_secret") or inbound,
        session_type=session_type,
        timezone=timezone,
    )


def _secrets(fields: dict[str, Any], key: str) -> tuple[str, ...]:
    value = fields.get(key, "")
    values = value if isinstance(value, list) else [value] if value else []
    if not all(isinstance(one, str) and one for one in values):
        raise _Fault(f"{key} must be a non-empty string or a list of them, newest first")
    return tuple(values)
