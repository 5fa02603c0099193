"""The function of the beliefs: it notes what it gets, and fails as often as a record asks for."""

import json
import os
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

Note = Callable[[str, int, int], int]
"""Notes a job's test, its number and its receive count; returns how often that number was noted."""


def answer(event: dict[str, Any], note: Note) -> dict[str, Any]:
    """Handle records of a queue or a stream, or a request."""
    if "Records" not in event:
        if event["rawPath"].endswith("/raise"):
            raise RuntimeError("as asked for")
        seen = {name: event.get(name) for name in ("body", "isBase64Encoded", "headers", "pathParameters")}
        return {"statusCode": 200, "body": json.dumps(seen)}
    failures = []
    for record in event["Records"]:
        if "dynamodb" in record:
            identifier = record["dynamodb"]["SequenceNumber"]
            receives, text = 0, record["dynamodb"]["NewImage"]["job"]["S"]
        else:
            identifier = record["messageId"]
            receives, text = int(record["attributes"]["ApproximateReceiveCount"]), record["body"]
        job = json.loads(text)
        times = note(job["of"], job["number"], receives)
        if times <= job.get("raises", 0):
            raise RuntimeError("as asked for")
        if times <= job.get("garbles", 0):
            return {"batchItemFailures": [{"itemIdentifier": ""}]}
        if times <= job.get("fails", 0):
            failures.append({"itemIdentifier": identifier})
    return {"batchItemFailures": failures}


def handler(event: dict[str, Any], _: object) -> dict[str, Any]:
    """Note in a table of DynamoDB."""
    import boto3

    dynamodb = boto3.client("dynamodb")
    table = os.environ["NOTES"]

    def note(of: str, number: int, receives: int) -> int:
        at = f"{time.time_ns()}-{uuid4().hex[:4]}"
        item = {"of": {"S": of}, "at": {"S": at}, "n": {"N": str(number)}, "receives": {"N": str(receives)}}
        dynamodb.put_item(TableName=table, Item=item)
        found = dynamodb.query(
            TableName=table,
            ConsistentRead=True,
            KeyConditionExpression="#of = :of",
            ExpressionAttributeNames={"#of": "of"},
            ExpressionAttributeValues={":of": {"S": of}},
        )
        return sum(one["n"]["N"] == str(number) for one in found["Items"])

    return answer(event, note)
