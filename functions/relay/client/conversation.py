"""Conversation: the replies of one session."""

import time
from collections.abc import Iterable, Iterator

from relay.client.circumstances import circumstances_of, own_parts
from relay.client.push_queue import SentMessage
from relay.client.stack import Stack
from relay.domain.diagnosis import diagnose
from relay.domain.event import begins_after
from relay.domain.keys import message_key, record_key, session_key
from relay.domain.part import ReplyPart
from relay.domain.record import MessageRecord, State
from relay.domain.settlement import FinalPart
from relay.domain.turn import Turn, turns
from relay.errors import MessageParked, ReplyTimeout

_POLL_INTERVAL = 0.3

_RECENT = 10
"""Parts at the end of a session that `follow` begins with and reads again each time."""


class Conversation:
    """The replies of one session. All methods raise botocore's errors.

    >>> sent = PushQueue(stack).push("ticket-1", "Where is my order?")
    >>> Conversation(stack, "ticket-1").wait(sent).text
    """

    def __init__(self, stack: Stack, session_id: str, bot: str = "default") -> None:
        self._session = session_key(bot, session_id)
        self._messages_table = stack.open_messages_table()
        self._replies_table = stack.open_replies_table()

    def parts(self, after: str = "") -> list[ReplyPart]:
        """Return the raw parts in order, with bodies from the overflow bucket; `after` is a part's key."""
        return list(map(self._replies_table.whole, self._replies_table.parts_after(self._session, after)))

    def turns(self) -> list[Turn]:
        """Return the turns of the session, each with its reply, finished or not."""
        return turns(self.parts())

    def follow(self) -> Iterator[ReplyPart]:
        """Return the last ten parts of the session and then each new one, without end.

        A part can be stored after parts with a later stamp. It is returned if those are fewer than ten.
        """
        parts: Iterable[ReplyPart] = self._replies_table.newest(self._session, _RECENT)
        recent: list[str] = []
        while True:
            for part in parts:
                if part["part"] not in recent:
                    recent = sorted([*recent, part["part"]])[-_RECENT:]
                    yield self._replies_table.whole(part)
            time.sleep(_POLL_INTERVAL)
            after = recent[0] if len(recent) == _RECENT else ""
            parts = self._replies_table.parts_after(self._session, after)

    def wait(self, message: SentMessage, timeout: float = 60) -> Turn:
        """Return the finished turn that answers `message`; wait `timeout` seconds for it.

        It is the message's own reply. If there is none by then, it is the turn that it was merged into, or a
        push that probably answers it. Some bots speak again after a final part, and nothing says so
        beforehand: `turns` has it then.

        Raise MessageParked, also if an operator dropped the message, and ReplyTimeout.
        """
        key = record_key(self._session, message_key(message.sequence_number))
        deadline = time.monotonic() + timeout
        while True:
            record = self._messages_table.read(key)
            if record and record["state"] == State.RESENT:
                key = record_key(self._session, record["resent_as"])
                continue
            if record and record["state"] == State.PARKED:
                raise MessageParked(record["reason"])
            if record and record["state"] == State.DROPPED:
                raise MessageParked(f"dropped: {record['drop_reason']}")
            if record and (turn := self._reply(record)):
                return turn
            if time.monotonic() >= deadline:
                if record and (turn := self._reply(record, likely=True)):
                    return turn
                around = circumstances_of(record, message.bot, self._messages_table, self._replies_table)
                told = diagnose(record, around, time.time()).line()
                raise ReplyTimeout(f"no finished reply within {timeout:g} s: {told}")
            time.sleep(_POLL_INTERVAL)

    def reply(self, record: MessageRecord) -> Turn | None:
        """Return the reply to a message as far as it came: its own, or the one that answered it."""
        if turn := self._reply(record, likely=True):
            return turn
        if not (own := own_parts(record, self._replies_table)):
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
            if "indirect" in record:
                began = self._messages_table.record_of_reply(reply_to, self._session)
            since = begins_after(FinalPart.of(final), began)
            parts = self._replies_table.turn_up_to(final, since) or parts
        return turns(map(self._replies_table.whole, parts))[0]

    def _final_part(self, record: MessageRecord, likely: bool) -> ReplyPart | None:
        reply_to = record.get("accepted_message_id")
        # The part is there before settle has seen it, and may be the end of more than settle saw.
        if reply_to and (final := self._replies_table.newest_final(self._session, reply_to)):
            return final
        if "answer_part" in record and (likely or not {"indirect", "probable"} & record.keys()):
            return self._replies_table.read(self._session, record["answer_part"])
        return None
