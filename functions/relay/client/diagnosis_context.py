"""The diagnosis of a message, the same wherever one is explained, made from all that the relay knows."""

from dataclasses import replace

from botocore.exceptions import BotoCoreError, ClientError

from relay import environment
from relay.adapters.replies_table import RepliesTable
from relay.client.bot_admin import BotAdmin
from relay.client.stack import Stack
from relay.domain.attempt import accepted_after
from relay.domain.bot import NO_BOT
from relay.domain.diagnosis import Diagnosis, DiagnosisContext, RefusedCallback, diagnose, with_stack
from relay.domain.keys import record_key
from relay.domain.part import ReplyPart
from relay.domain.record import MessageRecord
from relay.domain.signing import Refusal
from relay.domain.states import State
from relay.domain.timestamps import unix_seconds


def diagnose_message(stack: Stack, record: MessageRecord | None, bot: str) -> Diagnosis:
    """Return what became of a message that was sent, and what to do; of a resent one, of its resend.

    `record` is None if nothing was written yet. Raise botocore's errors. Who may not read the logs or the
    names of the bots gets a diagnosis without them.
    """
    messages_table = stack.open_messages_table()
    if record and record["state"] == State.RESENT:
        resend = messages_table.read(record_key(record["session"], record["resent_as"]))
        ended = diagnose_message(stack, resend, bot)
        name = f" as {resend['message_id']}" if resend else ""
        return replace(ended, summary=f"it was sent again{name}, and {ended.summary}")
    parts, all_parts = own_parts(record, stack.open_replies_table()) if record else ([], True)
    context = DiagnosisContext(
        bot=messages_table.bot_state(bot),
        callback_url=stack.callback_url(bot),
        parts=parts,
        all_parts=all_parts,
        refused=_refused(stack, record, bot) if record else [],
        bots=_bots(stack, record) if record else [],
    )
    diagnosis = diagnose(record, context, environment.now())
    deployed = None if stack.endpoint_url else stack.name
    return replace(diagnosis, advice=with_stack(diagnosis.advice, deployed))


def own_parts(record: MessageRecord, replies_table: RepliesTable) -> tuple[list[ReplyPart], bool]:
    """Return the parts of a message's own reply, in order without their text, and whether those are all."""
    reply_to = record.get("accepted_message_id")
    if not reply_to:
        return [], True
    parts, complete = replies_table.parts_around(record["session"], accepted_after(record["delivered_at"]))
    return [part for part in parts if part["reply_to"] == reply_to], complete


def _refused(stack: Stack, record: MessageRecord, bot: str) -> list[RefusedCallback]:
    """Return the requests that callback refused while a message waited for its reply."""
    if record["state"] not in (State.DELIVERED, State.UNANSWERED):
        return []
    # A callback can be faster than the record of its message.
    since = unix_seconds(record["queued_at"])
    until = unix_seconds(record["unanswered_at"]) if "unanswered_at" in record else None
    logs = stack.open_logs()
    try:
        # A name that no bot has can be a slip in the callback URL of this one.
        lines = logs.refusals("bot", bot, since, until) or logs.refusals(
            "reason", Refusal.UNKNOWN_BOT, since, until
        )
    except (ClientError, BotoCoreError):
        return []
    return [RefusedCallback(line.fields["bot"], line.fields["reason"]) for line in lines]


def _bots(stack: Stack, record: MessageRecord) -> list[str]:
    """Return the names of the bots, for a message that was parked because its bot is none of them."""
    if not record.get("reason", "").startswith(NO_BOT):
        return []
    try:
        return BotAdmin(stack).names()
    except (ClientError, BotoCoreError):
        return []
