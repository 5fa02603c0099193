"""Items that the measured functions have written."""

import os
from typing import Any

import boto3

from bench.lambda_events import SESSION


def session() -> str:
    """Return the key of the session that is measured."""
    return f"{os.environ['BENCH_BOT']}#{SESSION}"


def delete_all(table: str, sort_key: str) -> None:
    """Delete all items of the session that is measured."""
    dynamodb: Any = boto3.client("dynamodb")
    keys = {"#session": "session", "#sort": sort_key}
    pages = dynamodb.get_paginator("query").paginate(
        TableName=table,
        KeyConditionExpression="#session = :session",
        ProjectionExpression="#session, #sort",
        ExpressionAttributeNames=keys,
        ExpressionAttributeValues={":session": {"S": session()}},
    )
    for page in pages:
        for item in page["Items"]:
            dynamodb.delete_item(TableName=table, Key=item)
