"""Parked messages: how a test gets one, and what is on ParkedQueue."""

from typing import Any

from local.sample_bot import Answer
from relay import SentMessage
from relay.domain.record import MessageRecord
from support.deployed import Deployed, Talk
from support.waiting import eventually

UNPARSED = Answer(400, {"code": 40001, "data": None, "msg": "failed to parse message: x"}, takes="key")
"""LangBot's answer to a message that it cannot read."""


def park(talk: Talk, text: str = "hello", **more: Any) -> tuple[SentMessage, MessageRecord]:
    """Push a message that the bot cannot read; return it and its record, once it is on ParkedQueue."""
    talk.bot.answer_with(UNPARSED)
    sent = talk.push(text, **more)
    record = talk.deployed.state(sent, "parked")
    # Push writes the record first.
    eventually(lambda: sent.message_id in on_parked_queue(talk), what=f"{sent.message_id} on ParkedQueue")
    return sent, record


def on_parked_queue(talk: Talk) -> dict[str, dict[str, str]]:
    """Return the test's messages by their ids: the attributes of each, and its body."""
    own = (f"{talk.name}#", f"#{talk.name}")
    parked = all_on_parked_queue(talk.deployed)
    return {message_id: fields for message_id, fields in parked.items() if fields["session"].startswith(own)}


def all_on_parked_queue(deployed: Deployed) -> dict[str, dict[str, str]]:
    """Return all messages by their ids: the attributes of each, and its body."""
    sqs, url = deployed.client("sqs"), deployed.stack.parked_queue_url
    found, handles = {}, []
    while received := sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"], MessageAttributeNames=["All"]
    ).get("Messages"):
        for message in received:
            handles.append(message["ReceiptHandle"])
            fields = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
            found[message["Attributes"]["MessageDeduplicationId"]] = fields | {"body": message["Body"]}
    for handle in handles:
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
    return found
