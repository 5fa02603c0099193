"""LangBotClient: one signed POST to a bot."""

import http.client
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache, partial
from http.cookiejar import DefaultCookiePolicy
from itertools import chain
from queue import Empty, SimpleQueue
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError, SSLError

from relay.domain.addresses import is_metadata, is_public
from relay.domain.attempt import Response
from relay.domain.bot import Bot
from relay.domain.message import PATHS, Action
from relay.domain.signing import sign

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 3
"""Seconds."""

ATTEMPT_TIMEOUT: dict[Action, int] = {
    "push": 10,
    # LangBot holds a sync call for 4 x its callback_timeout, 60 s by default.
    "sync": 65,
    "reset": 10,
}
"""Seconds for all of an attempt: connect, headers and body, with each secret."""

TRIED_SECRETS = 2
"""Secrets of a bot that an attempt signs with, one after the other, as long as LangBot answers 401."""

MAX_RESPONSE_BYTES: dict[Action, int] = {
    "push": 1 << 16,
    # The reply itself; while LangBot streams, every snapshot of it.
    "sync": 1 << 24,
    "reset": 1 << 16,
}


class ConnectFailed(Exception):
    """LangBot cannot have received the message: no connection was made. The text says why."""


class NoResponse(Exception):
    """LangBot may have received the message, but did not answer. The text says why."""


def max_attempt_seconds(action: Action) -> int:
    """Return the seconds that an attempt may last."""
    return ATTEMPT_TIMEOUT[action] + 2


class LangBotClient:
    """Posts messages, over connections that stay open from one invocation to the next."""

    def __init__(self) -> None:
        self._http = HttpSession()
        # A cookie of one bot's host would go to the next bot on that host.
        self._http.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = _Adapter(pool_maxsize=16)
        self._http.mount("https://", adapter)
        self._http.mount("http://", adapter)

    def post(
        self,
        bot: Bot,
        action: Action,
        body: bytes,
        idempotency_key: str,
        further_secrets: Iterable[str] = (),
    ) -> Response:
        """Post `body`, signed with the bot's newest secret, and on 401 with the next one.

        If LangBot answers 401 to both, then sign with each of `further_secrets` until it does not. Those are
        not looked at before. Raise ConnectFailed and NoResponse.
        """
        deadline = time.monotonic() + ATTEMPT_TIMEOUT[action]
        for secret in chain(bot.inbound_secrets[:TRIED_SECRETS], further_secrets):
            call = _Call(
                partial(self._post, bot.endpoint(PATHS[action]), action, body, idempotency_key, secret)
            )
            try:
                response = call.result(deadline - time.monotonic())
            except TimeoutError:
                raise NoResponse(f"no response within {ATTEMPT_TIMEOUT[action]} s") from None
            if response.status != 401:
                break
        return response

    def _post(self, url: str, action: Action, body: bytes, idempotency_key: str, secret: str) -> Response:
        timestamp = str(int(time.time()))
        try:
            with self._http.post(
                url,
                data=body,
                headers={
                    "Content-Type": "application/json",
                    "User-Agent": "langbot-relay",
                    "X-LB-Timestamp": timestamp,
                    "X-LB-Signature": sign(secret, timestamp, body),
                    "X-LB-Idempotency-Key": idempotency_key,
                },
                timeout=(CONNECT_TIMEOUT, ATTEMPT_TIMEOUT[action]),
                # A redirect would be followed as a GET without the body.
                allow_redirects=False,
                stream=True,
            ) as response:
                content = _read(response, MAX_RESPONSE_BYTES[action])
                return Response(response.status_code, content, response.headers.get("Retry-After"))
        except requests.exceptions.ConnectTimeout:
            raise ConnectFailed(f"no connection within {CONNECT_TIMEOUT} s") from None
        except requests.exceptions.InvalidURL:
            raise ConnectFailed("the bot's url is not valid") from None
        except requests.exceptions.ConnectionError as error:
            cause = _cause(error)
            if isinstance(cause, NewConnectionError):
                raise ConnectFailed(_reason(cause)) from None
            if isinstance(cause, SSLError):
                # Only the certificate is certain to be checked before anything is sent.
                untrusted = isinstance(cause.args[0], ssl.SSLCertVerificationError)
                raise (ConnectFailed if untrusted else NoResponse)(f"TLS: {cause}") from None
            raise NoResponse("the connection broke before the response") from None
        except (requests.exceptions.Timeout, TimeoutError):
            raise NoResponse(f"no response within {ATTEMPT_TIMEOUT[action]} s") from None
        except (requests.exceptions.RequestException, HTTPError) as error:
            raise NoResponse(f"no usable response: {type(error).__name__}") from None


