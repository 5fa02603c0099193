"""Conversation: the replies of one session."""

from collections.abc import Iterable, Iterator
from heapq import nlargest
from itertools import chain

from relay import environment
from relay.client.diagnosis_context import diagnose_message, own_parts
from relay.client.push_queue import SentMessage
from relay.client.stack import Stack
from relay.domain.event import begins_after
from relay.domain.keys import message_key, record_key, session_key
from relay.domain.part import ReplyPart
from relay.domain.polling import until_next_look
from relay.domain.record import MessageRecord
from relay.domain.settlement import FinalPart
from relay.domain.states import UNCERTAIN, AnswerKind, State
from relay.domain.turn import Turn, turns
from relay.errors import MessageParked, ReplyTimeout

_RECENT = 10
"""Parts at the end of a session that `follow` begins with and reads again each time."""

_LATE_EVERY = 60
"""Seconds after which `follow` looks for parts that were stored before those."""


class Conversation:
    """The replies of one session. All methods raise botocore's errors.

    >>> sent = PushQueue(stack).push("ticket-1", "Where is my order?")
    >>> Conversation(stack, "ticket-1").wait(sent).text
    """

    def __init__(self, stack: Stack, session_id: str, bot: str = "default") -> None:
        self._stack = stack
        self._session = session_key(bot, session_id)
        self._messages_table = stack.open_messages_table()
        self._replies_table = stack.open_replies_table()

    def parts(self, after: str = "") -> Iterator[ReplyPart]:
        """Return the raw parts in order, with bodies from the overflow bucket; `after` is a part's key.

        Each 1 MB is read when it is asked for, so that a session of any length takes the same memory.
        """
        return map(self._replies_table.whole, self._replies_table.parts_after(self._session, after))

    def turns(self) -> list[Turn]:
        """Return the turns of the session, each with its reply, finished or not."""
        return turns(self.parts())

    def follow(self) -> Iterator[ReplyPart]:
        """Return the last ten parts of the session and then each new one, without end.

        A part can be stored after parts with a later stamp. If those are under ten, it is returned at once,
        and otherwise within a minute or so, if they have at most 1 MB.
        """
        return chain.from_iterable(self.polls())

    def polls(self) -> Iterator[list[ReplyPart]]:
        """Return what `follow` does, by the reads of the table: what each has found, which may be nothing."""
        table, session = self._replies_table, self._session
        newest = table.newest(session, _RECENT)
        seen = set(table.keys_before(session, newest[0]["part"])) if newest else set()
        parts: Iterable[ReplyPart] = newest
        quiet = since_late = 0.0
        while True:
            found = [part for part in parts if part["part"] not in seen]
            seen.update(part["part"] for part in found)
            yield list(map(table.whole, found))
            quiet = 0 if found else quiet
            pause = until_next_look(quiet)
            environment.sleep(pause)
            quiet, since_late = quiet + pause, since_late + pause
            ends = nlargest(_RECENT, seen)
            parts = table.parts_after(session, ends[-1] if len(ends) == _RECENT else "", consistent=False)
            if since_late >= _LATE_EVERY and ends:
                since_late = 0
                earlier = table.keys_before(session, ends[-1])
                late = (table.read(session, key) for key in sorted({*earlier} - seen))
                parts = chain(filter(None, late), parts)
                seen &= {*earlier, *ends}

    def wait(self, message: SentMessage, timeout: float = 60) -> Turn:
        """Return the finished turn that answers `message`; wait `timeout` seconds for it.

        It is the message's own reply. If there is none by then, it is the turn that it was merged into, or a
        push that probably answers it. If the message was resent, it is the reply to the resend. Some bots
        speak again after a final part, and nothing says so beforehand: `turns` has it then.

        Raise MessageParked, also if an operator dropped the message before its reply came, and ReplyTimeout.
        """
        began = environment.monotonic()
        while True:
            waited = environment.monotonic() - began
            # At the last look a record that was written a moment ago counts.
            ends = waited >= timeout
            records = list(self._with_resends(message_key(message.sequence_number), consistent=ends))
            record = records[-1] if records else None
            if record and record["state"] == State.PARKED:
                raise MessageParked(record["reason"])
            if turn := self._first_reply(records):
                return turn
            if record and record["state"] == State.DROPPED:
                raise MessageParked(f"dropped: {record['drop_reason']}")
            if ends:
                if turn := self._first_reply(records, likely=True):
                    return turn
                ended = diagnose_message(self._stack, record, message.bot).line()
                raise ReplyTimeout(f"no finished reply within {round(timeout, 1):g} s: {ended}")
            environment.sleep(min(until_next_look(waited), timeout - waited))

    def _with_resends(self, key: str, consistent: bool = True) -> Iterator[MessageRecord]:
        """Return the record of a message, and those of its resends, as far as they are written."""
        while key and (record := self._messages_table.read(record_key(self._session, key), consistent)):
            yield record
            key = record.get("resent_as", "")

    def _first_reply(self, records: Iterable[MessageRecord], likely: bool = False) -> Turn | None:
        return next(filter(None, (self._reply(record, likely) for record in records)), None)

    def reply(self, record: MessageRecord) -> Turn | None:
        """Return the reply to a message, or to its resend, as far as it came; or what answered it instead."""
        if turn := self._first_reply(self._with_resends(record["message"]), likely=True):
            return turn
        own, _ = own_parts(record, self._replies_table)
        if not own:
            return None
        parts = self._replies_table.turn_up_to(own[-1], own[0]["part"])
        return turns(map(self._replies_table.whole, parts))[0]

    def _reply(self, record: MessageRecord, likely: bool = False) -> Turn | None:
        """Return the message's own reply, or the one that is `likely` its reply, if there is one."""
        final = self._final_part(record, likely)
        if final is None:
            return None
        parts = [final]
        if reply_to := final["reply_to"]:
            began: MessageRecord | None = record
            if record.get("answer_kind") == AnswerKind.MERGED:
                began, _ = self._messages_table.back_to_reply(self._session, reply_to)
            since = begins_after(FinalPart.of(final), began)
            parts = list(self._replies_table.turn_up_to(final, since)) or parts
        return turns(map(self._replies_table.whole, parts))[0]

    def _final_part(self, record: MessageRecord, likely: bool) -> ReplyPart | None:
        reply_to = record.get("accepted_message_id")
        # The part is there before settle has seen it, and may be the end of more than settle saw.
        if reply_to and (final := self._replies_table.newest_final(self._session, reply_to)):
            return final
        if "answer_part" in record and (likely or record["answer_kind"] not in UNCERTAIN):
            return self._replies_table.read(self._session, record["answer_part"])
        return None
