"""The turns of a bot that gets no more messages, until they have ended."""

from __future__ import annotations

from collections.abc import Iterator

import relay
from relay import environment
from relay.domain.admission import RECORD_DELAY, SLOT_COUNT_TTL
from relay.domain.keys import RecordKey

IN_DOUBT = RECORD_DELAY + SLOT_COUNT_TTL
"""Seconds after an attempt until its message is in the index of the open messages."""


def until_drained(admin: relay.BotAdmin, bot: str) -> Iterator[tuple[list[RecordKey], float]]:
    """Yield the messages of a paused bot whose turns are open, and the seconds so far, every other second.

    The end is reached when no turn is open and push makes no attempt. Raise botocore's errors.
    """
    began = environment.now()
    quiet_since: float | None = None
    while True:
        # First the attempts: one that ends meanwhile is still in doubt.
        is_sending = admin.is_sending(bot)
        left = admin.open_messages(bot)
        now = environment.now()
        if is_sending or left:
            quiet_since = None
        elif quiet_since is None:
            quiet_since = now
        elif now - quiet_since > IN_DOUBT:
            return
        yield left, now - began
        environment.sleep(2)