class HttpSession(requests.Session):
    """A session that takes a redirect for a response like any other."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return none: requests reads address and body of each redirect, even if it does not follow it."""


class _Call:
    """A call in a thread of its own, which ends at its deadline.

    A time-out of a socket starts again with each byte. So a bot that sends its response byte by byte could
    hold push until Lambda kills it; here the caller stops waiting and shuts the connection down.
    """

    _of_thread = threading.local()

    def __init__(self, call: Callable[[], Response]) -> None:
        self._call = call
        self._results: SimpleQueue[Response | Exception] = SimpleQueue()
        self.connection: HTTPConnection | None = None
        self.sock: socket.socket | None = None
        threading.Thread(target=self._run, daemon=True).start()

    @classmethod
    def uses(cls, connection: HTTPConnection) -> None:
        """Note the connection that this thread's call uses, and its socket.

        A connection drops its socket while it reads a response that ends with the connection.
        """
        call = cls._of_thread.call
        call.connection, call.sock = connection, connection.sock

    def result(self, seconds: float) -> Response:
        """Return what the call returns, or raise what it raises; raise TimeoutError after so many seconds."""
        try:
            result = self._results.get(timeout=max(seconds, 0))
        except Empty:
            sock = (self.connection.sock if self.connection else None) or self.sock
            if sock:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            raise TimeoutError from None
        if isinstance(result, Exception):
            raise result
        return result

    def _run(self) -> None:
        self._of_thread.call = self
        try:
            self._results.put(self._call())
        except Exception as error:  # the caller raises it
            self._results.put(error)


class _FinalResponse(http.client.HTTPResponse):
    """A response behind any informational ones (RFC 9110, 15.2), of which http.client skips only 100."""

    def _read_status(self) -> tuple[str, int, str]:
        line: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
        while 100 <= line[1] < 200:
            http.client.parse_headers(self.fp)
            line = super()._read_status()  # type: ignore[misc]
        return line


class _HttpConnection(HTTPConnection):
    response_class = _FinalResponse

    def request(self, *arguments: Any, **named: Any) -> None:
        _Call.uses(self)
        super().request(*arguments, **named)

    def getresponse(self) -> Any:
        _Call.uses(self)
        return super().getresponse()

    def _new_conn(self) -> socket.socket:
        # The address that the connection has, which need not be the one that the name had before.
        sock = super()._new_conn()
        address = sock.getpeername()[0]
        if is_metadata(address):
            sock.close()
            raise NewConnectionError(self, f"the url leads to {address}, a metadata or link-local address")
        if is_public(address) and not isinstance(self, HTTPSConnection):
            _report_plain_text(self.host)
        return sock


class _HttpsConnection(_HttpConnection, HTTPSConnection):
    pass


@lru_cache(maxsize=1000)
def _report_plain_text(host: str) -> None:
    """Log, once for each host, that messages to it can be read on their way."""
    log.warning("messages go over http to a public address, for others to read", extra={"host": host})


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        super().init_poolmanager(*arguments, **named)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}


def _read(response: requests.Response, max_bytes: int) -> bytes:
    content = bytearray()
    for chunk in response.iter_content(8192):
        content += chunk
        if len(content) >= max_bytes:
            break
    return bytes(content[:max_bytes])


def _cause(error: requests.exceptions.RequestException) -> Any:
    inner = error.args[0] if error.args else None
    return inner.reason if isinstance(inner, MaxRetryError) else inner


def _reason(error: NewConnectionError) -> str:
    # urllib3 puts the connection before what people want to read.
    return str(error).removeprefix(f"{error.conn}: ")
