"""One PutItem into a table; what an item cannot hold goes to the overflow bucket."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


def to_item(fields: dict[str, Any]) -> dict[str, Any]:
    """Plain values as DynamoDB writes them. Raises ArithmeticError past 38 digits."""
    return {name: _serialize(value) for name, value in fields.items()}


def from_item(item: dict[str, Any]) -> dict[str, Any]:
    """The plain values of an item, whole numbers as int."""
    return {name: _plain(_deserialize(value)) for name, value in item.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


def query(
    dynamodb: Any, table: str, condition: str, names: dict[str, str], values: dict[str, Any], **more: Any
) -> Iterator[dict[str, Any]]:
    """The plain items of all pages of a query, in order. Raises botocore's errors."""
    pages = dynamodb.get_paginator("query").paginate(
        TableName=table,
        KeyConditionExpression=condition,
        ExpressionAttributeNames=names,
        ExpressionAttributeValues=to_item(values),
        **more,
    )
    for page in pages:
        yield from map(from_item, page["Items"])


class TableWithOverflow:
    """A table whose items may be too large, too deep or too exact for DynamoDB.

    DynamoDB itself is asked what it can hold: only an item that it refuses as invalid is written
    again without its bulk, which is in the bucket by then.
    """

    def __init__(self, dynamodb: Any, table: str, s3: Any, bucket: str) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._s3 = s3
        self._bucket = bucket

    def put(self, item: dict[str, Any], bare: dict[str, Any], raw: bytes, path: str, once: bool) -> bool:
        """Writes `item`; whether it is new, where it is to be written only `once`.

        For an item that DynamoDB refuses, `raw` is put into the bucket at `path` and the item `bare`
        is written, pointing there with `overflow`. Raises botocore's errors.
        """
        try:
            return self._put(item, once)
        except (ArithmeticError, RecursionError):
            pass
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationException":
                raise
        self._s3.put_object(Bucket=self._bucket, Key=path, Body=raw)
        return self._put(bare | {"overflow": path}, once)

    def _put(self, item: dict[str, Any], once: bool) -> bool:
        condition = {
            "ConditionExpression": "attribute_not_exists(#s)",
            "ExpressionAttributeNames": {"#s": "session"},
        }
        try:
            self._dynamodb.put_item(TableName=self._table, Item=to_item(item), **(condition if once else {}))
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True
