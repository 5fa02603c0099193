"""Conversation: the replies of one session."""

import time

from relay.client.push_queue import SentMessage
from relay.client.stack import Stack
from relay.domain.keys import message_key, record_key, session_key, stamp_of
from relay.domain.part import ReplyPart
from relay.domain.record import MessageRecord, State
from relay.domain.timestamps import MAX_UTC_OFFSET, unix_seconds, utc_text
from relay.domain.turn import Turn, turns
from relay.errors import MessageParked, ReplyTimeout

_POLL_INTERVAL = 0.3


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
        return list(self._replies_table.parts_after(self._session, after))

    def turns(self) -> list[Turn]:
        """Return the turns of the session, each with its reply, finished or not."""
        return turns(self.parts())

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
                state = record["state"] if record else "still on the push queue"
                raise ReplyTimeout(f"no finished reply within {timeout:g} s; the message is {state}")
            time.sleep(_POLL_INTERVAL)

    def _reply(self, record: MessageRecord, likely: bool = False) -> Turn | None:
        """Return the message's own reply, or the one that is `likely` its reply, if there is one."""
        if "answer_part" in record and (likely or "probable" not in record):
            return self._push(record["answer_part"])
        reply_to = record.get("answered_by") if likely else record.get("accepted_message_id")
        return self._turn(record, reply_to)

    def _push(self, key: str) -> Turn | None:
        parts = self._replies_table.parts_after(self._session, stamp_of(key))
        return next((turns([part])[0] for part in parts if part["part"] == key), None)

    def _turn(self, record: MessageRecord, reply_to: str | None) -> Turn | None:
        """Return the turn `reply_to` of the message, if no more of it is expected."""
        if reply_to is None:
            return None
        # No part of the reply can have an earlier stamp, wherever LangBot's host is. If the turn merged later
        # messages, its final part is later too.
        since = utc_text(unix_seconds(record["delivered_at"]) - MAX_UTC_OFFSET)
        own = [part for part in self.parts(since) if part["reply_to"] == reply_to]
        ended = own and (own[-1]["is_final"] or "unfinished" in record)
        return turns(own)[0] if ended else None
