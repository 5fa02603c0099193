"""One attempt at a bot, if admission control permits it."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

from botocore.exceptions import BotoCoreError, ClientError

from relay import environment
from relay.adapters.admission_control import AdmissionControl, Permit
from relay.adapters.bot_registry import BotRegistry, UnknownBot
from relay.adapters.langbot import (
    TRIED_SECRETS,
    ConnectFailed,
    LangBotClient,
    NoResponse,
    max_attempt_seconds,
)
from relay.domain.admission import Deferred
from relay.domain.attempt import Attempt, AttemptHistory, Outcome, Verdict, classify
from relay.domain.bot import Bot
from relay.domain.message import Action, Message, request_for
from relay.domain.timestamps import Clock
from relay.log_fields import error_fields, error_text

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sender:
    """Sends messages to bots."""

    bot_registry: BotRegistry
    langbot: LangBotClient
    admission_control: AdmissionControl
    clock: Clock = environment.now

    def one_at_a_time(self, message: Message) -> bool:
        """Tell whether no other message of the session may be open when this one is sent.

        LangBot answers a sync call with the session's next reply, whichever message that is for. And a push
        names no message. Raise as `send` does.
        """
        if message.action == "push":
            return self.bot_registry.get(message.bot).replies_by_push
        return message.action == "sync"

    def send(
        self,
        message: Message,
        message_id: str,
        idempotency_key: str,
        history: AttemptHistory,
        is_test: bool = False,
    ) -> Attempt | Deferred:
        """Make an attempt, or say how long to wait before one; `is_test` says that it tests the connection.

        Raise UnknownBot, InvalidMessage if no bot could take the message, InvalidState if an operator has
        cancelled it, and botocore's errors.
        """
        bot = self.bot_registry.get(message.bot)
        request = request_for(message, bot)
        permit = self.admission_control.acquire(
            message.bot,
            message_id,
            needs_slot=request.expects_reply,
            max_duration=max_attempt_seconds(message.action),
            is_sync=message.action == "sync",
            is_test=is_test,
        )
        if isinstance(permit, Deferred):
            return permit
        began = self.clock()
        outcome = self._post(bot, message.action, request.body, idempotency_key, history)
        outcome = replace(outcome, began_at=began, seconds=self.clock() - began)
        self._release(permit, outcome)
        if not outcome.bot_healthy:
            # The operator may correct its url or secret before the next attempt.
            self.bot_registry.invalidate(message.bot)
        return Attempt(message, bot, request.expects_reply, outcome)

    def _release(self, permit: Permit, outcome: Outcome) -> None:
        try:
            self.admission_control.release(permit, outcome)
        except (ClientError, BotoCoreError) as error:
            # The lease ends by itself, and the next attempt finds out about the bot.
            log.error(
                "the end of an attempt could not be recorded", extra=error_fields(error) | {"bot": permit.bot}
            )

    def _post(
        self, bot: Bot, action: Action, body: bytes, idempotency_key: str, history: AttemptHistory
    ) -> Outcome:
        if bot.unusable:
            log.error("the bot cannot be used", extra={"bot": bot.name, "error": bot.unusable})
            return Outcome(Verdict.NOT_SENT, bot.unusable)
        if not bot.url:
            return Outcome(Verdict.NOT_SENT, f"the secret of bot {bot.name!r}: url is empty or missing")
        try:
            response = self.langbot.post(bot, action, body, idempotency_key, self._secrets_since_read(bot))
        except ConnectFailed as fault:
            return Outcome(Verdict.NOT_SENT, str(fault))
        except NoResponse as fault:
            return Outcome(Verdict.UNKNOWN, str(fault))
        except Exception as error:
            log.error("an attempt failed in a way that was not foreseen", extra=error_fields(error))
            return Outcome(Verdict.UNKNOWN, error_text(error))
        return classify(action, response, history, self.clock())

    def _secrets_since_read(self, bot: Bot) -> Iterator[str]:
        """Yield the inbound secrets to try that the bot has got since it was read: it may be rotated now."""
        try:
            current = self.bot_registry.refresh(bot.name)
        except (UnknownBot, ClientError, BotoCoreError):
            return  # the next attempt says so
        tried = bot.inbound_secrets[:TRIED_SECRETS]
        yield from (one for one in current.inbound_secrets[:TRIED_SECRETS] if one not in tried)
