"""The bots, from Secrets Manager, cached briefly enough for a rotation and long enough to be cheap."""

import logging
from copy import copy
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from relay import environment
from relay.adapters.bot_cache import (
    CACHE_TTL,
    MAX_CACHED_NAMES,
    MIN_REFRESH_INTERVAL,
    BotCache,
    CachedBot,
    LookupRateLimited,
    TokenBucket,
)
from relay.domain.bot import BOT_NAME, NO_BOT, Bot, parse_bot, weakness
from relay.domain.timestamps import Clock

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager.client import SecretsManagerClient

log = logging.getLogger(__name__)

MAX_NAME_SHOWN = 40
"""Characters of a text that is no bot's name that an error text shows."""

_NOT_OF_THE_NAME = ("KMS", "explicit deny")
# AccessDeniedException has these texts for a secret that exists: its key is denied, or a policy forbids it.


class UnknownBot(Exception):
    """There is no secret for a bot of that name."""


class BotRegistry:
    """The bots of a stack. If a secret cannot be read or used, the last good one stays in use for a while.

    One thread uses it at a time: push sends one message an invocation, and callback receives one part.

    If anybody can make up names, `lookups_per_second` bounds how many are looked up: so many that come for
    the first time, and so many that come again.
    """

    def __init__(
        self,
        secretsmanager: "SecretsManagerClient",
        prefix: str,
        clock: Clock = environment.monotonic,
        lookups_per_second: int = MAX_CACHED_NAMES,
    ) -> None:
        self._secretsmanager = secretsmanager
        self._prefix = prefix
        self._clock = clock
        self._cache = BotCache(lookups_per_second)
        self._outage: tuple[float, Exception] | None = None
        self._last_readable: str | None = None

    def get(self, name: str) -> Bot:
        """Return the bot `name`, read within the last CACHE_TTL seconds.

        `unusable` is set if its secret is invalid and none valid was read within STALE_IF_INVALID seconds.
        Raise UnknownBot, LookupRateLimited, and botocore's errors if the secret was not read within
        STALE_IF_ERROR seconds.
        """
        return self._get(name, refresh=False)

    def refresh(self, name: str) -> Bot:
        """Return the bot `name`, read again unless that was done within MIN_REFRESH_INTERVAL seconds.

        It is for a signature that does not match. The first such call always reads: LangBot may have signed
        with a secret that was set a moment ago, and takes a refusal as final. If that read fails, every call
        raises its error, until a read succeeds.

        Raise UnknownBot, LookupRateLimited, and botocore's errors.
        """
        return self._get(name, refresh=True)

    def invalidate(self, name: str) -> None:
        """Read a bot's secret again at the next `get`: a message has just failed with it."""
        self._cache.expire(name)

    def _get(self, name: str, refresh: bool) -> Bot:
        if not BOT_NAME.fullmatch(name):
            raise UnknownBot(f"{NO_BOT}{name[:MAX_NAME_SHOWN]!r}: not a bot's name")
        now = self._clock()
        entry, bucket = self._cache.entry(name)
        if entry.is_due(refresh, now):
            if self._outage and now - self._outage[0] < MIN_REFRESH_INTERVAL:
                entry.result = self._outage[1]
            elif entry.is_bot or bucket.allow(now):
                self._look_up(entry, bucket, refresh, now)
            else:
                entry.result = LookupRateLimited(name)
        found = entry.result if refresh else entry.in_use(now)
        if isinstance(found, Exception):
            raise without_traceback(found)
        return found

    def _look_up(self, entry: CachedBot, bucket: TokenBucket, refresh: bool, now: float) -> None:
        entry.fetched_at = now
        if refresh:
            entry.refreshed_at = now
        try:
            entry.result = self._read(entry, bucket)
        except (UnknownBot, ClientError, BotoCoreError) as error:
            entry.result = without_traceback(error)
        if isinstance(entry.result, BotoCoreError):
            # There was no answer in time: each further lookup would wait as long.
            self._outage = self._clock(), entry.result
        match entry.result:
            case UnknownBot():
                entry.good = None
            case Bot(unusable=None):
                entry.good, entry.good_at = entry.result, now
            case Bot(unusable=fault) | Exception(args=(fault, *_)):
                if entry.in_use(now) is entry.good:
                    text = "the bot's secret cannot be used, the last good one serves"
                    self._report(entry, text, error=fault)

    def _read(self, entry: CachedBot, bucket: TokenBucket) -> Bot:
        """Read a bot's secret. Raise UnknownBot, and botocore's errors."""
        secret = self._prefix + entry.name
        unknown = UnknownBot(f"{NO_BOT}{entry.name!r}: there is no secret {secret}")
        try:
            response = self._secretsmanager.get_secret_value(SecretId=secret)
        except (
            self._secretsmanager.exceptions.ResourceNotFoundException,
            # It is scheduled for deletion.
            self._secretsmanager.exceptions.InvalidRequestException,
        ):
            raise unknown from None
        except ClientError as error:
            if error.response["Error"].get("Code") != "AccessDeniedException":
                raise
            text = (
                "the bot's secret is denied: check the bot's name, and that the function's role has "
                "secretsmanager:GetSecretValue for it"
            )
            self._report(entry, text, secret=secret, error=str(error))
            if entry.is_bot or not self._name_is_the_cause(error, bucket):
                raise
            raise unknown from None
        self._last_readable = entry.name
        bot = parse_bot(entry.name, response.get("SecretString", ""))
        before, entry.weakness = entry.weakness, weakness(bot)
        if entry.weakness and entry.weakness != before:
            log.warning("the bot's secrets are weak", extra={"bot": bot.name, "weakness": entry.weakness})
        return bot

    def _name_is_the_cause(self, error: ClientError, bucket: TokenBucket) -> bool:
        """Tell whether a secret that was never read is denied because no bot has its name.

        Secrets Manager may deny a secret that is missing, but it denies every secret if the role lacks the
        permission. So it counts only if the secret that was read last can be read now.
        """
        of_the_secret = any(text in error.response["Error"].get("Message", "") for text in _NOT_OF_THE_NAME)
        if of_the_secret or not self._last_readable or not bucket.allow(self._clock()):
            return False
        try:
            self._secretsmanager.get_secret_value(SecretId=self._prefix + self._last_readable)
        except (ClientError, BotoCoreError):
            return False
        return True

    def _report(self, entry: CachedBot, text: str, **fields: object) -> None:
        """Log an error, for each name at most once in CACHE_TTL seconds."""
        now = self._clock()
        if now - entry.logged_at >= CACHE_TTL:
            entry.logged_at = now
            log.error(text, extra={"bot": entry.name} | fields)


def without_traceback(error: Exception) -> Exception:
    """Return the same error without the frames that it passed: they would keep a request's body in memory."""
    if isinstance(error, BotoCoreError):
        return type(error)(**{name: str(value) for name, value in error.kwargs.items()})
    return copy(error)
