"""Sees to the messages that nobody has answered in time."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from relay.describe import describe
from relay.edge.bots import UnknownBot
from relay.edge.langbot import time_needed
from relay.edge.ledger import Ledger
from relay.edge.replies import Replies
from relay.rules.delivery import History, Verdict, idempotency_key
from relay.rules.gate import Wait
from relay.rules.ledger import State
from relay.rules.message import InvalidMessage, parse
from relay.rules.part import utc
from relay.rules.settling import Final, may_be_sent_again
from relay.send import Sender

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sweeper:
    """Finds the messages whose deadline has passed without a reply.

    Those that nothing at all came for are sent again up to `resend_unanswered` times. `answer_deadline`
    is in seconds.
    """

    ledger: Ledger
    replies: Replies
    sender: Sender
    resend_unanswered: int
    answer_deadline: int
    clock: Callable[[], float] = time.time

    def sweep(self, seconds_left: Callable[[], float]) -> int:
        """Sees to each overdue message; how many are unanswered. Raises botocore's errors."""
        now = self.clock()
        unanswered = 0
        held_back: set[str] = set()  # sessions of which one could not go again yet, so none after it may
        for bot in self.ledger.bots():
            for key in self.ledger.overdue(bot, utc(now)):
                try:
                    unanswered += self._overdue(key, now, held_back, seconds_left)
                except Exception as error:  # whatever it is, the others are seen to
                    log.error(
                        "an overdue message could not be seen to",
                        extra=describe(error) | {"session": key["session"]},
                    )
        return unanswered

    def _overdue(
        self, key: dict[str, str], now: float, held_back: set[str], seconds_left: Callable[[], float]
    ) -> bool:
        item = self.ledger.read(key)
        if item is None or "awaiting" not in item:
            return False
        reply_to = item.get("accepted_message_id")
        parts = self.replies.of_turn(item["session"], reply_to, item["delivered_at"]) if reply_to else []
        finals = [part for part in parts if part["is_final"]]
        if finals:
            self.ledger.answer(key, Final.of(finals[0]))
            return False
        if item["state"] != State.DELIVERED:
            self.ledger.await_no_more(key)
            return False
        why = f"the reply broke off after {len(parts)} parts" if parts else "no reply"
        if not parts and may_be_sent_again(item, self.resend_unanswered, self.answer_deadline, now):
            if item["session"] in held_back:
                return False
            try:
                if seconds_left() < time_needed("push") or not self._send_again(item, now):
                    held_back.add(item["session"])
                return False
            except (InvalidMessage, UnknownBot) as fault:
                why = f"no reply, and it cannot be sent again: {fault}"
        if not self.ledger.give_up(key, utc(now), why):
            return False
        # The template counts these lines by their bot.
        ids = {"bot": item["bot"], "session": item["session"], "message_id": item["message_id"]}
        log.error("unanswered", extra=ids | {"error": why})
        return True

    def _send_again(self, item: dict[str, Any], now: float) -> bool:
        """Sends a message again; False where that has to wait for another sweep."""
        message = parse(self.ledger.body(item))
        # A sweep that died may have sent it already.
        history = History(refusals=item.get("refusals", 0), unknown=True)
        key = idempotency_key(f"{item['message_id']}.{item.get('resends', 0) + 1}", history)
        # A sync call would keep the sweep waiting; its late reply comes as a callback as well.
        sent = self.sender.send(message, "push", key, history)
        if isinstance(sent, Wait):
            return False
        outcome, _ = sent
        if outcome.messages_fault:
            raise InvalidMessage(outcome.reason)
        if outcome.verdict is not Verdict.ACCEPTED:
            self.ledger.note_refusals(item, history.after(outcome, now).refusals)
            return False
        self.ledger.delivered_again(item, outcome.accepted_message_id, now, self.answer_deadline)
        log.warning("sent again", extra={"session": item["session"], "message_id": item["message_id"]})
        return True
