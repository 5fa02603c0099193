"""What a bot in LangBot and its secret here must be to fit together. Nothing here has a side effect."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from relay.domain.addresses import is_public
from relay.domain.bot import Bot, parse_bot, weakness
from relay_cli.bot_secret import new_secrets
from relay_cli.langbot_api import Json, is_readable_on_the_way
from relay_cli.terminal import CommandFailed

NEW_BOT = {
    "default_session_type": "person",
    "signature_required": True,
    "callback_timeout": 15,
    "callback_max_retries": 3,
}
"""What LangBot's own form has in a new bot beside its URL and secrets."""

LABELS = {
    "callback_url": "Outbound Callback URL",
    "inbound_secret": "Inbound Signing Secret",
    "outbound_secret": "Outbound Signing Secret",
    "signature_required": "Require Inbound Signature",
}
"""The fields that the relay sets, as LangBot's form names them."""


@dataclass(frozen=True)
class RelayBot:
    """What the relay knows of its bot: its name, its secret if it has one, and its callback URL."""

    name: str
    secret: str | None
    callback_url: str

    @property
    def bot(self) -> Bot:
        """Return the bot as its secret describes it."""
        return parse_bot(self.name, self.secret or "{}")

    @property
    def newest(self) -> dict[str, str]:
        """Return the signing secrets that both sides are to use. The bot must have some."""
        return {
            "inbound_secret": self.bot.inbound_secrets[0],
            "outbound_secret": self.bot.outbound_secrets[0],
        }


@dataclass(frozen=True)
class Plan:
    """What both sides are to have.

    `secrets` are new ones for both directions, none if the relay keeps its own. `changes` says for people
    what is new in LangBot, without a secret.
    """

    secrets: dict[str, str]
    adapter_config: Json
    changes: tuple[str, ...]


def find_bot(bots: Sequence[Json], relay_bot: RelayBot, name: str) -> Json | None:
    """Return LangBot's HTTP bot that belongs to a bot of the relay, or None. Raise CommandFailed.

    It is the one that the bot's url names, or the one that calls back to the bot. A bot that is not connected
    to anything is found by its name in LangBot. So no bot of another stack is taken over.
    """
    uuid = urlsplit(relay_bot.bot.url).path.rstrip("/").rpartition("/")[2]
    for found in (
        [bot for bot in bots if bot["uuid"] == uuid],
        [bot for bot in bots if bot["adapter_config"].get("callback_url") == relay_bot.callback_url],
        [bot for bot in bots if bot["name"] == name and not bot["adapter_config"].get("callback_url")],
    ):
        if len(found) > 1:
            raise CommandFailed(
                2, f"LangBot has {len(found)} HTTP bots {found[0]['name']!r} for this bot: remove all but one"
            )
        if found:
            return found[0]
    return None


def plan(relay_bot: RelayBot, found: Json | None) -> Plan:
    """Return what must be on both sides, and what of it is new.

    What fits stays: each save makes LangBot reload the bot. If the two sides have different secrets, LangBot
    gets the relay's. If those are weak or missing, both sides get new ones.
    """
    bot = relay_bot.bot
    before = found["adapter_config"] if found else {}
    config = {**NEW_BOT, **before, "callback_url": relay_bot.callback_url, "signature_required": True}
    secrets: dict[str, str] = {}
    if not fits(bot, before):
        if not (bot.inbound_secrets and bot.outbound_secrets) or weakness(bot):
            secrets = new_secrets()
        config |= secrets or relay_bot.newest
    changes = [
        f"LangBot: {LABELS[field]}: {_shown(field, before, config)}"
        for field in LABELS
        if before.get(field) != config.get(field)
    ]
    if found is None:
        changes.insert(0, "LangBot: a new HTTP bot")
    elif not found.get("enable"):
        changes.append("LangBot: the bot is switched on")
    return Plan(secrets, config, tuple(changes))


def secrets_of(adapter_config: Json) -> dict[str, str]:
    """Return the secrets that LangBot verifies and signs with, which are one if it has no outbound secret."""
    inbound = adapter_config.get("inbound_secret") or ""
    return {"inbound_secret": inbound, "outbound_secret": adapter_config.get("outbound_secret") or inbound}


def fits(bot: Bot, adapter_config: Json) -> bool:
    """Tell whether each side accepts what the other one signs."""
    inbound, outbound = secrets_of(adapter_config).values()
    # Push signs with the first two.
    return inbound in bot.inbound_secrets[:2] and outbound in bot.outbound_secrets


def without_query(bot: Bot) -> str:
    """Return a bot's url without what can be secret in it: its query, and a user's name and password."""
    if not bot.url:
        return ""
    url = urlsplit(bot.url)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}" + ("?…" if url.query else "")


def address_warnings(url: str, deployed: bool) -> list[str]:
    """Return what may be wrong with the address of LangBot, as seen from Lambda."""
    warnings = []
    if deployed and _is_private(urlsplit(url).hostname or ""):
        warnings.append(f"Lambda cannot reach {url}: it needs a public address (docs/bots.md)")
    if deployed and is_readable_on_the_way(url):
        warnings.append(f"{url} is not encrypted: everybody on the way can read the messages")
    return warnings


def _is_private(host: str) -> bool:
    try:
        return not is_public(host)
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))


def _shown(field: str, before: Json, after: Json) -> str:
    if field.endswith("_secret"):
        return "a new value" if before.get(field) else "set"
    if field == "signature_required":
        return "on"
    return f"{before.get(field) or 'none'} -> {after[field]}"
