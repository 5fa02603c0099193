"""Takes in one reply part."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from relay.edge.bots import Bots, UnknownBot
from relay.edge.replies import Replies
from relay.rules import strict_json
from relay.rules.part import parse, part
from relay.rules.signing import NotAuthentic, is_signed, signed_time

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Receiver:
    """Verifies reply parts and keeps them."""

    bots: Bots
    replies: Replies
    keep_days: int
    clock: Callable[[], float] = time.time

    def receive(self, bot_name: str, headers: Mapping[str, str], raw: bytes) -> None:
        """Keeps the part in `raw`, the body as received; header names in lower case.

        Raises NotAuthentic, also for a bot that there is not; strict_json.Malformed for a verified
        body that is no valid part, which is kept in the quarantine; and whatever kept the part
        from being kept.
        """
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
        try:
            body = parse(raw)
        except strict_json.Malformed:
            path = self.replies.quarantine(bot.name, raw)
            log.error("a signed body is no valid part", extra={"bot": bot.name, "kept_at": path})
            raise
        kept = self.replies.keep(part(bot.name, raw, body, signed_at, now, self.keep_days, bot.timezone))
        log.info("part kept" if kept else "part was kept before", extra={"bot": bot.name})
