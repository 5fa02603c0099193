"""The console's HTTP application: static files, what the pages watch, and what the operator does."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from relay import InvalidMessage, InvalidState, Messages, PushQueue, Stack
from relay.domain.keys import session_key
from relay.domain.message import Action
from relay.domain.record import MessageRecord
from relay_console.session_feed import SessionFeed
from relay_console.views import message_detail, part_detail
from relay_console.watcher import Watch, Watcher

STATIC = Path(__file__).with_name("static")


class Console:
    """The console of one stack."""

    def __init__(self, stack: Stack, name: str) -> None:
        """`name` is what the page calls the stack."""
        self._stack = stack
        self._name = name
        self._watcher = Watcher(stack)

    def application(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                Route("/", self.page),
                Mount("/static", StaticFiles(directory=STATIC)),
                Route("/api/stack", self.stack),
                Route("/api/overview", self.overview),
                Route("/api/session", self.session),
                Route("/api/message", self.message),
                Route("/api/part", self.part),
                Route("/api/earlier", self.earlier, methods=["POST"]),
                Route("/api/send", self.send, methods=["POST"]),
                Route("/api/resend", self.resend, methods=["POST"]),
                Route("/api/drop", self.drop, methods=["POST"]),
            ],
            exception_handlers={
                HTTPException: _answer_error,
                InvalidMessage: _answer_error,
                InvalidState: _answer_error,
                ClientError: _answer_error,
                BotoCoreError: _answer_error,
            },
        )

    async def page(self, request: Request) -> Response:
        """Return the page."""
        return FileResponse(STATIC / "index.html")

    async def stack(self, request: Request) -> Response:
        """Say which stack this is."""
        return JSONResponse({"name": self._name, "local": self._stack.endpoint_url is not None})

    # ---------------------------------------------------------------- what the pages watch

    async def overview(self, request: Request) -> Response:
        """Send the sessions, the bots and the queues, and each change."""
        return _events(self._watcher.overview)

    async def session(self, request: Request) -> Response:
        """Send the messages and the parts of a session, and each change."""
        return _events(self._watch(request.query_params))

    async def message(self, request: Request) -> Response:
        """Return the protocol of a message."""
        feed, record = self._record(request.query_params)
        body = await run_in_threadpool(feed.body, record)
        return JSONResponse(message_detail(record, body))

    async def part(self, request: Request) -> Response:
        """Return the protocol of a part."""
        part = self._watch(request.query_params).source.part(request.query_params.get("part", ""))
        if part is None:
            raise HTTPException(404, "the session has no such part")
        return JSONResponse(part_detail(part))

    # ---------------------------------------------------------------- what the operator does

    async def earlier(self, request: Request) -> Response:
        """Read earlier messages and parts of a session."""
        watch = self._watch(await _fields(request, "session"))
        watch.source.step_back()
        watch.hurry()
        return JSONResponse({})

    async def send(self, request: Request) -> Response:
        """Send a message as a session's next."""
        fields = await _fields(request, "bot", "session_id", "action")
        sent = await run_in_threadpool(
            PushQueue(self._stack).push,
            fields["session_id"],
            fields.get("text"),
            bot=fields["bot"],
            action=cast(Action, fields["action"]),
        )
        self._watcher.session(session_key(sent.bot, sent.session_id)).hurry()
        self._watcher.overview.hurry()
        return JSONResponse(
            {"message_id": sent.message_id, "session": session_key(sent.bot, sent.session_id)}
        )

    async def resend(self, request: Request) -> Response:
        """Send a parked or unanswered message again."""
        fields = await _fields(request, "session", "message")
        _, record = self._record(fields)
        sent = await run_in_threadpool(Messages(self._stack).resend, record)
        self._hurry(fields)
        return JSONResponse({"message_id": sent.message_id if sent else None})

    async def drop(self, request: Request) -> Response:
        """Close a parked or unanswered message for good."""
        fields = await _fields(request, "session", "message", "reason")
        _, record = self._record(fields)
        await run_in_threadpool(Messages(self._stack).drop, record, fields["reason"])
        self._hurry(fields)
        return JSONResponse({})

    def _watch(self, fields: Any) -> Watch[SessionFeed]:
        return self._watcher.session(fields.get("session", ""))

    def _record(self, fields: Any) -> tuple[SessionFeed, MessageRecord]:
        feed = self._watch(fields).source
        record = feed.record(fields.get("message", ""))
        if record is None:
            raise HTTPException(404, "the session has no such message")
        return feed, record

    def _hurry(self, fields: Any) -> None:
        self._watch(fields).hurry()
        self._watcher.overview.hurry()


def _events(watch: Watch[Any]) -> Response:
    async def events() -> AsyncIterator[str]:
        async for change in watch.changes():
            yield f"data: {json.dumps(change)}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


async def _fields(request: Request, *names: str) -> dict[str, str]:
    """Return the fields of a request's JSON; those with `names` are there, and all are texts."""
    try:
        fields = await request.json()
    except ValueError:
        raise HTTPException(400, "the request is not JSON") from None
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise HTTPException(400, "the request must be a JSON object of texts")
    for name in names:
        if not fields.get(name, "").strip() and name != "bot":
            raise HTTPException(400, f"{name} is missing")
    return fields


async def _answer_error(request: Request, error: Exception) -> Response:
    status = {HTTPException: 0, InvalidMessage: 400, InvalidState: 409}.get(type(error), 502)
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code)
    return JSONResponse({"error": str(error)}, status)
