"""A bot, as its secret describes it."""

import json
import re
import string
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from zoneinfo import ZoneInfo

from relay.domain.strict_json import BYTE_ORDER_MARK

BOT_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

NO_BOT = "no bot "
"""How the reason of a message begins that was parked because there is no bot of the name."""

MIN_SECRET_CHARACTERS = 16
"""Characters of a secret, below which a program can guess it from one signed callback, without a request."""

MAX_SECRETS = 10
"""Secrets of one direction: a rotation needs two. Callback tries each, also for a request of a stranger."""


@dataclass(frozen=True)
class Bot:
    """Where a bot is and what it shares with the relay. Secrets are newest first, for rotation without a gap.

    With `group_at` a message to a group is addressed to the bot. With `replies_by_push` its replies name no
    message: so it gets one message of a session at a time. `url` is "" until the operator has set it.
    `unusable` says what is wrong with the secret, without any value of it. Callbacks are verified even so, if
    `outbound_secrets` could be read.
    """

    name: str
    url: str = ""
    inbound_secrets: tuple[str, ...] = field(default=(), repr=False)
    outbound_secrets: tuple[str, ...] = field(default=(), repr=False)
    session_type: str | None = None
    timezone: ZoneInfo | None = None
    group_at: bool = False
    replies_by_push: bool = False
    unusable: str | None = None

    def endpoint(self, suffix: str) -> str:
        """Return the bot's url with `suffix` at the end of its path; a query stays behind the path."""
        url = urlsplit(self.url)
        # LangBot answers 405 to a trailing slash.
        return urlunsplit(url._replace(path=url.path.rstrip("/") + suffix, fragment=""))


def parse_bot(name: str, secret: str) -> Bot:
    """Return the bot `name` from the value of its secret.

    White space and a byte order mark around the secret and its values are left out: people paste them. A key
    that is not valid makes the bot unusable, but not the other keys.
    """
    faults: list[str] = []
    fields = secret_fields(secret)
    if fields is None:
        return Bot(name, unusable=f"the secret of bot {name!r}: it is not a JSON object")

    inbound = _secrets(fields, "inbound_secret", faults)
    if not inbound and not faults:
        faults.append("inbound_secret is empty or missing")
    # LangBot signs with the inbound secret if it has no outbound one.
    outbound = _secrets(fields, "outbound_secret", faults) if fields.get("outbound_secret") else inbound
    url = _text(fields.get("url"))
    if fields.get("url") and not _is_http_url(url):
        faults.append("url must be an address such as https://langbot.example.com/bots/1")
    session_type = _text(fields.get("session_type")) or None
    if session_type not in (None, "person", "group"):
        faults.append("session_type must be person or group")
    replies = _text(fields.get("replies"))
    if replies not in ("", "push"):
        faults.append("replies must be push or missing")
    return Bot(
        name=name,
        url=url,
        inbound_secrets=inbound,
        outbound_secrets=outbound,
        session_type=session_type,
        timezone=_timezone(fields.get("timezone"), faults),
        group_at=fields.get("group_at") is True,
        replies_by_push=replies == "push",
        unusable=f"the secret of bot {name!r}: {faults[0]}" if faults else None,
    )


def secret_fields(secret: str) -> dict[str, Any] | None:
    """Return the fields of a bot's secret as they are, or None if it is not a JSON object."""
    try:
        fields = json.loads(_stripped(secret))
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def weakness(bot: Bot) -> str | None:
    """Return what is weak about a bot's secrets, without any value of them, or None.

    A weak bot works. But people should not give a bot such secrets.
    """
    for key, secrets in (("inbound_secret", bot.inbound_secrets), ("outbound_secret", bot.outbound_secrets)):
        if any(len(secret) < MIN_SECRET_CHARACTERS for secret in secrets):
            return f"{key} has fewer than {MIN_SECRET_CHARACTERS} characters, so it can be guessed"
    if set(bot.inbound_secrets) & set(bot.outbound_secrets):
        return "inbound_secret and outbound_secret are the same, or outbound_secret is missing"
    return None


def _stripped(text: str) -> str:
    return text.strip(f"{string.whitespace}{BYTE_ORDER_MARK}")


def _text(value: object) -> str:
    return _stripped(value) if isinstance(value, str) else ""


def _secrets(fields: dict[str, Any], key: str, faults: list[str]) -> tuple[str, ...]:
    value = fields.get(key) or []
    secrets = tuple(_text(one) for one in (value if isinstance(value, list) else [value]))
    if not all(secrets) or len(secrets) > MAX_SECRETS:
        faults.append(f"{key} must be a non-empty string or a list of up to {MAX_SECRETS}, newest first")
        return ()
    return secrets


def _is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _timezone(value: object, faults: list[str]) -> ZoneInfo | None:
    try:
        return ZoneInfo(_text(value)) if value else None
    except (ValueError, OSError, KeyError):
        faults.append("timezone is not an IANA name such as Asia/Shanghai")
        return None
