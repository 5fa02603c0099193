"""The bots that were looked up: how long a lookup holds, and how many lookups there may be."""

import math
from dataclasses import dataclass

from relay.domain.bot import Bot

CACHE_TTL = 300
"""Seconds for which a bot is used without reading its secret again: a revoked secret serves for so long. A
new one is read at once, because the old one fails."""

MIN_REFRESH_INTERVAL = 1
"""Seconds between two reads of a secret after failures, however many there are."""

STALE_IF_ERROR = 6 * 3600
"""Seconds, from its last read, for which the last good secret serves while no read succeeds. Outages of AWS
have lasted for hours, and push retries for as long by default."""

STALE_IF_INVALID = CACHE_TTL + 300
"""Seconds, from its last read, for which the last good secret serves after it was overwritten with one that
cannot be used: five minutes to correct a slip, and short enough to revoke a secret so."""

MAX_CACHED_NAMES = 1000
"""Names that are cached at the most, so that made-up names cannot fill the memory."""

BURST_SECONDS = 5
"""Seconds whose lookups may come at once: a function that has just started reads its stack's bots."""


class LookupRateLimited(Exception):
    """Secrets Manager was asked for so many names this second that it was not asked for the name given."""

    def __str__(self) -> str:
        return f"bot {self.args[0]!r} is not read: Secrets Manager was asked for too many names this second"


@dataclass
class CachedBot:
    """A name: what its last lookup came to, and the last good bot. Times are those of the clock."""

    name: str
    result: Bot | Exception
    good: Bot | None = None
    good_at: float = -math.inf
    fetched_at: float = -math.inf
    refreshed_at: float = -math.inf
    logged_at: float = -math.inf
    weakness: str | None = None

    @property
    def is_bot(self) -> bool:
        """Tell whether there was a secret of the name when it could be read last."""
        return self.good is not None or isinstance(self.result, Bot)

    def in_use(self, now: float) -> Bot | Exception:
        """Return the result, or the last good bot as long as it may serve in place of the result."""
        limit = STALE_IF_ERROR if isinstance(self.result, Exception) else STALE_IF_INVALID
        return self.good if self.good and now - self.good_at < limit else self.result

    def is_due(self, refresh: bool, now: float) -> bool:
        """Tell whether to ask Secrets Manager again."""
        if refresh and now - self.refreshed_at >= MIN_REFRESH_INTERVAL:
            return True
        bot = self.in_use(now)
        usable = isinstance(bot, Bot) and not bot.unusable
        return now - self.fetched_at >= (CACHE_TTL if usable else MIN_REFRESH_INTERVAL)


class TokenBucket:
    """Allows so many lookups a second, and at once as many as were not made within BURST_SECONDS."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._capacity = self._tokens = float(per_second * BURST_SECONDS)
        self._filled_at = -math.inf

    def allow(self, now: float) -> bool:
        """Take a token, if there is one at this time of the clock."""
        self._tokens = min(self._capacity, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class BotCache:
    """The names that were looked up, with a bucket for new names and one for those that come again.

    LangBot repeats a part that was not kept. So a bot comes again, and a flood of ever new names does not
    displace it.
    """

    def __init__(self, lookups_per_second: int) -> None:
        self._entries: dict[str, CachedBot] = {}
        self._new_names, self._repeated_names = (
            TokenBucket(lookups_per_second),
            TokenBucket(lookups_per_second),
        )

    def entry(self, name: str) -> tuple[CachedBot, TokenBucket]:
        """Return the entry of a name, which may be new, and the bucket for its lookups."""
        if known := self._entries.get(name):
            return known, self._repeated_names
        if len(self._entries) >= MAX_CACHED_NAMES:
            made_up = next((known for known, entry in self._entries.items() if not entry.is_bot), "")
            self._entries.pop(made_up, None)
        added = self._entries[name] = CachedBot(name, LookupRateLimited(name))
        return added, self._new_names

    def expire(self, name: str) -> None:
        """Let the next use of a name look it up."""
        if entry := self._entries.get(name):
            entry.fetched_at = -math.inf
