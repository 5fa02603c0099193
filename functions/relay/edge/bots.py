"""Bots, from Secrets Manager, with a memory short enough for a rotation and long enough to be cheap."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from relay.rules import bot as rules
from relay.rules.bot import Bot

log = logging.getLogger(__name__)

REMEMBER = 60
"""Seconds for which a bot is used without asking again."""

COOL_DOWN = 10
"""Seconds that must pass between two questions about one bot, however many bad requests name it."""

MOST = 1000
"""Names remembered at the most, so that made-up names cannot fill the memory."""


class UnknownBot(Exception):
    """There is no secret for a bot of that name."""


class Bots:
    """The bots of a stack. Where Secrets Manager cannot be asked, the last good answer keeps serving."""

    def __init__(self, secretsmanager: Any, prefix: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._secretsmanager = secretsmanager
        self._prefix = prefix
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Bot | None]] = {}

    def get(self, name: str, max_age: float = REMEMBER) -> Bot:
        """The bot `name`, not older than `max_age` seconds or COOL_DOWN, whichever is longer.

        Raises UnknownBot, bot.InvalidBot, and botocore's errors where it was never read before.
        """
        if not rules.NAME.fullmatch(name):
            raise UnknownBot(f"no bot {name!r}: not a bot's name")
        with self._lock:
            asked_at, bot = self._known.get(name, (-float("inf"), None))
            if self._clock() - asked_at >= max(max_age if bot else 0, COOL_DOWN):
                bot = self._ask(name, bot)
                if len(self._known) >= MOST:
                    self._known = {name: entry for name, entry in self._known.items() if entry[1]}
                self._known[name] = (self._clock(), bot)
        if bot is None:
            raise UnknownBot(f"no bot {name!r}: there is no secret {self._prefix}{name}")
        return bot

    def _ask(self, name: str, last: Bot | None) -> Bot | None:
        try:
            answer = self._secretsmanager.get_secret_value(SecretId=self._prefix + name)
            return rules.parse(name, answer.get("SecretString", ""))
        except self._secretsmanager.exceptions.ResourceNotFoundException:
            return None
        except (ClientError, BotoCoreError, rules.InvalidBot) as error:
            if last is None:
                raise
            log.error("the bot's secret could not be read anew", extra={"bot": name, "error": str(error)})
            return last
