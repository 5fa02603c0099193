"""A bot, as its secret describes it."""

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class InvalidBot(Exception):
    """A bot's secret cannot be used; the text names the secret's key and holds no value of it."""


@dataclass(frozen=True)
class Bot:
    """Where a bot is and what it shares with us. Secrets are newest first: that is rotation without a gap.

    `url` is "" until somebody has put it in: callbacks can be verified before.
    """

    name: str
    url: str
    inbound_secrets: tuple[str, ...] = field(repr=False)
    outbound_secrets: tuple[str, ...] = field(repr=False)
    session_type: str | None = None
    timezone: ZoneInfo | None = None


def parse(name: str, secret: str) -> Bot:
    """The bot `name` from the value of its secret. Raises InvalidBot."""

    def fault(what: str) -> InvalidBot:
        return InvalidBot(f"the secret of bot {name!r}: {what}")

    def secrets(key: str) -> tuple[str, ...]:
        value = fields.get(key, "")
        values = value if isinstance(value, list) else [value] if value else []
        if not all(isinstance(one, str) and one for one in values):
            raise fault(f"{key} must be a non-empty string or a list of them, newest first")
        return tuple(values)

    try:
        fields: Any = json.loads(secret)
    except ValueError:
        raise fault("it is not JSON") from None
    if not isinstance(fields, dict):
        raise fault("it is not a JSON object")

    inbound = secrets("inbound_secret")
    if not inbound:
        raise fault("inbound_secret is empty or missing")
    url = fields.get("url") or ""
    if url and (not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https")):
        raise fault("url must begin with https:// or http://")
    session_type = fields.get("session_type") or None
    if session_type not in (None, "person", "group"):
        raise fault("session_type must be person or group")
    try:
        timezone = ZoneInfo(fields["timezone"]) if fields.get("timezone") else None
    except (KeyError, ValueError, TypeError, OSError):
        raise fault("timezone is not an IANA name such as Asia/Shanghai") from None
    return Bot(
        name=name,
        # LangBot answers 405 to a trailing slash.
        url=url.rstrip("/"),
        inbound_secrets=inbound,
        # LangBot signs with the inbound secret where it has no outbound one.
        outbound_secrets=secrets("outbound_secret") or inbound,
        session_type=session_type,
        timezone=timezone,
    )
