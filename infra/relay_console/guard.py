"""Guard: only the operator's own browser reaches the console, and no text on its page can run as a script."""

import secrets
from collections.abc import Callable
from hmac import compare_digest

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 2 << 20
"""Bytes of a request's body: a message of the full 1 MiB, escaped in JSON, and some."""

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        # The pictures in a reply are in the page itself.
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # No text becomes a script: there is no policy that could make it one.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


OPEN_PATH = "/api/open"
"""A POST with the token of the link gets the secret for all other requests."""


class Guard:
    """An ASGI application in front of another one.

    The page and the static files hold no data, and need no secret. Everything else needs the secret of this
    console in a header; a cookie would go to every port of the host. A page gets the secret once, for the
    token in its link. Then `announce` is called with the next link, for a further browser.
    """

    def __init__(self, app: ASGIApp, port: int, announce: Callable[[str], None]) -> None:
        self._app = app
        self._host = f"127.0.0.1:{port}"
        self._announce = announce
        self._secret = secrets.token_urlsafe(32)
        self._token = secrets.token_urlsafe(32)

    @property
    def link(self) -> str:
        """The link that opens the console, once."""
        return f"http://{self._host}/?token={self._token}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an HTTP request on if it is the operator's, else refuse it."""
        request = Request(scope)
        opens = scope["path"] == OPEN_PATH and _shows(request, self._token)
        refusal = self._refusal(request, opens)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        if refusal:
            status, text = refusal
            await PlainTextResponse(text, status)(scope, receive, send_guarded)
        elif opens:
            self._token = secrets.token_urlsafe(32)
            self._announce(self.link)
            await PlainTextResponse(self._secret)(scope, receive, send_guarded)
        else:
            await self._app(scope, receive, send_guarded)

    def _refusal(self, request: Request, opens: bool) -> tuple[int, str] | None:
        """Return the status and the text with which a request is refused, or None."""
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        posts, path = request.method == "POST", request.scope["path"]
        if host != self._host:
            return 421, f"This console is at {self._host} only.\n"
        if (origin is None and posts) or origin not in (None, f"http://{host}"):
            return 403, "The request comes from another page.\n"
        if request.method not in ("GET", "POST"):
            return 405, "The console takes GET and POST only.\n"
        is_public = path == "/" or path.startswith("/static/")
        if not (is_public or opens or _shows(request, self._secret)):
            return 401, "Open the link that the console has printed last: each link opens one browser.\n"
        length = request.headers.get("content-length", "")
        if posts and not (length.isdecimal() and int(length) <= MAX_BODY_BYTES):
            return 413, f"The request must say its length, of at most {MAX_BODY_BYTES} bytes.\n"
        return None


def _shows(request: Request, secret: str) -> bool:
    header = request.headers.get("authorization", "")
    return compare_digest(header.encode(), f"Bearer {secret}".encode())
