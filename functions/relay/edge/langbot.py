"""One signed POST to a bot."""

import ssl
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError, SSLError

from relay.rules.bot import Bot
from relay.rules.delivery import PATHS, Answer
from relay.rules.message import Action
from relay.rules.signing import sign

CONNECT_TIMEOUT = 3
READ_TIMEOUT: dict[Action, int] = {
    "push": 10,
    # LangBot holds a sync call for 4 x its callback_timeout, 60 s by default.
    "sync": 65,
    "reset": 10,
}
MAX_ANSWER: dict[Action, int] = {
    "push": 1 << 16,
    # The reply itself; while streaming, every snapshot of it.
    "sync": 1 << 24,
    "reset": 1 << 16,
}


class NotSent(Exception):
    """LangBot cannot have got the message: no connection was made. Says why."""


class NoAnswer(Exception):
    """LangBot may have got the message, but did not answer. Says why."""


def time_needed(action: Action) -> int:
    """Seconds that an attempt may take, a second secret aside."""
    return CONNECT_TIMEOUT + READ_TIMEOUT[action] + 2


class LangBot:
    """Posts messages, over connections that stay open from one invocation to the next."""

    def __init__(self) -> None:
        self._http = requests.Session()
        adapter = HTTPAdapter(pool_maxsize=16)
        self._http.mount("https://", adapter)
        self._http.mount("http://", adapter)

    def post(self, bot: Bot, action: Action, body: bytes, idempotency_key: str) -> Answer:
        """Posts `body`, signed with the bot's newest secret and on 401 once with the next one.

        Raises NotSent and NoAnswer.
        """
        for secret in bot.inbound_secrets[:2]:
            answer = self._post(bot.url, action, body, idempotency_key, secret)
            if answer.status != 401:
                break
        return answer

    def _post(self, url: str, action: Action, body: bytes, idempotency_key: str, secret: str) -> Answer:
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
                content = _read(response, MAX_ANSWER[action], deadline)
                return Answer(response.status_code, content, response.headers.get("Retry-After"))
        except requests.exceptions.ConnectTimeout:
            raise NotSent(f"no connection within {CONNECT_TIMEOUT} s") from None
        except requests.exceptions.ConnectionError as error:
            cause = _cause(error)
            if isinstance(cause, NewConnectionError):
                raise NotSent(_reason(cause)) from None
            if isinstance(cause, SSLError):
                # Only a certificate is certain to be looked at before anything is sent.
                untrusted = isinstance(cause.args[0], ssl.SSLCertVerificationError)
                raise (NotSent if untrusted else NoAnswer)(f"TLS: {cause}") from None
            raise NoAnswer("the connection broke before the answer") from None
        except (requests.exceptions.Timeout, TimeoutError):
            raise NoAnswer(f"no answer within {READ_TIMEOUT[action]} s") from None
        except (requests.exceptions.RequestException, HTTPError) as error:
            raise NoAnswer(f"no usable answer: {type(error).__name__}") from None


def _read(response: requests.Response, most: int, deadline: float) -> bytes:
    content: bytes = b""
    for chunk in response.iter_content(8192):
        content += chunk
        if len(content) >= most:
            return content[:most]
        if time.monotonic() > deadline:
            raise TimeoutError
    return content


def _cause(error: requests.exceptions.RequestException) -> Any:
    inner = error.args[0] if error.args else None
    return inner.reason if isinstance(inner, MaxRetryError) else inner


def _reason(error: Any) -> str:
    # urllib3 puts "<object at 0x…>: " before what people want to read.
    return str(error).rpartition(">: ")[2] or type(error).__name__
