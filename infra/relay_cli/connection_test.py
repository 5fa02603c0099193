"""A message to a bot and its reply: which direction is broken, and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import relay
from relay import environment
from relay.domain.bot import Bot
from relay.domain.diagnosis import Diagnosis, pluralize, refusal_advice
from relay.domain.keys import session_key
from relay.domain.segments import Segment
from relay.domain.states import State
from relay_cli.finding import Finding, fault, note, ok

OUTBOUND, INBOUND = "to LangBot", "from LangBot"
_TEXT = "This is a test of the connection. Please reply with one word."
_ENDED = (State.ANSWERED, State.UNANSWERED, State.PARKED)
_ACCEPTED = (State.DELIVERED, State.ANSWERED, State.UNANSWERED)


@dataclass(frozen=True)
class ConnectionTest:
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
    session_id = f"relay-test-{environment.random_hex(4)}"
    began = environment.now()
    # To a group LangBot's default route needs the At.
    at: list[Segment] = [{"type": "At", "target": "http_bot"}] if bot.session_type == "group" else []
    text: Segment = {"type": "Plain", "text": _TEXT}
    fields = {"session_id": session_id, "bot": bot.name, "message": [*at, text], "expect_reply": True}
    queued = stack.open_message_queue().send_test(session_key(bot.name, session_id), json.dumps(fields))
    messages = relay.Messages(stack)
    while True:
        record = messages.find(session_id, queued.key, bot.name)
        if (record and record["state"] in _ENDED) or environment.now() - began > timeout:
            break
        environment.sleep(0.3)
    turn = relay.Conversation(stack, session_id, bot.name).reply(record) if record else None
    test = ConnectionTest(
        state=record["state"] if record else None,
        diagnosis=messages.diagnose(record, bot.name),
        reply=turn.text if turn else None,
        refused=[] if turn else stack.open_logs().refusals(bot.name, began),
        callback_url=stack.callback_url(bot.name),
    )
    if record and record["state"] == State.PARKED:
        messages.drop(record, "it was only a test")
    return findings(test)


def findings(test: ConnectionTest) -> list[Finding]:
    """Return what a test showed of each direction."""
    diagnosis = test.diagnosis
    if test.state not in _ACCEPTED:
        text = f"{diagnosis.summary}: {diagnosis.why}" if diagnosis.why else diagnosis.summary
        not_tested = note(INBOUND, "not tested, since LangBot has not accepted the message")
        return [fault(OUTBOUND, text, diagnosis.advice), not_tested]
    return [ok(OUTBOUND, "LangBot accepted the message"), _inbound(test)]


def _inbound(test: ConnectionTest) -> Finding:
    if test.reply is not None:
        return ok(INBOUND, f"the bot replied: {test.reply[:60]}")
    if test.refused:
        text = f"callback refused {pluralize(len(test.refused), 'request')} for it: {test.refused[-1]}"
        return fault(INBOUND, f"no reply, and {text}", refusal_advice(test.refused))
    return fault(
        INBOUND,
        "no reply",
        f"in LangBot the callback URL must be exactly {test.callback_url}, and the bot needs a route; "
        "`relay doctor --langbot URL` reads both there",
    )
