"""The bots, from Secrets Manager, cached briefly enough for a rotation and long enough to be cheap."""

import logging
import math
import threading
import time
from copy import copy
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from relay.domain.bot import BOT_NAME, Bot, parse_bot, weakness
from relay.domain.timestamps import Clock

log = logging.getLogger(__name__)

CACHE_TTL = 60
"""Seconds for which a bot is used without reading its secret again."""

MIN_REFRESH_INTERVAL = 1
"""Seconds between two reads of a secret after failures, however many there are."""

MAX_UNREADABLE = 6 * 3600
"""Seconds, from its last read, for which the last good secret serves while no read succeeds. Outages of AWS
have lasted for hours, and push retries for as long by default."""

MAX_UNUSABLE = 300
"""Seconds, from its last read, for which the last good secret serves after it was overwritten with one that
cannot be used: enough to correct a slip, and short enough to revoke a secret so."""

MAX_CACHED_NAMES = 1000
"""Names that are cached at the most, so that made-up names cannot fill the memory."""

SAVED_SECONDS = 5
"""Seconds whose questions may be asked at once: a function that has just started reads its stack's bots."""

MAX_NAME_SHOWN = 40
"""Characters of a text that is no bot's name that an error text shows."""

_NOT_OF_THE_NAME = ("KMS", "explicit deny")
# AccessDeniedException has these texts for a secret that exists: its key is denied, or a policy forbids it.


class UnknownBot(Exception):
    """There is no secret for a bot of that name."""


class TooManyNames(Exception):
    """Secrets Manager was asked for so many names this second that it was not asked for this one."""


@dataclass
class _Entry:
    """A name: what the last question came to, and the last good bot. Times are those of the clock."""

    name: str
    result: Bot | Exception
    good: Bot | None = None
    good_at: float = -math.inf
    asked_at: float = -math.inf
    refreshed_at: float = -math.inf
    logged_at: float = -math.inf
    weakness: str | None = None

    @property
    def is_bot(self) -> bool:
        """Tell whether there was a secret of the name when it could be read last."""
        return self.good is not None or isinstance(self.result, Bot)

    def in_use(self, now: float) -> Bot | Exception:
        """Return the result, or the last good bot as long as it may serve in place of the result."""
        limit = MAX_UNREADABLE if isinstance(self.result, Exception) else MAX_UNUSABLE
        return self.good if self.good and now - self.good_at < limit else self.result

    def is_due(self, refresh: bool, now: float) -> bool:
        """Tell whether to ask Secrets Manager again."""
        if refresh and now - self.refreshed_at >= MIN_REFRESH_INTERVAL:
            return True
        bot = self.in_use(now)
        usable = isinstance(bot, Bot) and not bot.unusable
        return now - self.asked_at >= (CACHE_TTL if usable else MIN_REFRESH_INTERVAL)


