"""The bots, from Secrets Manager, cached briefly enough for a rotation and long enough to be cheap."""

import logging
import threading
import time
from typing import Any, TypeGuard

from botocore.exceptions import BotoCoreError, ClientError

from relay.domain.bot import BOT_NAME, Bot, parse_bot
from relay.domain.timestamps import Clock

log = logging.getLogger(__name__)

CACHE_TTL = 60
"""Seconds for which a bot is used without reading its secret again."""

MIN_REFRESH_INTERVAL = 1
"""Seconds between two reads of a secret after failures, however many there are."""

MAX_CACHED_NAMES = 1000
"""Names that are cached at the most, so that made-up names cannot fill the memory."""

_NOT_OF_THE_NAME = ("KMS", "explicit deny")
# AccessDeniedException has these texts for a secret that exists: its key is denied, or a policy forbids it.


class UnknownBot(Exception):
    """There is no secret for a bot of that name."""


class BotRegistry:
    """The bots of a stack. If a secret cannot be read or used, the last good one stays in use."""

    def __init__(self, secretsmanager: Any, prefix: str, clock: Clock = time.monotonic) -> None:
        self._secretsmanager = secretsmanager
        self._prefix = prefix
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, Bot | None] = {}
        self._claimed_at: dict[tuple[str, str], float] = {}
        self._faults: dict[str, Exception] = {}
        self._last_readable: str | None = None

    def get(self, name: str) -> Bot:
        """Return the bot `name`, read within the last CACHE_TTL seconds.

        It is unusable if its secret never was usable. Raise UnknownBot, and botocore's errors if the secret
        was never read before.
        """
        return self._get(name, refresh=False)

    def refresh(self, name: str) -> Bot:
        """Return the bot `name`, read again unless that was done within MIN_REFRESH_INTERVAL seconds.

        It is for a signature that does not match. The first such call always reads: LangBot may have signed
        with a secret that was set a moment ago, and takes a refusal as final. If that read fails, every call
        raises its error, until a read succeeds.

        Raise UnknownBot, and botocore's errors.
        """
        return self._get(name, refresh=True)

    def invalidate(self, name: str) -> None:
        """Read a bot's secret again at the next `get`: a message has just failed with it."""
        with self._lock:
            self._claimed_at.pop((name, "read"), None)

    def _get(self, name: str, refresh: bool) -> Bot:
        if not BOT_NAME.fullmatch(name):
            raise UnknownBot(f"no bot {name!r}: not a bot's name")
        with self._lock:
            bot = self._known.get(name)
            forced = refresh and self._claim(name, "refresh", MIN_REFRESH_INTERVAL)
            usable = bot is not None and not bot.unusable
            due = self._claim(name, "read", CACHE_TTL if usable else MIN_REFRESH_INTERVAL)
            if due or forced or name not in self._known:
                last = bot if usable else None
                bot = self._read(name, None if forced else last)
                # A secret that became unusable does not replace the last good one.
                if not (bot and bot.unusable and last):
                    self._cache(name, bot)
            if name in self._faults and (refresh or bot is None):
                raise self._faults[name].with_traceback(None)
        if bot is None:
            raise UnknownBot(f"no bot {name!r}: there is no secret {self._prefix}{name}")
        return bot

    def _cache(self, name: str, bot: Bot | None) -> None:
        if len(self._known) >= MAX_CACHED_NAMES:
            self._known = {known: bot for known, bot in self._known.items() if bot}
            self._faults = {known: fault for known, fault in self._faults.items() if known in self._known}
        self._known[name] = bot

    def _claim(self, name: str, action: str, seconds: float) -> bool:
        """Return True at most once per `seconds` for each (name, action), and record this call."""
        now = self._clock()
        if now - self._claimed_at.get((name, action), -float("inf")) < seconds:
            return False
        if len(self._claimed_at) >= 3 * MAX_CACHED_NAMES:
            self._claimed_at.clear()
        self._claimed_at[name, action] = now
        return True

    def _read(self, name: str, last: Bot | None) -> Bot | None:
        """Read a bot; `last` is what to return if that fails or its secret is unusable."""
        try:
            response = self._secretsmanager.get_secret_value(SecretId=self._prefix + name)
        except (
            self._secretsmanager.exceptions.ResourceNotFoundException,
            # It is scheduled for deletion.
            self._secretsmanager.exceptions.InvalidRequestException,
        ):
            self._faults.pop(name, None)
            return None
        except (ClientError, BotoCoreError) as error:
            if _is_denied(error):
                self._report_denied(name, error)
                if self._name_is_the_cause(name, error):
                    self._faults.pop(name, None)
                    return None
            if name in self._known:
                self._faults[name] = error
            if last is None:
                raise
            fault = str(error)
        else:
            self._faults.pop(name, None)
            self._last_readable = name
            bot = parse_bot(name, response.get("SecretString", ""))
            if last is None or not bot.unusable:
                return bot
            fault = bot.unusable
        log.error(
            "the bot's secret cannot be used, the last good one serves", extra={"bot": name, "error": fault}
        )
        return last

    def _report_denied(self, name: str, error: ClientError) -> None:
        if self._claim(name, "report", CACHE_TTL):
            log.error(
                "the bot's secret is denied: check the bot's name, and that the function's role has "
                "secretsmanager:GetSecretValue for it",
                extra={"bot": name, "secret": self._prefix + name, "error": str(error)},
            )

    def _name_is_the_cause(self, name: str, error: ClientError) -> bool:
        """Tell whether a secret is denied because no bot has that name.

        Secrets Manager may deny a secret that is missing, but it denies every secret if the role lacks the
        permission. So it counts only for a bot that was never read, and only if the secret that was read last
        can be read now.
        """
        of_the_secret = any(text in error.response["Error"].get("Message", "") for text in _NOT_OF_THE_NAME)
        if of_the_secret or self._known.get(name) or not self._last_readable:
            return False
        try:
            self._secretsmanager.get_secret_value(SecretId=self._prefix + self._last_readable)
        except (ClientError, BotoCoreError):
            return False
        return True


def _is_denied(error: Exception) -> TypeGuard[ClientError]:
    return isinstance(error, ClientError) and error.response["Error"].get("Code") == "AccessDeniedException"
