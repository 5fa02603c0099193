"""What anybody can post to callback: the rows of the table in docs/security.md."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from relay.adapters.bot_cache import BURST_SECONDS
from relay.adapters.bot_registry import BotRegistry
from support.bots import change_secret
from support.callback_function import CallbackFunction
from support.callbacks import signed_headers
from support.deployed import Talk

_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Flood:
    """Posts requests of one kind to a callback that has just started, all at the same moment."""

    callback: CallbackFunction
    talk: Talk

    @contextmanager
    def of(self, kind: str) -> Iterator[Callable[[], int]]:
        """Prepare callback for a kind of request; yield what posts one and returns the response's status."""
        app = self.callback.app
        registry = BotRegistry(
            self.callback.clients["secretsmanager"],
            app.settings.bot_secret_prefix,
            lambda: 0,
            app.LOOKUPS_PER_SECOND,
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(app, "receiver", replace(app.receiver, bot_registry=registry))
            yield self._prepared(kind)

    def _prepared(self, kind: str) -> Callable[[], int]:
        match kind:
            case "no signature":
                return lambda: self._post(b"{}", {})
            case "a signature whose time is over":
                old = str(int(time.time()) - 400)
                return lambda: self._post(b"{}", signed_headers(b"{}", "guess", old))
            case "3,000 bytes in place of a bot's name":
                return lambda: self._forged(bot="\0" * 3000)
            case "a made-up name":
                return self._made_up
            case "a made-up name, too many of them":
                for _ in range(self.callback.app.LOOKUPS_PER_SECOND * BURST_SECONDS):
                    self._made_up()
                return self._made_up
            case "a bot's name":
                self._forged()
                return self._forged
            case "a bot's name, with 5.9 MB":
                self._forged()
                return lambda: self._forged(bytes(5_900_000))
            case "the name of a bot whose secret is unusable":
                change_secret(self.talk, inbound_secret=[], outbound_secret="")
                self._forged()
                return self._forged
        raise ValueError(kind)

    def _made_up(self) -> int:
        return self._forged(bot=f"made-up-{next(_NUMBERS):055}")

    def _forged(self, raw: bytes = b"{}", bot: str | None = None) -> int:
        return self._post(raw, signed_headers(raw, "guess"), bot)

    def _post(self, raw: bytes, headers: dict[str, str], bot: str | None = None) -> int:
        return self.callback.post(self.talk, raw, headers, bot)[0]
