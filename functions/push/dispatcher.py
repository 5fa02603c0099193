"""Delivers one message: parses it, reads its record, sends it, concludes, writes the record."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice

from botocore.exceptions import BotoCoreError, ClientError

from relay import environment
from relay.adapters.awaiting_index import AwaitingIndex
from relay.adapters.bot_registry import UnknownBot
from relay.adapters.langbot import max_attempt_seconds
from relay.adapters.message_queue import MessageQueue
from relay.adapters.messages_table import MessagesTable
from relay.adapters.replies_table import RepliesTable
from relay.domain.admission import CANCELLED, CANCELLED_KEPT, PAUSED_TOO_LONG, Deferred, slot_poll_delay
from relay.domain.attempt import Attempt, Delivery, Outcome, Verdict, idempotency_key
from relay.domain.keys import is_message_key, message_key, record_key
from relay.domain.message import Message, QueuedMessage, parse_message, parse_session_body
from relay.domain.part import VerifiedCallback, parse_part, reply_part, sync_reply_body
from relay.domain.record import MessageRecord, dropped_record, history_of, key_of, parked_record
from relay.domain.retry import Conclusion, Policy, conclude, conclude_failure
from relay.domain.segments import collapse
from relay.domain.states import State
from relay.domain.timestamps import Clock, utc_text
from relay.errors import InvalidMessage, InvalidState
from relay.log_fields import error_fields, error_text
from relay.metrics import UNKNOWN_BOT, Metric, Metrics
from relay.sender import Sender

log = logging.getLogger(__name__)

RETRY_AFTER_ERROR = 10
"""Seconds until a message is delivered again whose record could not be written."""

NEWEST_CHECKED = 5
"""Messages at the end of a session that may be too new for the index of those that wait."""

WAITED_TOO_LONG = "it could not be sent before it reached the queue's retention limit"
"""The reason of a message that is parked because its bot or its session was never free."""

_LOG_LEVELS = {State.RETRYING: logging.WARNING, State.DROPPED: logging.WARNING, State.PARKED: logging.ERROR}
_VERDICTS = {
    Verdict.ACCEPTED: Metric.DELIVERED,
    Verdict.REFUSED: Metric.REFUSED,
    Verdict.NOT_SENT: Metric.REFUSED,
    Verdict.UNKNOWN: Metric.UNKNOWN,
}


@dataclass(frozen=True)
class Dispatcher:
    """Sends messages to their bots and records what became of each."""

    sender: Sender
    messages_table: MessagesTable
    awaiting_index: AwaitingIndex
    replies_table: RepliesTable
    message_queue: MessageQueue
    policy: Policy
    metrics: Metrics
    clock: Clock = environment.now

    def deliver(self, queued: QueuedMessage, seconds_left: Callable[[], float]) -> bool:
        """Deliver a message; return whether it stays in the queue. It is visible again when it must be."""
        try:
            retry_in = self._deliver(queued, seconds_left)
        except Exception as error:  # any error: what cannot be recorded is tried again
            self._log_error("a message could not be handled", queued, error)
            self._count_if_late(Delivery(queued))
            retry_in = RETRY_AFTER_ERROR
        if retry_in is None:
            return False
        try:
            self.message_queue.set_visibility(queued, retry_in)
        except (ClientError, BotoCoreError) as error:
            # It is delivered again all the same, when its visibility timeout is over.
            self._log_error("the visibility of a message could not be set", queued, error)
        return True

    def _deliver(self, queued: QueuedMessage, seconds_left: Callable[[], float]) -> int | None:
        """Return the seconds until the message must be delivered again, or None if it leaves the queue."""
        delivery, history_is_known = Delivery(queued), False
        try:
            message = parse_session_body(queued.body) if queued.resend_of else parse_message(queued.body)
            delivery = Delivery(queued, message)
            record = self.messages_table.read(key_of(queued, message)) if queued.receive_count > 1 else None
            if record and record["state"] != State.RETRYING:
                return None
            if queued.resend_of:
                queued = self._with_body(queued, message, record)
                message = parse_message(queued.body)
            delivery, history_is_known = Delivery(queued, message, history_of(queued, record)), True
            conclusion = self._attempt(delivery, message, seconds_left)
        except (InvalidMessage, UnknownBot) as fault:
            conclusion = self._park(delivery, str(fault))
        except InvalidState as fault:
            conclusion = Conclusion(dropped_record(delivery, str(fault), self.clock(), self.policy.keep_days))
        except Exception as error:
            conclusion = self._record_unforeseen(delivery, error)
        retry_in = conclusion.retry_in
        if conclusion.record:
            retry_in = self._write_record(conclusion, conclusion.record, delivery, history_is_known)
            if conclusion.record.get("drop_reason") == CANCELLED:
                self._end_cancellation(conclusion.record)
        if retry_in is not None:
            self._count_if_late(delivery)
        return retry_in

    def _attempt(self, delivery: Delivery, message: Message, seconds_left: Callable[[], float]) -> Conclusion:
        """Make an attempt, if one may be made now. Raise as `Sender.send` does."""
        queued, history = delivery.queued, delivery.history
        if message.reply_to_task and not self.policy.ends_tasks:
            raise InvalidMessage("reply_to_task: the stack's parameter TaskOwners is empty")
        if seconds_left() < max_attempt_seconds(message.action):
            return Conclusion(retry_in=0)
        if queued.reads_secret:
            self.sender.bot_registry.refresh(message.bot)
        if self._waits_for_its_session(message, queued):
            return self._wait(
                delivery, slot_poll_delay(queued.receive_count, environment.chance()), WAITED_TOO_LONG
            )
        key = idempotency_key(queued.message_id, history)
        attempt = self.sender.send(message, queued.message_id, key, history, is_test=queued.reads_secret)
        if isinstance(attempt, Deferred):
            poll = slot_poll_delay(queued.receive_count, environment.chance())
            seconds = poll if attempt.full else math.ceil(attempt.seconds)
            return self._wait(delivery, seconds, PAUSED_TOO_LONG if attempt.paused else WAITED_TOO_LONG)
        if attempt.outcome.verdict is not Verdict.ACCEPTED:
            delivery = self._excused(delivery)
        now = self.clock()
        conclusion = conclude(delivery, attempt, now, self.policy)
        if attempt.outcome.reply and conclusion.record:
            conclusion.record["answer_part"] = self._store_sync_reply(attempt, now)
        return conclusion

    def _waits_for_its_session(self, message: Message, queued: QueuedMessage) -> bool:
        """Tell whether a message must not be sent while another one of its session is open, and one is."""
        if not self.sender.one_at_a_time(message):
            return False
        newest = islice(self.messages_table.newest_first(message.session), NEWEST_CHECKED)
        return any(record.get("awaiting") == message.bot for record in newest) or any(
            self.awaiting_index.open_messages(message.session)
        )

    def _end_cancellation(self, record: MessageRecord) -> None:
        """Make room for others to be cancelled, as soon as SQS cannot deliver this message any more."""
        now = self.clock()
        self.sender.admission_control.cancel(record["bot"], record["message_id"], now, now + CANCELLED_KEPT)

    def _excused(self, delivery: Delivery) -> Delivery:
        """Return a delivery with what a pause of its bot excuses, as far as the bot's state can be read."""
        if delivery.message is None:
            return delivery
        try:
            state = self.sender.admission_control.state(delivery.message.bot)
        except (ClientError, BotoCoreError) as error:
            self._log_error("the state of a bot could not be read", delivery.queued, error)
            return delivery
        return replace(delivery, excused_until=state.excused_until(self.clock()))

    def _count_if_late(self, delivery: Delivery) -> None:
        """Count a message that stays on the queue and needs an operator."""
        queued, now = delivery.queued, self.clock()
        if queued.is_late(now) and queued.is_late(now, self._excused(delivery).excused_until):
            self.metrics.count(Metric.LATE_MESSAGES)

    def _wait(self, delivery: Delivery, seconds: int, reason: str) -> Conclusion:
        """Leave a message on the queue for so long, as it is. Park it for `reason` before SQS deletes it."""
        if self.clock() <= delivery.queued.must_leave_at():
            return Conclusion(retry_in=seconds)
        return self._park(delivery, reason, delivery.message.bot if delivery.message else UNKNOWN_BOT)

    def _park(self, delivery: Delivery, reason: str, bot: str = UNKNOWN_BOT) -> Conclusion:
        """Park a message without an attempt."""
        self.metrics.count(Metric.PARKED, bot=bot)
        return Conclusion(parked_record(delivery, reason, reason, self.clock(), self.policy.keep_days))

    def _record_unforeseen(self, delivery: Delivery, error: Exception) -> Conclusion:
        """Count an error that was not foreseen as an attempt that failed: it must end in a state as well."""
        self._log_error("a message could not be tried", delivery.queued, error)
        outcome = Outcome(Verdict.UNKNOWN, error_text(error))
        return conclude_failure(self._excused(delivery), outcome, self.clock(), self.policy)

    def _write_record(
        self, conclusion: Conclusion, record: MessageRecord, delivery: Delivery, history_is_known: bool
    ) -> int | None:
        """Write down what became of a message; return as `_deliver` does."""
        # A record that could not be read says more of earlier attempts than this one can.
        if_new = record["state"] == State.RETRYING and not history_is_known
        written = self.messages_table.write(record, if_new)
        # If a concurrent delivery ended the message or used more keys, keep its record.
        current = record if written else self.messages_table.read(key_of(delivery.queued, delivery.message))
        waited = self.clock() - delivery.queued.queued_at
        if conclusion.attempt:
            self._count_metrics(conclusion.attempt, record, waited)
        self._log(conclusion, record, written, waited)
        if current is None or current["state"] != State.RETRYING:
            return None
        # If another delivery was refused under the key that LangBot knows, nothing was accepted.
        return RETRY_AFTER_ERROR if conclusion.retry_in is None else conclusion.retry_in

    def _with_body(
        self, queued: QueuedMessage, message: Message, record: MessageRecord | None
    ) -> QueuedMessage:
        """Return a resend with the body that its record has, or else with its original's."""
        # A resend that failed before it had its body has a record without one.
        if record is None or record.get("body") == queued.body:
            original = self._claim_original(queued, message)
            return replace(
                queued,
                body=self.messages_table.body(original),
                resends=original.get("resends", 0) + 1,
                original_message_id=original.get("original_message_id", original["message_id"]),
            )
        return replace(
            queued,
            body=self.messages_table.body(record),
            resends=record.get("resends", 1),
            original_message_id=record.get("original_message_id"),
        )

    def _claim_original(self, queued: QueuedMessage, message: Message) -> MessageRecord:
        """Return the record of the message that this one is the only resend of. Raise InvalidState if not."""
        key = queued.resend_of or ""
        if not is_message_key(key):
            raise InvalidMessage("resend_of is no message's key")
        original = record_key(message.session, key)
        return self.messages_table.mark_resent(original, message_key(queued.sequence_number), self.clock())

    def _store_sync_reply(self, attempt: Attempt, now: float) -> str:
        """Store the reply in the response to a sync call as a part; return the part's key."""
        message, outcome = attempt.message, attempt.outcome
        # It gets the timestamp that LangBot would have written, so that it takes its place among the
        # session's other parts.
        timestamp: str = utc_text(now)
        if not attempt.bot.timezone:
            timestamp = utc_text(now + self.replies_table.clock_offset(message.session)).removesuffix("Z")
        raw = sync_reply_body(
            message.session_id,
            outcome.accepted_message_id or "",
            collapse(outcome.reply or []),
            timestamp,
        )
        callback = VerifiedCallback(message.bot, raw, signed_at=now, received_at=now, zone=None)
        part = reply_part(callback, parse_part(raw), self.policy.keep_days)
        self.replies_table.store(part, raw)
        return part["part"]

    def _count_metrics(self, attempt: Attempt, record: MessageRecord, waited: float) -> None:
        bot = attempt.bot.name
        self.metrics.count(_VERDICTS[attempt.outcome.verdict], bot=bot)
        if attempt.outcome.verdict is Verdict.ACCEPTED:
            self.metrics.duration(Metric.DELIVERY_LATENCY, waited, bot=bot)
        if record["state"] == State.ANSWERED:
            self.metrics.duration(Metric.TIME_TO_ANSWER, waited, bot=bot)
        if record["state"] == State.PARKED:
            self.metrics.count(Metric.PARKED, bot=bot)

    def _log(self, conclusion: Conclusion, record: MessageRecord, written: bool, waited: float) -> None:
        """Log what became of a message; the saved queries of template.yaml use these fields.

        Of a response the log gets the status only: LangBot's text can quote a user.
        """
        fields: dict[str, object] = {
            "session": record["session"],
            "message_id": record["message_id"],
            "attempts": record["attempts"],
        }
        if conclusion.attempt:
            outcome = conclusion.attempt.outcome
            fields |= {"status": outcome.response.status} if outcome.response else {"error": outcome.reason}
            fields |= {"verdict": outcome.verdict, "attempt_ms": round(outcome.seconds * 1000)}
            fields |= {"since_queued_ms": round(waited * 1000), "retry_in": conclusion.retry_in}
        elif "last_error" in record:
            fields["error"] = record["last_error"]
        text = str(record["state"])
        if not written:
            text += ", not written: a concurrent delivery has newer data"
        log.log(_LOG_LEVELS.get(record["state"], logging.INFO), text, extra=fields)

    @staticmethod
    def _log_error(text: str, queued: QueuedMessage, error: Exception) -> None:
        log.error(text, extra=error_fields(error) | {"message_id": queued.message_id})
