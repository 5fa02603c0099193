"""Takes in one reply part."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from relay.describe import describe
from relay.edge.bots import Bots, UnknownBot
from relay.edge.replies import Replies
from relay.edge.spill import Spill, Verified
from relay.rules import strict_json
from relay.rules.part import parse, part
from relay.rules.signing import NotAuthentic, is_signed, signed_time

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Receiver:
    """Verifies reply parts and keeps them."""

    bots: Bots
    replies: Replies
    spill: Spill
    keep_days: int
    clock: Callable[[], float] = time.time

    def receive(self, bot_name: str, headers: Mapping[str, str], raw: bytes) -> None:
        """Keeps the part in `raw`, the body as received; header names in lower case.

        Where it cannot be stored it goes to the spill queue, from where `store` takes it later.

        Raises NotAuthentic, also for a bot that there is not; strict_json.Malformed for a verified
        body that is no valid part, which is kept as well; and whatever kept the part from being kept
        even in the spill queue.
        """
        verified = self._verified(bot_name, headers, raw)
        try:
            self.store(verified)
        except (ClientError, BotoCoreError) as error:
            self.spill.put(verified)
            log.error(
                "a part cannot be stored, it is in the spill queue",
                extra=describe(error) | {"bot": verified.bot},
            )
            parse(raw)  # LangBot's answer is the same as without the fault

    def _verified(self, bot_name: str, headers: Mapping[str, str], raw: bytes) -> Verified:
        now = self.clock()
        timestamp, signature = headers.get("x-lb-timestamp"), headers.get("x-lb-signature")
        signed_at = signed_time(timestamp, now)
        if not timestamp or not signature:
            raise NotAuthentic("X-LB-Signature is missing")
        try:
            bot = self.bots.get(bot_name)
            if not is_signed(bot.outbound_secrets, timestamp, signature, raw):
                bot = self.bots.get(bot_name, anew=True)
                if not is_signed(bot.outbound_secrets, timestamp, signature, raw):
                    raise NotAuthentic("X-LB-Signature was made with none of the bot's secrets")
        except UnknownBot as error:
            raise NotAuthentic(str(error)) from None
        return Verified(bot.name, raw, signed_at, now, bot.timezone)

    def store(self, verified: Verified) -> None:
        """Stores what was verified once, now or hours ago; a second time changes nothing.

        Raises strict_json.Malformed for what is no valid part, once it is in the quarantine, and
        botocore's errors.
        """
        bot, raw = verified.bot, verified.raw
        try:
            body = parse(raw)
        except strict_json.Malformed:
            path = self.replies.quarantine(bot, raw)
            log.error("a signed body is no valid part", extra={"bot": bot, "kept_at": path})
            raise
        kept = self.replies.keep(
            part(bot, raw, body, verified.signed_at, verified.received_at, self.keep_days, verified.zone)
        )
        log.info("part kept" if kept else "part was kept before", extra={"bot": bot})
