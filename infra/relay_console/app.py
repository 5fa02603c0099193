"""The console's HTTP application: static files, what the pages show, and what the operator does."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from relay import (
    BotAdmin,
    InvalidMessage,
    InvalidState,
    MessageNotFound,
    Messages,
    PushQueue,
    SessionEraser,
    Stack,
)
from relay.domain.bot import BOT_NAME
from relay.domain.keys import bot_of, record_key, session_id_of, session_key
from relay.domain.message import Action
from relay.domain.record import MessageRecord
from relay.domain.selection import Result, Selection, waits_since
from relay.domain.states import AWAITING_OPERATOR, State
from relay_console.message_view import message_detail
from relay_console.overview import Overview
from relay_console.part_view import part_detail
from relay_console.poller import Change, Poller
from relay_console.session_feed import SessionFeed

STATIC = Path(__file__).with_name("static")

MAX_IDLE_SESSIONS = 20
"""Sessions that no page shows and that are remembered, so that to show them again costs little."""

_STATUSES = {
    InvalidMessage: 400,
    MessageNotFound: 404,
    InvalidState: 409,
    ClientError: 502,
    BotoCoreError: 502,
}
"""The HTTP status for each kind of error."""


class Console:
    """The console of one stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._messages = Messages(stack)
        self._messages_table = stack.open_messages_table()
        self._overview = Poller(Overview(stack))
        self._sessions: dict[str, Poller[SessionFeed]] = {}

    def application(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                Route("/", self.page),
                Mount("/static", StaticFiles(directory=STATIC)),
                Route("/api/stack", self.stack),
                Route("/api/changes", self.changes),
                Route("/api/search", self.search),
                Route("/api/bots", self.bots),
                Route("/api/message", self.message),
                Route("/api/diagnosis", self.diagnosis),
                Route("/api/part", self.part),
                Route("/api/earlier", self.earlier, methods=["POST"]),
                Route("/api/send", self.send, methods=["POST"]),
                Route("/api/resend", self.resend, methods=["POST"]),
                Route("/api/drop", self.drop, methods=["POST"]),
                Route("/api/cancel_message", self.cancel_message, methods=["POST"]),
                Route("/api/selected", self.selected),
                Route("/api/resend_many", self.resend_many, methods=["POST"]),
                Route("/api/drop_many", self.drop_many, methods=["POST"]),
                Route("/api/pause", self.pause, methods=["POST"]),
                Route("/api/resume", self.resume, methods=["POST"]),
                Route("/api/erasable", self.erasable),
                Route("/api/erase", self.erase, methods=["POST"]),
            ],
            exception_handlers=dict.fromkeys(_STATUSES, _error_response),
        )

    async def page(self, request: Request) -> Response:
        """Return the page."""
        return FileResponse(STATIC / "index.html")

    async def stack(self, request: Request) -> Response:
        """Say which stack this is; the local one has no name."""
        return JSONResponse({"name": None if self._stack.endpoint_url else self._stack.name})

    # ---------------------------------------------------------------- what the pages show

    async def changes(self, request: Request) -> Response:
        """Send the sessions, the bots and the queues, the session that is open, and each change.

        It is one stream, because a browser has six connections for all its windows.
        """
        pollers: dict[str, Poller[Any]] = {"overview": self._overview}
        if "session" in request.query_params:
            pollers["session"] = self._session(request.query_params)
        return StreamingResponse(_changes(pollers), media_type="application/x-ndjson")

    async def search(self, request: Request) -> Response:
        """Return the sessions that have a message with a text or an id, each with that message."""
        return JSONResponse(self._overview.source.search(request.query_params.get("text", "")))

    async def bots(self, request: Request) -> Response:
        """Return the names of the bots that the stack has."""
        return JSONResponse({"bots": await run_in_threadpool(BotAdmin(self._stack).names)})

    async def message(self, request: Request) -> Response:
        """Return the protocol of a message."""
        record = self._record(request.query_params)
        body = await run_in_threadpool(self._messages_table.body, record)
        return JSONResponse(message_detail(record, body))

    async def diagnosis(self, request: Request) -> Response:
        """Return what became of a message and what to do, as the commands say it.

        A request that names no message asks about one of the session that has no record yet.
        """
        parameters = request.query_params
        record = self._record(parameters) if "message" in parameters else None
        bot = bot_of(parameters.get("session", ""))
        return JSONResponse(vars(await run_in_threadpool(self._messages.diagnose, record, bot)))

    async def part(self, request: Request) -> Response:
        """Return the protocol of a part."""
        session = self._session(request.query_params).source
        part = await run_in_threadpool(session.whole_part, request.query_params.get("part", ""))
        if part is None:
            raise HTTPException(404, "the session has no such part")
        return JSONResponse(part_detail(part))

    # ---------------------------------------------------------------- what the operator does

    async def earlier(self, request: Request) -> Response:
        """Read earlier messages and parts of a session."""
        session = self._session(await _fields(request, "session"))
        session.source.load_earlier()
        session.poll_now()
        return JSONResponse({})

    async def send(self, request: Request) -> Response:
        """Send a message as a session's next."""
        fields = await _fields(request, "session_id", "action")
        sent = await run_in_threadpool(
            PushQueue(self._stack).push,
            fields["session_id"],
            fields.get("text"),
            bot=fields.get("bot", ""),
            action=cast(Action, fields["action"]),
        )
        session = session_key(sent.bot, sent.session_id)
        self._poll_now({"session": session})
        return JSONResponse({"message_id": sent.message_id, "session": session})

    async def resend(self, request: Request) -> Response:
        """Send a parked or unanswered message again."""
        fields = await _fields(request, "session", "message")
        record = self._record(fields)
        await run_in_threadpool(self._messages.resend, record)
        self._poll_now(fields)
        return JSONResponse({})

    async def drop(self, request: Request) -> Response:
        """Close a parked or unanswered message for good."""
        fields = await _fields(request, "session", "message", "reason")
        record = self._record(fields)
        await run_in_threadpool(self._messages.drop, record, fields["reason"])
        self._poll_now(fields)
        return JSONResponse({})

    async def cancel_message(self, request: Request) -> Response:
        """Have push drop a message that waits on the queue."""
        fields = await _fields(request, "session", "message_id")
        session, message_id = fields["session"], fields["message_id"]
        await run_in_threadpool(self._messages.cancel, session_id_of(session), message_id, bot_of(session))
        self._poll_now(fields)
        return JSONResponse({})

    async def selected(self, request: Request) -> Response:
        """Count the messages that a filter selects now."""
        return JSONResponse(await run_in_threadpool(self._count_selected, request.query_params))

    async def resend_many(self, request: Request) -> Response:
        """Send the messages again that a filter selected when they were counted."""
        fields = await _fields(request, "state", "until")
        return await self._handle_many(fields, self._messages.resend)

    async def drop_many(self, request: Request) -> Response:
        """Close the messages for good that a filter selected when they were counted."""
        fields = await _fields(request, "state", "until", "reason")
        return await self._handle_many(fields, lambda record: self._messages.drop(record, fields["reason"]))

    def _count_selected(self, fields: Mapping[str, str]) -> dict[str, Any]:
        """Return how many messages a filter selects, and the time that bounds them from those to come."""
        number, until = 0, ""
        for record in self._messages.selected(_selection(fields)):
            number, until = number + 1, waits_since(record)
        return {"n": number, "until": until}

    async def _handle_many(
        self, fields: Mapping[str, str], action: Callable[[MessageRecord], object]
    ) -> Response:
        """Resend or drop messages by `action`; return how many came to what."""
        selection = _selection(fields)

        def handle() -> Counter[Result]:
            records = self._messages.selected(selection)
            keys = (record_key(record["session"], record["message"]) for record in records)
            return Counter(one.result for one in self._messages.handle(keys, selection, action))

        results = await run_in_threadpool(handle)
        self._overview.poll_now()
        return JSONResponse({result: results[result] for result in Result})

    async def erasable(self, request: Request) -> Response:
        """Count what there is of a session."""
        return JSONResponse(vars(await run_in_threadpool(self._eraser(request.query_params).count)))

    async def erase(self, request: Request) -> Response:
        """Erase a session, whose id the operator has typed."""
        fields = await _fields(request, "session", "typed")
        if fields["typed"] != session_id_of(fields["session"]):
            raise HTTPException(400, "what is typed is not the session's id")
        erased = await run_in_threadpool(self._eraser(fields).erase)
        self._session(fields).source.forget()
        self._overview.source.forget(fields["session"])
        self._poll_now(fields)
        return JSONResponse(vars(erased))

    def _eraser(self, fields: Mapping[str, str]) -> SessionEraser:
        session = fields.get("session", "")
        return SessionEraser(self._stack, session_id_of(session), bot_of(session))

    async def pause(self, request: Request) -> Response:
        """Keep a bot's messages on the queue."""
        return await self._change_bot(request, BotAdmin.pause)

    async def resume(self, request: Request) -> Response:
        """End the pause of a bot."""
        return await self._change_bot(request, BotAdmin.resume)

    async def _change_bot(self, request: Request, change: Callable[[BotAdmin, str], object]) -> Response:
        bot, admin = (await _fields(request, "bot"))["bot"], BotAdmin(self._stack)
        if BOT_NAME.fullmatch(bot) is None or not await run_in_threadpool(admin.exists, bot):
            raise HTTPException(404, "there is no such bot")
        await run_in_threadpool(change, admin, bot)
        self._overview.poll_now()
        return JSONResponse({})

    def _session(self, fields: Mapping[str, str]) -> Poller[SessionFeed]:
        """Return the poller of the session that a request names by its key in the tables."""
        session = fields.get("session", "")
        poller = self._sessions.pop(session, None) or Poller(SessionFeed(self._stack, session))
        idle = [key for key, other in self._sessions.items() if not other.has_subscribers]
        for key in idle[:-MAX_IDLE_SESSIONS]:
            del self._sessions[key]
        self._sessions[session] = poller
        return poller

    def _record(self, fields: Mapping[str, str]) -> MessageRecord:
        record = self._session(fields).source.records.get(fields.get("message", ""))
        if record is None:
            raise HTTPException(404, "the session has no such message")
        return record

    def _poll_now(self, fields: Mapping[str, str]) -> None:
        session = self._session(fields)
        session.source.recheck()
        session.poll_now()
        self._overview.poll_now()


