"""The network between push and LangBot: what requests does, with its exceptions."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit
from zlib import crc32

from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import ConnectTimeout, ReadTimeout
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError

from local.http_bot import Response
from relay.adapters.langbot import ATTEMPT_TIMEOUT
from simulation.faults import Faults, Trouble
from simulation.model_langbot import LangBot
from simulation.world import Process, ProcessDied, World

PROXY_ANSWERS = (400, 400, 403, 409, 409, 429, 500, 502, 503, 504)
"""What a proxy in front of LangBot answers in its place, with HTML: before it sees the request, or after."""

TOO_LARGE = 250
"""A proxy answers 413 to one of so many bodies, whenever it sees it: LangBot never does."""


@dataclass(frozen=True)
class Post:
    """A request of push to a bot; `status` is None if no response came. Times in Unix seconds."""

    bot: str
    process: Process
    path: str
    key: str
    began: float
    ended: float
    status: int | None


@dataclass(frozen=True)
class _Response:
    status_code: int
    content: bytes
    headers: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def iter_content(self, _size: int) -> Iterator[bytes]:
        yield self.content


class HttpSession:
    """Stands in for the session of bounded_http; a bot's host is its name. It adds requests to `posts`."""

    def __init__(self, world: World, faults: Faults, langbots: dict[str, LangBot], posts: list[Post]) -> None:
        self._world, self._faults, self._langbots, self._posts = world, faults, langbots, posts

    def post(self, url: str, data: bytes, headers: dict[str, str], **more: Any) -> _Response:
        """Post to a bot. Raise as requests does."""
        bot = self._langbots[urlsplit(url).hostname or ""]
        path = urlsplit(url).path.removeprefix("/bots/1")
        process, began, status = self._world.current.process, self._world.now, None
        try:
            response = self._post(bot, path, url, data, headers, more["timeout"])
            status = response.status_code
        finally:
            key = headers["X-LB-Idempotency-Key"]
            # Push does not wait for longer, though the thread may hang on, also while Lambda freezes it.
            given_up_at = began + ATTEMPT_TIMEOUT["sync" if path == "/sync" else "push"]
            ended = min(self._world.now, given_up_at)
            self._posts.append(Post(bot.name, process, path, key, began, ended, status))
        return response

    def _post(
        self,
        bot: LangBot,
        path: str,
        url: str,
        data: bytes,
        headers: dict[str, str],
        timeout: tuple[float, float],
    ) -> _Response:
        connect, read = timeout
        chance = self._world.chance("network")
        self._world.sleep(chance.uniform(1 / 6, 1) * self._faults.scenario.latencies.network)
        broken = ""
        if self._strikes(bot, Trouble.NETWORK, 0.08):
            broken = chance.choice(["refused", "slow", "before", "after"])
        if not bot.up or broken == "refused":
            self._refuse(url)
        if broken == "slow":
            self._world.sleep(connect)
            raise ConnectTimeout
        if broken == "before":
            self._break()
        if self._faults.has(Trouble.PROXY) and crc32(data) % TOO_LARGE == 0:
            return _Response(413, b"<html>")
        proxy = None
        if self._strikes(bot, Trouble.PROXY, 0.08):
            proxy = Response(chance.choice(PROXY_ANSWERS), "<html>")
            if chance.random() < 0.5:
                return _Response(proxy.status, proxy.raw)
        process = self._world.current.process
        request = self._world.effect(
            process,
            "langbot.post",
            lambda: self._world.spawn(bot.process, lambda: bot.receive(path, headers, data)),
        )
        if broken == "after":
            self._world.sleep(chance.random() * 12)
            self._break()
        if not request.wait(read):
            raise ReadTimeout
        try:
            response: Response = proxy or request.result()
        except ProcessDied:
            self._break()
        if response.burned:
            bot.burned[response.burned] = process
        if response.message:
            response.message.told = True
        return _Response(response.status, response.raw)

    def _strikes(self, bot: LangBot, trouble: Trouble, rate: float) -> bool:
        return not bot.healthy and self._faults.strikes(trouble, rate)

    @staticmethod
    def _refuse(url: str) -> None:
        reason = NewConnectionError(None, "Connection refused")  # type: ignore[arg-type]
        raise RequestsConnectionError(MaxRetryError(None, url, reason))  # type: ignore[arg-type]

    @staticmethod
    def _break() -> None:
        raise RequestsConnectionError(ProtocolError("Connection aborted."))
