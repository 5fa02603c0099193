"""The command tail: what a session says, and what becomes of its messages, as it comes."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, cast

import relay
from relay.domain.keys import record_key, session_key
from relay.domain.part import ReplyPart
from relay.domain.record import MessageRecord
from relay.domain.segments import readable
from relay.domain.states import AWAITING_OPERATOR, AnswerKind, State
from relay.domain.timestamps import UtcText, time_of, unix_seconds, utc_text
from relay_cli.arguments import SESSION
from relay_cli.commands.show import said
from relay_cli.terminal import complain, one_line, say, say_json, truncate

LAST = 10
"""Messages at the end of a session that are read each time; of earlier ones, one that waits."""

POLL_INTERVAL = 1
"""Seconds between two reads of the messages."""

SILENT_AFTER = 60
"""Seconds without a part after which tail reports that a message waits for its reply."""


def add_commands(commands: Any) -> None:
    """Add the parser of the command."""
    tail = commands.add_parser(
        "tail",
        parents=[SESSION],
        help="print a session's last messages and replies, and what waits; follow it until Ctrl-C",
    )
    tail.set_defaults(run=run_tail)


def run_tail(stack: relay.Stack, options: argparse.Namespace) -> None:
    """Print what a session says and what becomes of its messages, until interrupted.

    For programs, print the parts.
    """
    if not relay.Messages(stack).is_known(options.bot):
        complain(f"relay: no message was sent to the bot {options.bot!r} yet; waiting for the first reply")
    conversation = relay.Conversation(stack, options.session, options.bot)
    if options.json:
        for part in conversation.follow():
            say_json(part)
    transcript, ahead = Transcript(stack, options), stack.now() - time.time()
    for parts in conversation.polls():
        for told in transcript.lines(parts, time.time() + ahead):
            say(told)


class Transcript:
    """The lines for people, of which each is told once. Only what a session says is cut to the terminal."""

    def __init__(self, stack: relay.Stack, options: argparse.Namespace) -> None:
        self._messages = relay.Messages(stack)
        self._messages_table = stack.open_messages_table()
        self._session, self._bot = options.session, options.bot
        self._end = record_key(session_key(self._bot, self._session), "~")
        self._told: dict[str, tuple[object, ...]] = {}
        """What was told last of each message, by its key."""
        self._waiting: dict[str, None] = {}
        """The keys of the messages whose state may still change."""
        self._heard: dict[str, UtcText] = {}
        """When the last part of each turn came."""
        self._turn = ""
        """The turn that the line before is about, or the key of its message."""
        self._read_at = 0.0
        self._width = os.get_terminal_size().columns if sys.stdout.isatty() else None

    def lines(self, parts: list[ReplyPart], now: float) -> Iterator[str]:
        """Return the lines of new parts, and of what became of the messages meanwhile, in order."""
        told = [(part["received_at"], self._part(part)) for part in parts]
        self._heard |= {part["reply_to"]: part["received_at"] for part in parts}
        if now - self._read_at >= POLL_INTERVAL:
            # At first, a message of before these parts is told only if it needs attention.
            first = parts[0]["received_at"] if len(parts) == LAST and not self._read_at else ""
            self._read_at = now
            for record in self._read():
                is_new = record["message"] not in self._told
                matters = self._attention(record, now)
                if not is_new or matters or record["queued_at"] >= first:
                    at = record["queued_at"] if is_new else utc_text(now)
                    told.append((at, self._message(record, matters)))
                else:
                    self._told[record["message"]] = ()
        for _, lines in sorted(told, key=lambda one: one[0]):
            yield from lines

    def _read(self) -> Iterator[MessageRecord]:
        """Return the session's last messages, and in turn one of the earlier ones that wait."""
        newest = self._messages_table.messages_before(self._end, LAST)
        known = {record["message"] for record in newest}
        if older := next((key for key in self._waiting if key not in known), None):
            del self._waiting[older]
            if record := self._messages.find(self._session, older, self._bot):
                newest.insert(0, record)
        for record in newest:
            if record["state"] in (State.RETRYING, State.DELIVERED, *AWAITING_OPERATOR):
                self._waiting[record["message"]] = None
            else:
                self._waiting.pop(record["message"], None)
            yield record

    def _attention(self, record: MessageRecord, now: float) -> tuple[object, ...]:
        """Return what tail reports of a message beside its text and its reply, () if nothing."""
        match record["state"]:
            case State.RETRYING:
                return State.RETRYING, record["last_error"]
            case State.DELIVERED:
                heard = self._heard.get(record.get("accepted_message_id", ""), record["delivered_at"])
                is_silent = now - unix_seconds(heard) > SILENT_AFTER
                return (State.DELIVERED, heard) if record["expect_reply"] and is_silent else ()
            case State.ANSWERED:
                kind = record["answer_kind"]
                return () if kind in (AnswerKind.OWN, AnswerKind.PUSH) else (State.ANSWERED, kind)
        return (record["state"],)

    def _message(self, record: MessageRecord, matters: tuple[object, ...]) -> Iterator[str]:
        before = self._told.get(record["message"])
        self._told[record["message"]] = matters
        turn = record.get("accepted_message_id", record["message"])
        if before is None or (matters not in ((), before) and self._turn not in (turn, record["message"])):
            yield self._said(record)
        if matters not in ((), before):
            at = record.get(f"{record['state']}_at", record["updated_at"])
            diagnosis = self._messages.diagnose(record, self._bot)
            yield f"{time_of(cast(UtcText, at))}    !  {record['state']}: {one_line(diagnosis.line())}"
            self._turn = turn
        elif before is None:
            self._turn = turn

    def _part(self, part: ReplyPart) -> Iterator[str]:
        if part["reply_to"] != self._turn:
            self._turn = part["reply_to"]
            if self._turn and (record := self._messages.begun_by(part)):
                self._told.setdefault(record["message"], ())
                yield self._said(record)
        yield truncate(line(part), self._width)

    def _said(self, record: MessageRecord) -> str:
        return truncate(f"{time_of(record['queued_at'])}    >  {said(self._messages, record)}", self._width)


def line(part: ReplyPart) -> str:
    """Return a part for people, on one line; the last one of a reply is marked."""
    end = "  ■" if part["is_final"] else ""
    text = one_line(readable(part["message"]))
    return f"{time_of(part['created_at'])}  {part['sequence']:>3}  {text}{end}"
