"""LangBotClient: one signed POST to a bot."""

import ssl
from collections.abc import Iterable
from functools import partial
from itertools import chain
from typing import Any

import requests
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError, SSLError

from relay import environment
from relay.adapters.bounded_http import HttpSession, read, within
from relay.domain.attempt import Response
from relay.domain.bot import Bot
from relay.domain.message import PATHS, Action
from relay.domain.signing import sign

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
        deadline = environment.monotonic() + ATTEMPT_TIMEOUT[action]
        for secret in chain(bot.inbound_secrets[:TRIED_SECRETS], further_secrets):
            call = partial(self._post, bot.endpoint(PATHS[action]), action, body, idempotency_key, secret)
            try:
                response = within(deadline - environment.monotonic(), call)
            except TimeoutError:
                raise NoResponse(f"no response within {ATTEMPT_TIMEOUT[action]} s") from None
            if response.status != 401:
                break
        return response

    def _post(self, url: str, action: Action, body: bytes, idempotency_key: str, secret: str) -> Response:
        timestamp = str(int(environment.now()))
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
            ) as response:
                content = read(response, MAX_RESPONSE_BYTES[action])
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


def _cause(error: requests.exceptions.RequestException) -> Any:
    inner = error.args[0] if error.args else None
    return inner.reason if isinstance(inner, MaxRetryError) else inner


def _reason(error: NewConnectionError) -> str:
    # urllib3 puts the connection before what people want to read.
    return str(error).removeprefix(f"{error.conn}: ")
