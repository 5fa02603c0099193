"""Messages that are sent without the checks of the client library."""

from uuid import uuid4

from support.deployed import Talk


def send_raw(talk: Talk, body: str, group_id: str, resend_of: str | None = None) -> str:
    """Send a body to PushQueue as it is; return the message's id."""
    attribute = {"DataType": "String", "StringValue": resend_of}
    response = talk.deployed.client("sqs").send_message(
        QueueUrl=talk.deployed.stack.push_queue_url,
        MessageBody=body,
        MessageGroupId=group_id,
        MessageDeduplicationId=uuid4().hex,
        MessageAttributes={"resend_of": attribute} if resend_of else {},
    )
    message_id: str = response["MessageId"]
    return message_id