async def _changes(pollers: Mapping[str, Poller[Any]]) -> AsyncIterator[str]:
    """Return each change of several pollers as a line of JSON, under the name of its poller."""

    async def named(name: str, changes: AsyncIterator[Change]) -> tuple[str, AsyncIterator[Change], Change]:
        return name, changes, await anext(changes)

    waiting = {asyncio.create_task(named(name, poller.subscribe())) for name, poller in pollers.items()}
    try:
        while True:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                name, changes, change = task.result()
                waiting.add(asyncio.create_task(named(name, changes)))
                yield f"{json.dumps({name: change})}\n"
    finally:
        for task in waiting:
            task.cancel()


async def _fields(request: Request, *names: str) -> dict[str, str]:
    """Return the fields of a request's JSON; those with `names` are there, and all are texts."""
    try:
        fields = await request.json()
    except (ValueError, RecursionError):
        raise HTTPException(400, "the request is not JSON") from None
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise HTTPException(400, "the request must be a JSON object of texts")
    for name in names:
        if not fields.get(name, "").strip():
            raise HTTPException(400, f"{name} is missing")
    return fields


def _selection(fields: Mapping[str, str]) -> Selection:
    """Return the messages that the page's filter means: of a bot, if it names one, and in a state or two."""
    state = None if fields.get("state") == "awaiting_operator" else fields.get("state", "")
    if state not in (None, *AWAITING_OPERATOR):
        raise HTTPException(400, "state must be awaiting_operator, parked or unanswered")
    chosen = None if state is None else State(state)
    return Selection(fields.get("bot") or None, state=chosen, until=fields.get("until", "~"))


async def _error_response(request: Request, error: Exception) -> Response:
    status = next(status for kind, status in _STATUSES.items() if isinstance(error, kind))
    return PlainTextResponse(str(error), status)
