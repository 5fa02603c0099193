"""A message to a bot and its reply: which direction is broken, and why."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_hex

import relay
from relay.domain.bot import Bot
from relay.domain.diagnosis import Diagnosis, pluralize, refusal_advice
from relay.domain.record import State
from relay.domain.segments import Segment
from relay_cli.finding import Finding

TO, FROM = "to LangBot", "from LangBot"
_TEXT = "This is a test of the connection. Please reply with one word."
_ENDED = (State.ANSWERED, State.UNANSWERED, State.PARKED)
_ACCEPTED = (State.DELIVERED, State.ANSWERED, State.UNANSWERED)


@dataclass(frozen=True)
class Trial:
    """What a test showed: the message's state, None on the queue, what is known of it, and its reply.

    `refused` has the reasons for which callback refused requests for the bot meanwhile.
    """

    state: State | None
    diagnosis: Diagnosis
    reply: str | None
    refused: Sequence[str]
    callback_url: str


def run_test(stack: relay.Stack, bot: Bot, timeout: float) -> list[Finding]:
    """Send a message to a bot through the queue and wait for its reply. Raise botocore's errors."""
    session_id = f"relay-test-{token_hex(4)}"
    began = time.time()
    # To a group LangBot's default route needs the At.
    at: list[Segment] = [{"type": "At", "target": "http_bot"}] if bot.session_type == "group" else []
    text: Segment = {"type": "Plain", "text": _TEXT}
    sent = relay.PushQueue(stack).push(session_id, bot=bot.name, message=[*at, text], expect_reply=True)
    messages = relay.Messages(stack)
    while True:
        record = messages.find(session_id, sent.message_id, bot.name)
        if (record and record["state"] in _ENDED) or time.time() - began > timeout:
            break
        time.sleep(0.3)
    turn = relay.Conversation(stack, session_id, bot.name).reply(record) if record else None
    trial = Trial(
        state=record["state"] if record else None,
        diagnosis=messages.diagnose(record, bot.name),
        reply=turn.text if turn else None,
        refused=[] if turn else stack.open_logs().refusals(bot.name, began),
        callback_url=stack.callback_url(bot.name),
    )
    if record and record["state"] == State.PARKED:
        messages.drop(record, "it was only a test")
    return findings(trial)


def findings(trial: Trial) -> list[Finding]:
    """Return what a test showed of each direction."""
    told = trial.diagnosis
    if trial.state not in _ACCEPTED:
        text = f"{told.happened}: {told.why}" if told.why else told.happened
        skipped = Finding(FROM, None, "not tested, since LangBot has not accepted the message")
        return [Finding(TO, False, text, told.todo), skipped]
    return [Finding(TO, True, "LangBot accepted the message"), _from_langbot(trial)]


def _from_langbot(trial: Trial) -> Finding:
    if trial.reply is not None:
        return Finding(FROM, True, f"the bot replied: {trial.reply[:60]}")
    if trial.refused:
        refused = pluralize(len(trial.refused), "request")
        return Finding(
            FROM,
            False,
            f"no reply, and callback refused {refused} for it: {trial.refused[-1]}",
            refusal_advice(trial.refused),
        )
    return Finding(
        FROM,
        False,
        "no reply",
        f"in LangBot the callback URL must be exactly {trial.callback_url}, and the bot needs a route; "
        "`relay doctor --langbot URL` reads both there",
    )
