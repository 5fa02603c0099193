"""Verifies reply parts and stores them."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from relay import environment
from relay.adapters.bot_cache import LookupRateLimited
from relay.adapters.bot_registry import BotRegistry, UnknownBot
from relay.adapters.overflow_bucket import OverflowBucket
from relay.adapters.replies_table import RepliesTable
from relay.adapters.spill_queue import SpillQueue
from relay.domain import strict_json
from relay.domain.bot import Bot
from relay.domain.part import VerifiedCallback, parse_part, reply_part
from relay.domain.signing import NotAuthentic, Refusal, secret_used, signed_time
from relay.domain.timestamps import Clock
from relay.log_fields import error_fields, error_text
from relay.metrics import Metric, Metrics

log = logging.getLogger(__name__)

LOOKUPS_PER_SECOND = 10
"""Lookups of bots, of which anybody can make up names. A lookup in Secrets Manager costs as much as five
requests to the API, and an account may ask 10,000 a second: so a hundred instances that
are flooded leave most of them."""


class NotVerified(Exception):
    """Whether a part is authentic cannot be told now; the text says why, and holds nothing secret."""


@dataclass(frozen=True)
class Receiver:
    """Receives parts: verifies each, and stores or spills it."""

    bot_registry: BotRegistry
    replies_table: RepliesTable
    bucket: OverflowBucket
    spill_queue: SpillQueue
    keep_days: int
    metrics: Metrics
    clock: Clock = environment.now

    def receive(self, bot_name: str, headers: Mapping[str, str], raw: bytes) -> None:
        """Keep the part in `raw`, the body as received; header names are in lower case.

        If it cannot be stored it goes to the spill queue, from which `store` takes it later.

        Raise NotAuthentic, also for an unknown bot; NotVerified; strict_json.Malformed for a verified body
        that is no valid part, which is kept as well; any other error if the part could not even be spilled.
        """
        callback = self._verify(bot_name, headers, raw)
        try:
            self.store(callback)
        except (ClientError, BotoCoreError) as error:
            self.spill_queue.put(callback)
            self.metrics.count(Metric.SPILLED, bot=callback.bot)
            log.error(
                "a part cannot be stored, it is in the spill queue",
                extra=error_fields(error) | {"bot": callback.bot},
            )
            parse_part(raw)  # LangBot gets the same answer as without the fault

    def store(self, callback: VerifiedCallback) -> None:
        """Store a callback that was verified now or hours ago; a second time changes nothing.

        Raise strict_json.Malformed for one that is no valid part, after it is in the quarantine, and
        botocore's errors.
        """
        bot, raw = callback.bot, callback.raw
        try:
            body = parse_part(raw)
        except strict_json.Malformed:
            path = self.bucket.quarantine(bot, raw)
            self.metrics.count(Metric.QUARANTINED, bot=bot)
            log.error("a signed body is no valid part", extra={"bot": bot, "kept_at": path})
            raise
        if self.replies_table.store(reply_part(callback, body, self.keep_days), raw):
            # The table says the same, and five lines a message would be half of what the logs cost.
            log.debug("part stored", extra={"bot": bot})
        else:
            self.metrics.count(Metric.DUPLICATES, bot=bot)
            log.info("part was stored before", extra={"bot": bot})

    def _verify(self, bot_name: str, headers: Mapping[str, str], raw: bytes) -> VerifiedCallback:
        now = self.clock()
        timestamp, signature = headers.get("x-lb-timestamp"), headers.get("x-lb-signature")
        signed_at = signed_time(timestamp, now)
        if not timestamp or not signature:
            raise NotAuthentic(Refusal.NO_SIGNATURE, "X-LB-Signature is missing")
        try:
            bot = self.bot_registry.get(bot_name)
            secret = secret_used(bot.outbound_secrets, timestamp, signature, raw)
            if secret is None:
                bot = self.bot_registry.refresh(bot_name)
                secret = self._checked_secret(bot, timestamp, signature, raw)
        except UnknownBot as error:
            raise NotAuthentic(Refusal.UNKNOWN_BOT, str(error)) from None
        except LookupRateLimited as error:
            raise NotVerified(str(error)) from None
        except (ClientError, BotoCoreError) as error:
            raise NotVerified(f"the secret of bot {bot_name!r}: {error_text(error)}") from None
        return VerifiedCallback(bot.name, raw, signed_at, now, bot.timezone, secret)

    def _checked_secret(self, bot: Bot, timestamp: str, signature: str, raw: bytes) -> int:
        if bot.unusable and not bot.outbound_secrets:
            raise NotVerified(bot.unusable)
        secret = secret_used(bot.outbound_secrets, timestamp, signature, raw)
        if secret is None:
            raise NotAuthentic(Refusal.MISMATCH, "X-LB-Signature was made with none of the bot's secrets")
        return secret
