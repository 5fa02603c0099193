"""HTTP to hosts that are not trusted: a call ends in time, and leaves nothing to the next one."""

import http.client
import logging
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeVar

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError

from relay import environment
from relay.domain.addresses import is_metadata, is_public

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class HttpSession(requests.Session):
    """A session over connections that stay open, which takes a redirect for a response like any other.

    A name leads to no metadata address. A proxy, the hosts without one and the authorities to trust are those
    that the environment names when the session is made.
    """

    def __init__(self) -> None:
        super().__init__()
        # With trust_env, requests reads the environment and ~/.netrc again for each request.
        self.trust_env = False
        self.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        self._proxies = lru_cache(maxsize=100)(get_environ_proxies)
        # A cookie of one host would go to the next bot on that host.
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = _Adapter(pool_maxsize=16)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request by the proxy of its host, if it has one. Leave the body for `read`."""
        return super().send(request, **options | {"proxies": self._proxies(str(request.url)), "stream": True})

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return none: requests reads address and body of each redirect, even if it does not follow it."""


def read(response: requests.Response, max_bytes: int) -> bytes:
    """Return the first bytes of a response's body."""
    content = bytearray()
    for chunk in response.iter_content(8192):
        content += chunk
        if len(content) >= max_bytes:
            break
    return bytes(content[:max_bytes])


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """Return what `call` returns, which may use an HttpSession. Raise TimeoutError if that takes longer.

    A time-out of a socket starts again with each byte, so that a host that sends its response byte by byte
    could hold the caller until Lambda kills it. To shut the socket down ends that. But nothing ends a hanging
    lookup of a name. So the call has a thread, and the caller stops waiting for it.
    """
    mine = _Call()

    def run() -> Result:
        _of_thread.call = mine
        return call()

    running = environment.submit(run)
    try:
        return running.result(max(seconds, 0))
    except TimeoutError:
        mine.give_up()
        raise


class _Call:
    """The socket that a call uses, and whether the caller waits for it no more."""

    def __init__(self) -> None:
        self._sock: socket.socket | None = None
        self._given_up = False

    def use(self, sock: socket.socket | None) -> None:
        self._sock = sock
        if self._given_up:
            # What was not sent in time is not sent any more.
            raise TimeoutError

    def give_up(self) -> None:
        self._given_up = True
        if self._sock:
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)


_of_thread = threading.local()


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

    def connect(self) -> None:
        super().connect()
        _of_thread.call.use(self.sock)

    def request(self, *arguments: Any, **named: Any) -> None:
        _of_thread.call.use(self.sock)
        super().request(*arguments, **named)

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
