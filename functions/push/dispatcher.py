"""Delivers a batch of queued messages: sessions side by side, each in order."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from relay.adapters.bot_registry import UnknownBot
from relay.adapters.langbot import max_attempt_seconds
from relay.adapters.message_visibility import MessageVisibility
from relay.adapters.messages_table import MessagesTable
from relay.adapters.parked_queue import ParkedQueue
from relay.adapters.replies_table import RepliesTable
from relay.adapters.sync_queue import SyncQueue
from relay.domain.admission import Deferred, full_delay
from relay.domain.attempt import Attempt, Delivery, Outcome, Verdict, idempotency_key
from relay.domain.keys import is_message_key, message_key, record_key
from relay.domain.message import Message, QueuedMessage, parse_message, parse_session_body
from relay.domain.part import VerifiedCallback, parse_part, reply_part, sync_reply_body
from relay.domain.record import (
    MessageRecord,
    State,
    dropped_record,
    history_of,
    key_of,
    parked_record,
    retrying_record,
)
from relay.domain.retry import Policy, conclude, conclude_failure
from relay.domain.segments import collapse
from relay.domain.timestamps import Clock, utc_text
from relay.errors import InvalidMessage, InvalidState
from relay.log_fields import error_fields, error_text
from relay.metrics import UNKNOWN_BOT, Metric, Metrics
from relay.sender import Sender

log = logging.getLogger(__name__)

MAX_PARALLEL_PER_BOT = 2
"""Attempts of one batch at one bot at the same time. LangBot answers 429 from the fifth on, and two batches
may send to a bot."""

TIME_TO_RETURN = 3
"""Seconds before its own time-out at which push returns what it has: a session that hangs must not make SQS
deliver the others again."""

RETRY_AFTER_ERROR = 10
"""Seconds until a message is delivered again that could not be tried, for no fault of its bot."""

_LOG_LEVELS = {State.RETRYING: logging.WARNING, State.DROPPED: logging.WARNING, State.PARKED: logging.ERROR}
_VERDICTS = {
    Verdict.ACCEPTED: Metric.DELIVERED,
    Verdict.REFUSED: Metric.REFUSED,
    Verdict.UNKNOWN: Metric.UNKNOWN,
}


@dataclass(frozen=True)
class _Batch:
    """What the messages of one batch share; `opened` are the sessions in which one of them awaits a reply.

    `id` names it at the bots' lanes; None if it needs none, since a queue of its own sends its messages.
    """

    seconds_left: Callable[[], float]
    id: str | None
    opened: set[str] = field(default_factory=set)
    bot_semaphores: dict[str, threading.Semaphore] = field(default_factory=dict)

    def bot_semaphore(self, bot: str) -> threading.Semaphore:
        return self.bot_semaphores.setdefault(bot, threading.Semaphore(MAX_PARALLEL_PER_BOT))


@dataclass(frozen=True)
class Dispatcher:
    """Sends messages to their bots and records what became of each.

    Sync calls are made by the consumer of `sync_queue`, which has None there.
    """

    sender: Sender
    messages_table: MessagesTable
    replies_table: RepliesTable
    parked_queue: ParkedQueue
    message_visibility: MessageVisibility
    policy: Policy
    metrics: Metrics
    sync_queue: SyncQueue | None = None
    clock: Clock = time.time

    def call_sync(self, queued: QueuedMessage, seconds_left: Callable[[], float]) -> None:
        """Make the sync call of a message that was handed over. Then the message leaves PushQueue."""
        if not self.deliver([queued], seconds_left):
            # Push sees by its record that it has ended.
            self._set_visibility(queued, 0)

    def deliver(self, messages: Iterable[QueuedMessage], seconds_left: Callable[[], float]) -> list[str]:
        """Send the sessions of a batch side by side, each in order, as long as there are seconds left.

        Return the ids of the messages that stay in the queue: those that failed, and those behind them in
        their session. They are visible again when they must be.
        """
        batch = _Batch(seconds_left, uuid4().hex if self.sync_queue else None)
        sessions: dict[str, list[QueuedMessage]] = {}
        for queued in messages:
            sessions.setdefault(queued.group_id, []).append(queued)
        threads = ThreadPoolExecutor(max_workers=len(sessions))
        tasks = {
            threads.submit(self._deliver_session, session, batch): session for session in sessions.values()
        }
        _, stuck = wait(tasks, timeout=max(seconds_left() - TIME_TO_RETURN, 0))
        threads.shutdown(wait=False)
        if not stuck:
            self._leave_lanes(batch)
        kept = [queued for task in tasks if task not in stuck for queued in task.result()]
        unfinished = [queued for task in stuck for queued in tasks[task]]
        for queued in unfinished:
            log.error("a message was not finished in time", extra={"message_id": queued.message_id})
        return [queued.message_id for queued in [*unfinished, *kept]]

    def _deliver_session(self, session: list[QueuedMessage], batch: _Batch) -> list[QueuedMessage]:
        """Return the messages that stay in the queue."""
        for position, queued in enumerate(session):
            try:
                stays = self._deliver_one(queued, batch)
            except Exception as error:  # any error: the other sessions go on
                self._log_error("a message could not be tried", queued, error)
                self._set_visibility(queued, RETRY_AFTER_ERROR)
                stays = True
            if stays:
                # While one message of a group is invisible, SQS holds the others back. So those behind the
                # failed one wait for it, and need no delay of their own.
                for later in session[position + 1 :]:
                    self._set_visibility(later, 0)
                return session[position:]
        return []

    def _deliver_one(self, queued: QueuedMessage, batch: _Batch) -> bool:
        """Return whether the message stays in the queue; it is visible again when it must be."""
        delivery, history_is_known = Delivery(queued), False
        try:
            partial = queued.resend_of is not None or queued.handed_over
            message = parse_session_body(queued.body) if partial else parse_message(queued.body)
            delivery = Delivery(queued, message)
            known = queued.receive_count > 1 or queued.handed_over
            record = self.messages_table.read(key_of(queued, message)) if known else None
            if record and record["state"] != State.RETRYING:
                self._complete(queued, record)
                return False
            if partial:
                queued = self._with_body(queued, message, record)
                message = parse_message(queued.body)
            delivery, history_is_known = Delivery(queued, message, history_of(queued, record)), True
            if message.action == "sync" and self.sync_queue:
                self._hand_over(delivery, message, self.sync_queue)
                # The call may have been made by now, and the message be visible again. If nothing comes of
                # the call, the queue's visibility timeout makes it so.
                return True
            with batch.bot_semaphore(message.bot):
                delay = self._attempt(delivery, message, batch)
        except (InvalidMessage, UnknownBot) as fault:
            self._park(delivery, str(fault), UNKNOWN_BOT)
            return False
        except InvalidState as fault:
            self._finish(queued, dropped_record(delivery, str(fault), self.clock(), self.policy.keep_days))
            return False
        except Exception as error:
            delay = self._fail(delivery, error, history_is_known)
        if delay is None:
            return False
        self._set_visibility(queued, delay)
        return True

    def _fail(self, delivery: Delivery, error: Exception, history_is_known: bool) -> int | None:
        """Record an error that was not foreseen as an attempt that failed: it must end in a state as well.

        Return as `_attempt` does.
        """
        self._log_error("a message could not be tried", delivery.queued, error)
        outcome = Outcome(Verdict.UNKNOWN, error_text(error))
        conclusion = conclude_failure(delivery, outcome, self.clock(), self.policy)
        parked = conclusion.record["state"] == State.PARKED
        # A record that could not be read says more of earlier attempts than this one can.
        if_new = not history_is_known and not parked
        self._finish(delivery.queued, conclusion.record, {"error": outcome.reason}, if_new)
        # Until it was written, or if another delivery has ended the message, the next delivery sees that.
        return None if parked else conclusion.retry_in

    def _attempt(self, delivery: Delivery, message: Message, batch: _Batch) -> int | None:
        """Return the seconds until the message must be delivered again, or None if it leaves the queue."""
        queued, history = delivery.queued, delivery.history
        if batch.seconds_left() < max_attempt_seconds(message.action):
            return 0
        key = idempotency_key(queued.message_id, history)
        attempt: Attempt | Deferred = (
            Deferred(0, full=True)
            if self._waits_for_its_session(message, batch)
            else self.sender.send(message, key, history, batch.id)
        )
        now = self.clock()
        if isinstance(attempt, Deferred):
            if now > queued.must_leave_at():
                reason = "it could not be sent before it reached the queue's retention limit"
                self._park(delivery, reason, message.bot)
                return None
            return full_delay(queued.receive_count) if attempt.full else math.ceil(attempt.seconds)
        conclusion = conclude(delivery, attempt, now, self.policy)
        if attempt.outcome.reply:
            conclusion.record["answer_part"] = self._store_sync_reply(attempt, now)
        self._measure(conclusion.record, attempt, now - queued.queued_at)
        if "awaiting" in conclusion.record:
            batch.opened.add(message.session)
        fields = _attempt_fields(attempt.outcome, now - queued.queued_at) | {"retry_in": conclusion.retry_in}
        tried_again = self._finish(queued, conclusion.record, fields)
        # Another delivery was refused under the key that LangBot knows: then nothing was accepted.
        return (conclusion.retry_in or RETRY_AFTER_ERROR) if tried_again else None

    def _waits_for_its_session(self, message: Message, batch: _Batch) -> bool:
        """Tell whether a message must not be sent while another one of its session is open, and one is."""
        return self.sender.one_at_a_time(message) and (
            message.session in batch.opened or any(self.messages_table.open_messages(message.session))
        )

    def _park(self, delivery: Delivery, reason: str, bot: str) -> None:
        """Park a message without an attempt."""
        self.metrics.count(Metric.PARKED, bot=bot)
        record = parked_record(delivery, reason, reason, self.clock(), self.policy.keep_days)
        self._finish(delivery.queued, record, {"error": record["reason"]})

    def _finish(
        self,
        queued: QueuedMessage,
        record: MessageRecord,
        more: Mapping[str, object] = {},
        if_new: bool = False,
    ) -> bool:
        """Write down what became of a message; return whether it is tried again.

        Another delivery of the message may know better: it has ended it, or used more keys. The log gets
        `more`.
        """
        # The record comes first: if push dies between the two, it says what is still to do.
        written = self.messages_table.write(record, if_new)
        key = record_key(record["session"], record["message"])
        current = record if written else self.messages_table.read(key)
        self._complete(queued, current)
        fields = {
            "session": record["session"],
            "message_id": queued.message_id,
            "attempts": record["attempts"],
        }
        text = record["state"] if written else f"{record['state']}, but another delivery knows better"
        log.log(_LOG_LEVELS.get(record["state"], logging.INFO), text, extra={**fields, **more})
        return current is not None and current["state"] == State.RETRYING

    def _complete(self, queued: QueuedMessage, record: MessageRecord | None) -> None:
        """Complete what follows from a record, also for a push that died after it wrote it: a parked message
        is on ParkedQueue too."""
        if record and record["state"] == State.PARKED:
            self.parked_queue.put(queued, record)

    def _with_body(
        self, queued: QueuedMessage, message: Message, record: MessageRecord | None
    ) -> QueuedMessage:
        """Return a message that names only its session with the body of its record, or its original's."""
        # A resend that failed before it had its body has a record without one.
        if record is None or record.get("body") == queued.body:
            record = self._claim_original(queued, message)
        return replace(queued, body=self.messages_table.body(record))

    def _claim_original(self, queued: QueuedMessage, message: Message) -> MessageRecord:
        """Return the record of the message that this one is the only resend of. Raise InvalidState if not."""
        key = queued.resend_of or ""
        if not is_message_key(key):
            raise InvalidMessage("resend_of is no message's key")
        original = record_key(message.session, key)
        return self.messages_table.mark_resent(original, message_key(queued.sequence_number), self.clock())

    def _hand_over(self, delivery: Delivery, message: Message, sync_queue: SyncQueue) -> None:
        """Leave a sync call, which LangBot can hold for a minute, to the consumer of SyncQueue."""
        reason = "it waits for its turn: a bot gets one sync call at a time"
        record = retrying_record(delivery, reason, self.clock(), self.policy.keep_days)
        self.messages_table.write(record, if_new=True)
        sync_queue.put(delivery.queued, message)

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

    def _measure(self, record: MessageRecord, attempt: Attempt, seconds_since_queued: float) -> None:
        bot = attempt.bot.name
        self.metrics.count(_VERDICTS[attempt.outcome.verdict], bot=bot)
        if attempt.outcome.verdict is Verdict.ACCEPTED:
            self.metrics.duration(Metric.DELIVERY_LATENCY, seconds_since_queued, bot=bot)
        if record["state"] == State.ANSWERED:
            self.metrics.duration(Metric.TIME_TO_ANSWER, seconds_since_queued, bot=bot)
        if record["state"] == State.PARKED:
            self.metrics.count(Metric.PARKED, bot=bot)

    def _leave_lanes(self, batch: _Batch) -> None:
        if batch.id is None:
            return
        for bot in batch.bot_semaphores:
            try:
                self.sender.admission_control.leave(bot, batch.id)
            except (ClientError, BotoCoreError) as error:
                # The lane is free again when the time of its last attempt is over.
                log.error("a lane could not be given back", extra=error_fields(error) | {"bot": bot})

    def _set_visibility(self, queued: QueuedMessage, seconds: int) -> None:
        try:
            self.message_visibility.set_visibility(queued, seconds)
        except (ClientError, BotoCoreError) as error:
            # It is delivered again all the same, when its visibility timeout is over.
            self._log_error("the visibility of a message could not be set", queued, error)

    def _log_error(self, text: str, queued: QueuedMessage, error: Exception) -> None:
        log.error(text, extra=error_fields(error) | {"message_id": queued.message_id})


def _attempt_fields(outcome: Outcome, seconds_since_queued: float) -> dict[str, object]:
    """Return what the log gets of an attempt; the saved queries of template.yaml use these fields.

    Of a response it gets the status only: LangBot's text can quote a user.
    """
    response = outcome.response
    cause: dict[str, object] = {"status": response.status} if response else {"error": outcome.reason}
    return cause | {"verdict": outcome.verdict, "latency_ms": round(seconds_since_queued * 1000)}
