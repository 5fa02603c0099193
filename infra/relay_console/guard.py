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


class Guard:
    """An ASGI application in front of another one.

    A link with a token opens the console once: the browser gets a cookie for it. Then `announce` is called
    with the next link, for a further browser.
    """

    def __init__(self, app: ASGIApp, port: int, announce: Callable[[str], None]) -> None:
        self._app = app
        self._host = f"127.0.0.1:{port}"
        self._announce = announce
        # Cookies do not differ by port.
        self._cookie = f"relay_console_{port}"
        self._session = secrets.token_urlsafe(32)
        self._token = secrets.token_urlsafe(32)

    @property
    def link(self) -> str:
        """The link that opens the console, once."""
        return f"http://{self._host}/?token={self._token}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an HTTP request on if it is the operator's, else refuse it."""
        request = Request(scope)
        opens = self._opens(request)
        refusal = self._refusal(request, opens)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                if opens and not refusal:
                    cookie = f"{self._cookie}={self._session}; HttpOnly; SameSite=Strict; Path=/"
                    headers.append("Set-Cookie", cookie)
            await send(message)

        if refusal:
            status, text = refusal
            await PlainTextResponse(text, status)(scope, receive, send_guarded)
            return
        if opens:
            self._token = secrets.token_urlsafe(32)
            self._announce(self.link)
        await self._app(scope, receive, send_guarded)

    def _opens(self, request: Request) -> bool:
        """Tell whether the request is the link."""
        token = request.query_params.get("token", "")
        return request.url.path == "/" and compare_digest(token.encode(), self._token.encode())

    def _refusal(self, request: Request, opens: bool) -> tuple[int, str] | None:
        """Return the status and the text with which a request is refused, or None."""
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        posts = request.method == "POST"
        if host != self._host:
            return 421, f"This console is at {self._host} only.\n"
        if (origin is None and posts) or origin not in (None, f"http://{host}"):
            return 403, "The request comes from another page.\n"
        if request.method not in ("GET", "POST"):
            return 405, "The console takes GET and POST only.\n"
        cookie = request.cookies.get(self._cookie, "")
        if not opens and not compare_digest(cookie.encode(), self._session.encode()):
            return 401, "Open the link that the console has printed last: each link opens one browser.\n"
        if posts and request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return 415, "The console takes JSON only.\n"
        length = request.headers.get("content-length", "")
        if posts and not (length.isdecimal() and int(length) <= MAX_BODY_BYTES):
            return 413, f"The request must say its length, of at most {MAX_BODY_BYTES} bytes.\n"
        return None
