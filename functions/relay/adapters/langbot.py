"""LangBotClient: one signed POST to a bot."""

import ssl
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError, SSLError

from relay.domain.attempt import Response
from relay.domain.bot import Bot
from relay.domain.message import Action
from relay.domain.signing import sign

PATHS: dict[Action, str] = {"push": "", "sync": "/sync", "reset": "/reset"}

CONNECT_TIMEOUT = 3
"""Seconds."""

READ_TIMEOUT: dict[Action, int] = {
    "push": 10,
    # LangBot holds a sync call for 4 x its callback_timeout, 60 s by default.
    "sync": 65,
    "reset": 10,
}
"""Seconds."""

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
    """Return the seconds that an attempt may last, without the one with a second secret."""
    return CONNECT_TIMEOUT + READ_TIMEOUT[action] + 2


class LangBotClient:
    """Posts messages, over connections that stay open from one invocation to the next."""

    def __init__(self) -> None:
        self._http = requests.Session()
        adapter = HTTPAdapter(pool_maxsize=16)
        self._http.mount("https://", adapter)
        self._http.mount("http://", adapter)

    def post(self, bot: Bot, action: Action, body: bytes, idempotency_key: str) -> Response:
        """Post `body`, signed with the bot's newest secret and on 401 once more with the next one.

        Raise ConnectFailed and NoResponse.
        """
        for secret in bot.inbound_secrets[:2]:
            response = self._post(bot.url, action, body, idempotency_key, secret)
            if response.status != 401:
                break
        return response

    def _post(self, url: str, action: Action, body: bytes, idempotency_key: str, secret: str) -> Response:
        timestamp = str(int(time.time()))
        deadline = time.monotonic() + READ_TIMEOUT[action]
        try:
            with self._http.post(
                url + PATHS[action],
                data=body,
                headers={
                    "Content-Type": "application/json",
                    "User-Agent": "langbot-relay",
                    "X-LB-Timestamp": timestamp,
                    "X-LB-Signature": sign(secret, timestamp, body),
                    "X-LB-Idempotency-Key": idempotency_key,
                },
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT[action]),
                # A redirect would be followed as a GET without the body.
                allow_redirects=False,
                stream=True,
            ) as response:
                content = _read(response, MAX_RESPONSE_BYTES[action], deadline)
                return Response(response.status_code, content, response.headers.get("Retry-After"))
        except requests.exceptions.ConnectTimeout:
            raise ConnectFailed(f"no connection within {CONNECT_TIMEOUT} s") from None
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
            raise NoResponse(f"no response within {READ_TIMEOUT[action]} s") from None
        except (requests.exceptions.RequestException, HTTPError) as error:
            raise NoResponse(f"no usable response: {type(error).__name__}") from None


def _read(response: requests.Response, max_bytes: int, deadline: float) -> bytes:
    content: bytes = b""
    for chunk in response.iter_content(8192):
        content += chunk
        if len(content) >= max_bytes:
            return content[:max_bytes]
        if time.monotonic() > deadline:
            raise TimeoutError
    return content


def _cause(error: requests.exceptions.RequestException) -> Any:
    inner = error.args[0] if error.args else None
    return inner.reason if isinstance(inner, MaxRetryError) else inner


def _reason(error: Any) -> str:
    # urllib3 puts "<object at 0x…>: " before what people want to read.
    return str(error).rpartition(">: ")[2] or type(error).__name__
