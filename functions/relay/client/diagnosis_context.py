"""What is known beside a message's record, read for a diagnosis."""

from relay.adapters.messages_table import MessagesTable
from relay.adapters.replies_table import RepliesTable
from relay.domain.diagnosis import DiagnosisContext
from relay.domain.part import ReplyPart
from relay.domain.record import MessageRecord


def context_of(
    record: MessageRecord | None, bot: str, messages_table: MessagesTable, replies_table: RepliesTable
) -> DiagnosisContext:
    """Return the state of a message's bot, and the parts of its own reply. Raise botocore's errors."""
    parts = own_parts(record, replies_table) if record else []
    return DiagnosisContext(messages_table.bot_state(bot), parts)


def own_parts(record: MessageRecord, replies_table: RepliesTable) -> list[ReplyPart]:
    """Return the parts of a message's own reply, in order and without their text."""
    reply_to = record.get("accepted_message_id")
    if not reply_to:
        return []
    parts, _ = replies_table.parts_around(record["session"], record["delivered_at"])
    return [part for part in parts if part["reply_to"] == reply_to]
