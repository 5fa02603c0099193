"""A message to a bot and its reply: which direction is broken, and why."""

from __future__ import annotations

import json
from dataclasses import dataclass

import relay
from relay import environment
from relay.domain.bot import Bot
from relay.domain.diagnosis import Diagnosis
from relay.domain.keys import session_key
from relay.domain.polling import until_next_look
from relay.domain.segments import Segment
from relay.domain.states import State
from relay_cli.finding import Finding, fault, note, ok

OUTBOUND, INBOUND = "to LangBot", "from LangBot"
_TEXT = "This is a test of the connection. Please reply with one word."
_ENDED = (State.ANSWERED, State.UNANSWERED, State.PARKED)
_ACCEPTED = (State.DELIVERED, State.ANSWERED, State.UNANSWERED)


@dataclass(frozen=True)
class ConnectionTest:
    """What a test showed: the message's state, None on the queue, what is known of it, and its reply."""

    state: State | None
    diagnosis: Diagnosis
    reply: str | None


def run_test(stack: relay.Stack, bot: Bot, timeout: float) -> list[Finding]:
    """Send a message to a bot through the queue and wait for its reply. Raise botocore's errors.

    Push sends it with the bot's secret as it is now.
    """
    if bot.unusable:  # push would go on with the last good one for a while
        return [fault(OUTBOUND, bot.unusable, "correct it with `relay bots set` or `relay connect`")]
    session_id = f"relay-test-{environment.random_hex(4)}"
    began = environment.monotonic()
    # To a group LangBot's default route needs the At.
    at: list[Segment] = [{"type": "At", "target": "http_bot"}] if bot.session_type == "group" else []
    text: Segment = {"type": "Plain", "text": _TEXT}
    fields = {"session_id": session_id, "bot": bot.name, "message": [*at, text], "expect_reply": True}
    queued = stack.open_message_queue().send_test(session_key(bot.name, session_id), json.dumps(fields))
    messages = relay.Messages(stack)
    while True:
        record = messages.find(session_id, queued.key, bot.name)
        waited = environment.monotonic() - began
        if (record and record["state"] in _ENDED) or waited > timeout:
            break
        environment.sleep(until_next_look(waited))
    turn = relay.Conversation(stack, session_id, bot.name).reply(record) if record else None
    test = ConnectionTest(
        state=record["state"] if record else None,
        diagnosis=messages.diagnose(record, bot.name),
        reply=turn.text if turn else None,
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
        # A parked test was dropped: nothing of it can be resent.
        advice = "fix the cause, then test again" if test.state == State.PARKED else diagnosis.advice
        return [fault(OUTBOUND, text, advice), not_tested]
    return [ok(OUTBOUND, "LangBot accepted the message"), _inbound(test)]


def _inbound(test: ConnectionTest) -> Finding:
    if test.reply is not None:
        return ok(INBOUND, f"the bot replied: {test.reply[:60]}")
    why = f", and {test.diagnosis.why}" if test.diagnosis.why else ""
    return fault(INBOUND, f"no reply{why}", test.diagnosis.advice)
