"""One attempt at a bot."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from relay.edge.bots import Bots
from relay.edge.gate import Gate
from relay.edge.langbot import LangBot, NoAnswer, NotSent, time_needed
from relay.rules.bot import Bot, InvalidBot
from relay.rules.delivery import History, Outcome, Verdict, classify
from relay.rules.gate import Wait
from relay.rules.message import Action, Message, expects_reply, request_body

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sender:
    """Sends messages to bots, through the gate before each."""

    bots: Bots
    langbot: LangBot
    gate: Gate
    clock: Callable[[], float] = time.time

    def send(
        self, message: Message, action: Action, idempotency_key: str, history: History
    ) -> tuple[Outcome, Bot | None] | Wait:
        """What an attempt came to, with the bot that it was made at; or how long to wait before one.

        Raises UnknownBot, InvalidMessage where the bot could not take the message, and botocore's errors.
        """
        bot: Bot | InvalidBot
        try:
            bot = self.bots.get(message.bot)
        except InvalidBot as fault:
            bot = fault
        session_type = bot.session_type if isinstance(bot, Bot) else None
        body = request_body(message, session_type)
        before = self.gate.enter(message.bot, expects_reply(message, session_type), time_needed(action))
        if isinstance(before, Wait):
            return before
        if isinstance(bot, Bot):
            outcome = self._post(bot, action, body, idempotency_key, history)
        else:
            log.error("the bot cannot be used", extra={"bot": message.bot, "error": str(bot)})
            outcome = Outcome(Verdict.REFUSED, str(bot))
        if outcome.bot_works:
            self.gate.worked(message.bot, before)
        else:
            self.gate.failed(message.bot, before, outcome.retry_after)
            # It may have failed by a secret or a url that is put right before the next attempt.
            self.bots.doubt(message.bot)
        return outcome, bot if isinstance(bot, Bot) else None

    def _post(self, bot: Bot, action: Action, body: bytes, idempotency_key: str, history: History) -> Outcome:
        if not bot.url:
            return Outcome(Verdict.REFUSED, f"the secret of bot {bot.name!r}: url is empty or missing")
        try:
            answer = self.langbot.post(bot, action, body, idempotency_key)
        except NotSent as fault:
            return Outcome(Verdict.REFUSED, str(fault))
        except NoAnswer as fault:
            return Outcome(Verdict.UNKNOWN, str(fault))
        return classify(action, answer, history, self.clock())
