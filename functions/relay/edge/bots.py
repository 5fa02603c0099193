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

COOL_DOWN = 1
"""Seconds between two questions about one bot that something failed with, however often it fails."""

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
        self._known: dict[str, Bot | None] = {}
        self._asked_at: dict[tuple[str, bool], float] = {}

    def get(self, name: str, anew: bool = False) -> Bot:
        """The bot `name`, read within the last REMEMBER seconds.

        With `anew`, read again unless that was done within COOL_DOWN seconds: for a signature that
        does not match. A first such question is never put off, or a part that is signed with a secret
        that has just changed would be refused, which LangBot takes for final.

        Raises UnknownBot; bot.InvalidBot and botocore's errors where it was never read before, and with
        `anew`.
        """
        if not rules.NAME.fullmatch(name):
            raise UnknownBot(f"no bot {name!r}: not a bot's name")
        with self._lock:
            bot = self._known.get(name)
            forced = anew and self._is_due(name, True, COOL_DOWN)
            due = self._is_due(name, False, REMEMBER if bot else COOL_DOWN)
            if due or forced or name not in self._known:
                bot = self._ask(name, None if forced else bot)
                if len(self._known) >= MOST:
                    self._known = {known: bot for known, bot in self._known.items() if bot}
                    self._asked_at.clear()
                self._known[name] = bot
        if bot is None:
            raise UnknownBot(f"no bot {name!r}: there is no secret {self._prefix}{name}")
        return bot

    def doubt(self, name: str) -> None:
        """Has a bot read again the next time it is asked for: a message has just failed with it."""
        with self._lock:
            self._asked_at.pop((name, False), None)

    def _is_due(self, name: str, forced: bool, seconds: float) -> bool:
        """Whether `seconds` have gone by since the last question of its kind, which this one is then."""
        now = self._clock()
        if now - self._asked_at.get((name, forced), -float("inf")) < seconds:
            return False
        self._asked_at[name, forced] = now
        return True

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
