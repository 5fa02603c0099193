"""A bot's secret, changed field by field. Nothing here has a side effect."""

import json
import secrets
from collections.abc import Mapping
from typing import Any

from relay.domain.bot import parse_bot, secret_fields, weakness
from relay_cli.terminal import CommandFailed


def new_secret() -> str:
    """Return a new signing secret of 43 characters."""
    return secrets.token_urlsafe(32)


def new_secrets() -> dict[str, Any]:
    """Return new signing secrets, as fields of a bot's secret."""
    return {"inbound_secret": new_secret(), "outbound_secret": new_secret()}


def changed(bot: str, secret: str | None, changes: Mapping[str, Any]) -> str:
    """Return the secret of a bot with other values for some fields and all other fields as they are.

    A value that is empty removes its field. A bot without a secret gets two new signing secrets. Raise
    CommandFailed, which quotes no value, if the result is not valid or weak.
    """
    fields = new_secrets() if secret is None else secret_fields(secret)
    if fields is None:
        raise CommandFailed(2, f"the secret of bot {bot!r}: it is not a JSON object; nothing was changed")
    fields = {name: value for name, value in {**fields, **changes}.items() if value or name not in changes}
    result = json.dumps(fields, ensure_ascii=False)
    parsed = parse_bot(bot, result)
    if parsed.unusable:
        raise CommandFailed(2, f"{parsed.unusable}; nothing was changed")
    if weak := weakness(parsed):
        raise CommandFailed(
            2, f"the secret of bot {bot!r}: {weak}; nothing was changed. `relay bots rotate {bot}` renews it"
        )
    return result


def with_secrets(secret: str | None, signing: Mapping[str, Any], **others: str) -> str:
    """Return a bot's secret with these signing secrets, and with other values for `others`."""
    return json.dumps({**(secret_fields(secret or "{}") or {}), **signing, **others}, ensure_ascii=False)


def changed_meanwhile(bot: str) -> CommandFailed:
    """Return the error for a secret that is not the one with which a command has begun."""
    return CommandFailed(
        1, f"the secret of bot {bot!r} was taken away or changed meanwhile; run the command again"
    )


def changed_fields(before: str | None, after: str) -> list[str]:
    """Return the names of the fields in which two values of a bot's secret differ."""
    old, new = secret_fields(before or "{}") or {}, secret_fields(after) or {}
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
