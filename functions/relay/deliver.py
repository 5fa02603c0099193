"""Delivers a batch of queued messages to their bots."""

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from relay.describe import describe
from relay.edge.bots import UnknownBot
from relay.edge.langbot import time_needed
from relay.edge.ledger import Ledger
from relay.edge.queues import Queues
from relay.edge.replies import Replies
from relay.rules import ledger as items
from relay.rules.bot import Bot
from relay.rules.delivery import (
    History,
    Outcome,
    Park,
    Verdict,
    idempotency_key,
    lost_at,
    next_step,
)
from relay.rules.gate import Wait, until_there_is_room
from relay.rules.ledger import Queued
from relay.rules.message import InvalidMessage, Message, parse
from relay.rules.part import Part, part, utc
from relay.rules.part import parse as parse_part
from relay.rules.segments import collapse
from relay.send import Sender

log = logging.getLogger(__name__)

AT_ONCE = 2
"""Messages of one batch on their way to one bot at the same time. LangBot answers 429 from the fifth on, and
there are two batches, unless MaximumConcurrency says otherwise."""

PAUSE = 10
"""Seconds until a message comes back that could not be tried by no fault of its bot's."""


@dataclass(frozen=True)
class Courier:
    """Takes messages to bots and writes down what became of each."""

    sender: Sender
    ledger: Ledger
    replies: Replies
    queues: Queues
    retry_for: int
    keep_days: int
    answer_deadline: int
    clock: Callable[[], float] = time.time

    def deliver(self, batch: Iterable[Queued], seconds_left: Callable[[], float]) -> list[str]:
        """Sends the sessions of `batch` side by side, each in order.

        Returns the ids of the messages that stay in the queue, because they failed or because they
        stand behind one that did; when each becomes visible again is set by then.
        """
        sessions: dict[str, list[Queued]] = {}
        for queued in batch:
            sessions.setdefault(queued.group, []).append(queued)
        lines: dict[str, threading.Semaphore] = {}

        def session(queue: list[Queued]) -> list[tuple[Queued, int]]:
            for place, queued in enumerate(queue):
                try:
                    delay = self._one(queued, lines, seconds_left)
                except Exception as error:  # whatever it is, the other sessions go on
                    log.error(
                        "not delivered, will be tried again",
                        extra=describe(error) | {"message_id": queued.message_id},
                    )
                    delay = PAUSE
                if delay is not None:
                    # SQS keeps a message group back while one of it is invisible, so those behind
                    # the failed one wait for it and need no delay of their own.
                    return [(queued, delay), *((later, 0) for later in queue[place + 1 :])]
            return []

        with ThreadPoolExecutor(max_workers=len(sessions)) as threads:
            kept = [one for results in threads.map(session, sessions.values()) for one in results]
        for queued, delay in kept:
            try:
                self.queues.show_after(queued, delay)
            except (ClientError, BotoCoreError) as error:
                # It comes back all the same, when its visibility time-out is over.
                log.error(
                    "a delay could not be set", extra=describe(error) | {"message_id": queued.message_id}
                )
        return [queued.message_id for queued, _ in kept]

    def _one(
        self, queued: Queued, lines: dict[str, threading.Semaphore], seconds_left: Callable[[], float]
    ) -> int | None:
        """Seconds after which the message must be seen again, or None where it is done with."""
        message, history = None, History()
        try:
            message = parse(queued.body)
            recorded = self.ledger.read(items.key(queued, message)) if queued.receive_count > 1 else None
            if recorded and recorded["state"] == items.State.PARKED:
                # The function died between the ledger and the queue.
                self.queues.park(queued, recorded)
                return None
            if items.is_done(recorded):
                return None
            if queued.resend_of and not recorded and not self._may_repeat(queued, message, queued.resend_of):
                return None
            history = items.history(queued, recorded)
            with lines.setdefault(message.bot, threading.Semaphore(AT_ONCE)):
                return self._send(queued, message, history, seconds_left)
        except (InvalidMessage, UnknownBot) as fault:
            self._park(queued, message, Park(str(fault), history), Outcome(Verdict.REFUSED, str(fault)))
            return None

    def _send(
        self, queued: Queued, message: Message, history: History, seconds_left: Callable[[], float]
    ) -> int | None:
        if seconds_left() < time_needed(message.action):
            return 0
        key = idempotency_key(queued.message_id, history)
        sent = self.sender.send(message, message.action, key, history)
        now = self.clock()
        if isinstance(sent, Wait):
            if now > lost_at(queued.sent_at):
                reason = "its bot took nothing until the queue would have dropped it"
                self._park(queued, message, Park(reason, history), Outcome(Verdict.REFUSED, reason))
                return None
            return until_there_is_room(queued.receive_count) if sent.full else math.ceil(sent.seconds)
        outcome, bot = sent
        if outcome.verdict is Verdict.ACCEPTED and bot:
            self._accept(queued, message, bot, outcome, history, now)
            return None
        step = next_step(outcome, history, now, self.retry_for, lost_at(queued.sent_at))
        if isinstance(step, Park):
            self._park(queued, message, step, outcome)
            return None
        self.ledger.write(items.failed(queued, message, step, outcome, now, self.keep_days))
        log.warning(
            "not delivered, will be tried again",
            extra={"session": message.session, "message_id": queued.message_id, "verdict": outcome.verdict}
            | {"attempts": step.history.attempts, "next_in": step.delay},
        )
        return step.delay

    def _accept(
        self, queued: Queued, message: Message, bot: Bot, outcome: Outcome, history: History, now: float
    ) -> None:
        if outcome.reply:
            self.replies.keep(self._sync_part(message, bot, outcome, now))
        item = items.accepted(
            queued, message, outcome, history, bot.session_type, now, self.keep_days, self.answer_deadline
        )
        self.ledger.write(item)
        log.info(
            "delivered",
            extra={"session": message.session, "message_id": queued.message_id, "state": item["state"]},
        )

    def _sync_part(self, message: Message, bot: Bot, outcome: Outcome, now: float) -> Part:
        # The answer to a sync call carries no timestamp; it gets the one that LangBot would have
        # written, so that it takes its place among the session's other parts.
        if bot.timezone:
            timestamp = utc(now)
        else:
            timestamp = utc(now + self.replies.clock_offset(message.session)).removesuffix("Z")
        raw = json.dumps(
            {
                "session_id": message.session_id,
                "reply_to": outcome.accepted_message_id,
                "sequence": 1,
                "is_final": True,
                "stream": False,
                "message": collapse(outcome.reply or []),
                "timestamp": timestamp,
            },
            ensure_ascii=False,
        ).encode()
        return part(message.bot, raw, parse_part(raw), now, now, self.keep_days)

    def _park(self, queued: Queued, message: Message | None, step: Park, outcome: Outcome) -> None:
        item = items.failed(queued, message, step, outcome, self.clock(), self.keep_days)
        # First the ledger: a successor that finds it parked knows what is left to do.
        self.ledger.write(item)
        self.queues.park(queued, item)
        log.error("parked", extra={"session": item["session"], "message_id": queued.message_id})

    def _may_repeat(self, queued: Queued, message: Message, original: str) -> bool:
        """Whether this is the one repetition of a message that was asked for; if not, it is dropped."""
        if not items.is_key(original):
            raise InvalidMessage("resend_of is no message's key")
        repetition = items.message_key(queued.sequence_number)
        why_not = self.ledger.resend(message.session, original, repetition, self.clock())
        if why_not:
            self.ledger.write(items.dropped(queued, message, why_not, self.clock(), self.keep_days))
            log.warning("not sent again", extra={"session": message.session, "message_id": queued.message_id})
        return not why_not
