"""Messages: what became of messages, and what an operator can do about them."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice, takewhile
from operator import itemgetter

from relay import environment
from relay.client.diagnosis_context import diagnose_message
from relay.client.push_queue import SentMessage
from relay.client.stack import Stack
from relay.domain.admission import CANCELLED, RECORD_DELAY, is_under_way
from relay.domain.diagnosis import Diagnosis, command
from relay.domain.keys import RecordKey, is_message_id, is_message_key, record_key, session_key
from relay.domain.message import QUEUE_RETENTION, for_bot, parse_message
from relay.domain.part import ReplyPart
from relay.domain.record import MessageRecord
from relay.domain.selection import Handled, Result, Selection
from relay.domain.states import AWAITING_OPERATOR, State
from relay.errors import InvalidMessage, InvalidState, MessageNotFound

MAX_BATCH = 100
"""Records that DynamoDB reads at a time."""


class Messages:
    """The records of messages. A command that was interrupted can be given again: it ends the same.

    All methods raise botocore's errors.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._messages_table = stack.open_messages_table()
        self._awaiting_index = stack.open_awaiting_index()
        self._message_queue = stack.open_message_queue()
        self._admission_control = stack.open_admission_control()

    def awaiting_operator(
        self, session_id: str | None = None, bot: str | None = None
    ) -> Iterator[MessageRecord]:
        """Return the records of the parked and unanswered messages, the oldest first.

        They are those of all sessions and bots, or of the ones named.
        """
        selection = Selection(bot, session_id)
        records = map(self._messages_table.read, self._awaiting_index.awaiting_operator(selection))
        # The index is a moment behind.
        return (record for record in records if record and selection.has(record))

    def selected(self, selection: Selection) -> Iterator[MessageRecord]:
        """Return the selected parked and unanswered messages, the oldest first, a moment old.

        They are read by the hundred: this is for many.
        """
        keys = self._awaiting_index.awaiting_operator(selection)
        while batch := list(islice(keys, MAX_BATCH)):
            records = {_ids(record): record for record in self._messages_table.read_many(batch)}
            for key in batch:
                # DynamoDB may leave some out.
                record = records.pop(_ids(key), None) or self._messages_table.read(key)
                if record and selection.has(record):
                    yield record

    def handle(
        self, keys: Iterable[RecordKey], selection: Selection, action: Callable[[MessageRecord], object]
    ) -> Iterator[Handled]:
        """Resend or drop each message that is still selected, in queue order; say of each what came of it.

        `action` is called with its record, and returns something true if it has done it. If another operator
        or a late reply was faster, the message is left as it is. So an interrupted run can be repeated.
        """
        # The order of parking is not that of a session: an unanswered message has waited for its deadline.
        for key in sorted(keys, key=itemgetter("message")):
            record = self._messages_table.read(key)
            result, fault = Result.LEFT, ""
            if record and selection.has(record):
                try:
                    result = Result.DONE if action(record) else Result.LEFT
                except InvalidState:
                    pass
                except InvalidMessage as error:
                    result, fault = Result.REFUSED, str(error)
            yield Handled(key, result, fault)

    def waiting(self, session_id: str, bot: str = "default") -> list[MessageRecord]:
        """Return the records of a session's messages that wait for a reply or an operator, in queue order."""
        # No message that names no bot waits for a reply.
        open_messages = self._awaiting_index.open_messages(session_key(bot, session_id)) if bot else ()
        found = [*map(self._messages_table.read, open_messages), *self.awaiting_operator(session_id, bot)]
        return sorted(filter(None, found), key=lambda record: record["message"])

    def of_session(self, session_id: str, bot: str = "default") -> Iterator[MessageRecord]:
        """Return the records of a session's messages, in queue order.

        If no session can be read from a message, its session is its message group and its bot is "".
        """
        return self._messages_table.of_session(session_key(bot, session_id))

    def newest_first(self, session_id: str, bot: str = "default") -> Iterator[MessageRecord]:
        """Return the records of a session's messages, the last one first."""
        return self._messages_table.newest_first(session_key(bot, session_id))

    def find(
        self, session_id: str, message_id: str, bot: str = "default", after: str = ""
    ) -> MessageRecord | None:
        """Return the record of a session's message, by its id or its key, or None if there is none.

        Only messages behind the one with the key `after` are searched.
        """
        session = session_key(bot, session_id)
        if is_message_key(message_id):
            return self._messages_table.read(record_key(session, message_id))
        newest_first = self._messages_table.newest_first(session, page=100)
        later = takewhile(lambda record: record["message"] > after, newest_first)
        return next((record for record in later if record["message_id"] == message_id), None)

    def known(self, session_id: str, message_id: str, bot: str = "default") -> MessageRecord:
        """Return the record that `find` finds. Raise MessageNotFound."""
        if record := self.find(session_id, message_id, bot):
            return record
        raise self.not_found(session_id, bot, message_id)

    def not_found(self, session_id: str, bot: str, message_id: str = "") -> MessageNotFound:
        """Return the error for a message without a record, or for a session without one."""
        name = f"session {session_id} of bot {bot!r}"
        if message_id:
            name = f"message {message_id} of {name}"
        text = f"{name} has no record, and SQS does not tell what is on a queue. "
        if not self.is_known(bot):
            text += f"No message for a bot {bot!r} was tried yet, so look at its name. "
        if next(self.awaiting_operator(session_id), None):
            text += (
                f"Others wait for an operator in a session of that name: {command('waiting', session_id)}. "
            )
        printed = "that id" if message_id else "the id of a message to it"
        return MessageNotFound(
            f"{text}If `relay push` printed {printed}, {self.diagnose(None, bot).line()}; else there is none"
        )

    def diagnose(self, record: MessageRecord | None, bot: str) -> Diagnosis:
        """Return what became of a message that was sent, and what to do; `record` is None without one yet."""
        return diagnose_message(self._stack, record, bot)

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
        _check_can_be_resent(record)
        body = self._messages_table.find_body(record)
        if body is None:
            # An erasure that broke off has left the record behind.
            raise InvalidMessage("its body cannot be read from the overflow bucket")
        parse_message(body)
        resend = self._message_queue.resend(record)
        try:
            self._messages_table.mark_resent(_key(record), resend.key, environment.now())
        except InvalidState:
            now = self._messages_table.read(_key(record))
            if now and now["state"] == State.RESENT:
                return None
            raise
        return SentMessage(record["bot"], record["session_id"], resend.message_id, resend.sequence_number)

    def resend_to(self, record: MessageRecord, bot: str) -> SentMessage:
        """Send a parked or unanswered message to another bot, and close it with the new id as the reason.

        If it is run again within five minutes, it is the same message. Raise as `resend` does.
        """
        _check_can_be_resent(record)
        message, body = for_bot(self.body(record), bot)
        sent = self._message_queue.send(message.session, body, f"{record['message_id']}-{bot}")
        self.drop(record, f"sent to bot {bot!r} as {sent.message_id}")
        return SentMessage(bot, message.session_id, sent.message_id, sent.sequence_number)

    def cancel(self, session_id: str, message_id: str, bot: str = "default") -> MessageRecord | None:
        """Have push drop a message that waits on the queue, when its turn comes.

        From then on push does not send it. If an attempt at the bot is under way, which may be that of the
        message, wait for its end. Return the message's record, or None if it has none yet: SQS does not tell
        whether the message is on the queue. Raise InvalidState if it is not, and MessageNotFound.
        """
        # Read before the search that finds nothing: a record that is written later comes behind it.
        newest = next(self.newest_first(session_id, bot), None)
        record = self.find(session_id, message_id, bot)
        if record is None and not is_message_id(message_id):
            raise self.not_found(session_id, bot, message_id)
        if _is_cancelled(record):
            return record
        name, now = record["message_id"] if record else message_id, self._stack.now()
        before = self._admission_control.cancel(bot, name, now, now + QUEUE_RETENTION)
        while True:
            under_way = is_under_way(before, self._messages_table.bot_state(bot), self._stack.now())
            # The record of an attempt is written behind its end.
            environment.sleep(RECORD_DELAY)
            if record:
                record = self._messages_table.read(_key(record))
            else:
                record = self.find(session_id, message_id, bot, after=newest["message"] if newest else "")
            try:
                if _is_cancelled(record) or not under_way:
                    return record
            except InvalidState:
                self._admission_control.cancel(bot, name, now, now)
                raise

    def drop(self, record: MessageRecord, reason: str) -> bool:
        """Close a parked or unanswered message for good, with a reason; return False if it was closed before.

        Raise InvalidState.
        """
        if self._messages_table.drop(_key(record), reason, environment.now()):
            return True
        state = (self._messages_table.read(_key(record)) or record)["state"]
        if state != State.DROPPED:
            raise InvalidState(f"the message is {state}: only a parked or unanswered one can be dropped")
        return False


def _is_cancelled(record: MessageRecord | None) -> bool:
    """Tell whether push has dropped a message because it was cancelled; None is one without a record.

    Raise InvalidState if the message has left the queue otherwise.
    """
    if record is None or record["state"] == State.RETRYING:
        return False
    if record["state"] != State.DROPPED or record["drop_reason"] != CANCELLED:
        raise InvalidState(
            f"the message is {record['state']}: only one that waits on the queue can be cancelled"
        )
    return True


def _check_can_be_resent(record: MessageRecord) -> None:
    if record["state"] not in AWAITING_OPERATOR:
        raise InvalidState(f"the message is {record['state']}: only a parked or unanswered one can be resent")


def _ids(key: RecordKey | MessageRecord) -> tuple[str, str]:
    return key["session"], key["message"]


def _key(record: MessageRecord) -> RecordKey:
    return record_key(record["session"], record["message"])
