"""Messages: what became of messages, and what an operator can do about them."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from relay import environment
from relay.client.diagnosis_context import context_of
from relay.client.push_queue import SentMessage
from relay.client.stack import Stack
from relay.domain.diagnosis import Diagnosis, diagnose
from relay.domain.keys import RecordKey, record_key, session_key
from relay.domain.message import parse_message
from relay.domain.part import ReplyPart
from relay.domain.record import MessageRecord
from relay.domain.states import AWAITING_OPERATOR, State
from relay.domain.timestamps import unix_seconds
from relay.errors import InvalidState, MessageNotFound


class Messages:
    """The records of messages. A command that was interrupted can be given again: it ends the same.

    All methods raise botocore's errors.
    """

    def __init__(self, stack: Stack) -> None:
        self._messages_table = stack.open_messages_table()
        self._replies_table = stack.open_replies_table()
        self._awaiting_index = stack.open_awaiting_index()
        self._logs = stack.open_logs()
        self._message_queue = stack.open_message_queue()

    def awaiting_operator(self) -> Iterator[MessageRecord]:
        """Return the records of the parked and unanswered messages of all sessions, the oldest first."""
        records = map(self._messages_table.read, self._awaiting_index.awaiting_operator())
        # The index is a moment behind.
        return (record for record in records if record and record["state"] in AWAITING_OPERATOR)

    def of_session(self, session_id: str, bot: str = "default") -> Iterator[MessageRecord]:
        """Return the records of a session's messages, in queue order.

        If no session can be read from a message, its session is its message group and its bot is "".
        """
        return self._messages_table.of_session(session_key(bot, session_id))

    def newest_first(self, session_id: str, bot: str = "default") -> Iterator[MessageRecord]:
        """Return the records of a session's messages, the last one first."""
        return self._messages_table.newest_first(session_key(bot, session_id))

    def find(self, session_id: str, message_id: str, bot: str = "default") -> MessageRecord | None:
        """Return the record of one of a session's last thousand messages, by its id or its key.

        None if there is none: the message is on the push queue and was not tried yet, or does not exist.
        """
        records = islice(self.newest_first(session_id, bot), 1000)
        return next((r for r in records if message_id in (r["message_id"], r["message"])), None)

    def known(self, session_id: str, message_id: str, bot: str = "default") -> MessageRecord:
        """Return the record that `find` finds. Raise MessageNotFound."""
        if record := self.find(session_id, message_id, bot):
            return record
        raise MessageNotFound(
            f"message {message_id} of session {session_id} of bot {bot!r} has no record: "
            f"there is no such message, or {self.diagnose(None, bot).line()}"
        )

    def diagnose(self, record: MessageRecord | None, bot: str) -> Diagnosis:
        """Return what became of a message, and what to do; `record` is None if nothing was written yet."""
        if record and record["state"] == State.RESENT:
            resend = self._messages_table.read(record_key(record["session"], record["resent_as"]))
            ended = self.diagnose(resend, bot)
            name = resend["message_id"] if resend else record["resent_as"]
            return replace(ended, summary=f"it was sent again as {name}, and {ended.summary}")
        context = context_of(record, bot, self._messages_table, self._replies_table)
        if record and record["state"] in (State.DELIVERED, State.UNANSWERED) and not context.parts:
            # A callback can be faster than the record of its message.
            since = unix_seconds(record["queued_at"])
            context = replace(context, refused=self._logs.refusals(bot, since))
        return diagnose(record, context, environment.now())

    def begun_by(self, part: ReplyPart) -> MessageRecord | None:
        """Return the record of the message that a part's turn answers."""
        return self._messages_table.back_to_reply(part["session"], part["reply_to"])[0]

    def is_known(self, bot: str) -> bool:
        """Tell whether a message was sent to a bot before."""
        return bool(self._messages_table.bot_state(bot).item)

    def body(self, record: MessageRecord) -> str:
        """Return the message of a record, as it was queued."""
        return self._messages_table.body(record)

    def resend(self, record: MessageRecord) -> SentMessage | None:
        """Send a parked or unanswered message again, as its session's next; None if it was resent before.

        It is sent once, even if several operators ask for it: push checks the record. Raise InvalidState, and
        InvalidMessage for a message that would only be parked again.
        """
        if record["state"] == State.RESENT:
            return None
        if record["state"] not in AWAITING_OPERATOR:
            raise InvalidState(
                f"the message is {record['state']}: only a parked or unanswered one can be resent"
            )
        parse_message(self.body(record))
        resend = self._message_queue.resend(record)
        try:
            self._messages_table.mark_resent(_key(record), resend.key, environment.now())
        except InvalidState:
            now = self._messages_table.read(_key(record))
            if now and now["state"] == State.RESENT:
                return None
            raise
        return SentMessage(record["bot"], record["session_id"], resend.message_id, resend.sequence_number)

    def drop(self, record: MessageRecord, reason: str) -> None:
        """Close a parked or unanswered message for good, with a reason. Raise InvalidState."""
        if not self._messages_table.drop(_key(record), reason, environment.now()):
            state = (self._messages_table.read(_key(record)) or record)["state"]
            if state != State.DROPPED:
                raise InvalidState(f"the message is {state}: only a parked or unanswered one can be dropped")


def _key(record: MessageRecord) -> RecordKey:
    return record_key(record["session"], record["message"])
