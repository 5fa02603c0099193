"""How large a message of SQS may be, and how many messages are on a queue."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

MAX_QUEUED_BYTES = 1 << 20
"""Bytes that SQS takes as one message, its attributes included."""


def queue_size(sqs: "SQSClient", queue_url: str) -> int:
    """Return the number of messages, visible or not, as far as SQS knows. Raise botocore's errors."""
    response = sqs.get_queue_attributes(
        QueueUrl=queue_url,
        AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
    )
    return sum(int(count) for count in response["Attributes"].values())