class _Rate:
    """Permits so many questions a second, and at once as many as were not asked within SAVED_SECONDS."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._most = self._left = float(per_second * SAVED_SECONDS)
        self._counted_at = -math.inf

    def permits(self, now: float) -> bool:
        self._left = min(self._most, self._left + (now - self._counted_at) * self._per_second)
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class BotRegistry:
    """The bots of a stack. If a secret cannot be read or used, the last good one stays in use for a while.

    If anybody can make up names, `names_per_second` bounds how many of them Secrets Manager is asked for: so
    many names that come for the first time, and so many that come again. LangBot repeats a part that was not
    kept, so a bot comes again, and a flood of ever new names does not displace it.
    """

    def __init__(
        self,
        secretsmanager: Any,
        prefix: str,
        clock: Clock = time.monotonic,
        names_per_second: int = MAX_CACHED_NAMES,
    ) -> None:
        self._secretsmanager = secretsmanager
        self._prefix = prefix
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._new_names, self._repeated_names = _Rate(names_per_second), _Rate(names_per_second)
        self._outage: tuple[float, Exception] | None = None
        self._last_readable: str | None = None

    def get(self, name: str) -> Bot:
        """Return the bot `name`, read within the last CACHE_TTL seconds.

        It is unusable if its secret is, and was not usable within MAX_UNUSABLE seconds. Raise UnknownBot,
        TooManyNames, and botocore's errors if the secret was not read within MAX_UNREADABLE seconds.
        """
        return self._get(name, refresh=False)

    def refresh(self, name: str) -> Bot:
        """Return the bot `name`, read again unless that was done within MIN_REFRESH_INTERVAL seconds.

        It is for a signature that does not match. The first such call always reads: LangBot may have signed
        with a secret that was set a moment ago, and takes a refusal as final. If that read fails, every call
        raises its error, until a read succeeds.

        Raise UnknownBot, TooManyNames, and botocore's errors.
        """
        return self._get(name, refresh=True)

    def invalidate(self, name: str) -> None:
        """Read a bot's secret again at the next `get`: a message has just failed with it."""
        with self._lock:
            if entry := self._entries.get(name):
                entry.asked_at = -math.inf

    def _get(self, name: str, refresh: bool) -> Bot:
        if not BOT_NAME.fullmatch(name):
            raise UnknownBot(f"no bot {name[:MAX_NAME_SHOWN]!r}: not a bot's name")
        with self._lock:
            now = self._clock()
            rate = self._repeated_names if name in self._entries else self._new_names
            entry = self._entries.get(name) or self._add(name)
            if entry.is_due(refresh, now):
                if self._outage and now - self._outage[0] < MIN_REFRESH_INTERVAL:
                    entry.result = self._outage[1]
                elif entry.is_bot or rate.permits(now):
                    self._ask(entry, rate, refresh, now)
                else:
                    entry.result = _too_many(name)
            found = entry.result if refresh else entry.in_use(now)
        if isinstance(found, Exception):
            raise _without_frames(found)
        return found

    def _add(self, name: str) -> _Entry:
        if len(self._entries) >= MAX_CACHED_NAMES:
            made_up = next((known for known, entry in self._entries.items() if not entry.is_bot), "")
            self._entries.pop(made_up, None)
        entry = self._entries[name] = _Entry(name, _too_many(name))
        return entry

    def _ask(self, entry: _Entry, rate: _Rate, refresh: bool, now: float) -> None:
        entry.asked_at = now
        if refresh:
            entry.refreshed_at = now
        result = self._read(entry, rate)
        entry.result = _without_frames(result) if isinstance(result, Exception) else result
        if isinstance(entry.result, BotoCoreError):
            # There was no answer in time: each further question would wait as long.
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

    def _read(self, entry: _Entry, rate: _Rate) -> Bot | Exception:
        secret = self._prefix + entry.name
        unknown = UnknownBot(f"no bot {entry.name!r}: there is no secret {secret}")
        try:
            response = self._secretsmanager.get_secret_value(SecretId=secret)
        except (
            self._secretsmanager.exceptions.ResourceNotFoundException,
            # It is scheduled for deletion.
            self._secretsmanager.exceptions.InvalidRequestException,
        ):
            return unknown
        except BotoCoreError as error:
            return error
        except ClientError as error:
            if error.response["Error"].get("Code") != "AccessDeniedException":
                return error
            text = (
                "the bot's secret is denied: check the bot's name, and that the function's role has "
                "secretsmanager:GetSecretValue for it"
            )
            self._report(entry, text, secret=secret, error=str(error))
            return unknown if not entry.is_bot and self._name_is_the_cause(error, rate) else error
        self._last_readable = entry.name
        bot = parse_bot(entry.name, response.get("SecretString", ""))
        before, entry.weakness = entry.weakness, weakness(bot)
        if entry.weakness and entry.weakness != before:
            log.warning("the bot's secrets are weak", extra={"bot": bot.name, "weakness": entry.weakness})
        return bot

    def _name_is_the_cause(self, error: ClientError, rate: _Rate) -> bool:
        """Tell whether a secret that was never read is denied because no bot has its name.

        Secrets Manager may deny a secret that is missing, but it denies every secret if the role lacks the
        permission. So it counts only if the secret that was read last can be read now.
        """
        of_the_secret = any(text in error.response["Error"].get("Message", "") for text in _NOT_OF_THE_NAME)
        if of_the_secret or not self._last_readable or not rate.permits(self._clock()):
            return False
        try:
            self._secretsmanager.get_secret_value(SecretId=self._prefix + self._last_readable)
        except (ClientError, BotoCoreError):
            return False
        return True

    def _report(self, entry: _Entry, text: str, **fields: object) -> None:
        """Log an error, for each name at most once in CACHE_TTL seconds."""
        now = self._clock()
        if now - entry.logged_at >= CACHE_TTL:
            entry.logged_at = now
            log.error(text, extra={"bot": entry.name} | fields)


def _without_frames(error: Exception) -> Exception:
    """Return the same error without the frames that it passed: they would keep a request's body in memory."""
    if isinstance(error, BotoCoreError):
        return type(error)(**{name: str(value) for name, value in error.kwargs.items()})
    return copy(error)


def _too_many(name: str) -> TooManyNames:
    return TooManyNames(f"bot {name!r} is not read: Secrets Manager was asked for too many names this second")
