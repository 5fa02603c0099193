"""A DynamoDB table by plain Python values."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Clamped, Context, Decimal, Inexact, Overflow, Rounded, Underflow
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

Item = dict[str, Any]

_NUMBERS = Context(prec=38, Emin=-128, Emax=126, traps=[Clamped, Inexact, Overflow, Rounded, Underflow])

IS_NEW = "attribute_not_exists(#session)"
"""The condition that there is no item with this key."""

_NONE: Mapping[str, Any] = {}


def to_item(fields: Mapping[str, Any]) -> Item:
    """Convert plain values to DynamoDB's. Raise ArithmeticError for numbers past 38 digits."""
    return {name: _typed(value) for name, value in fields.items()}


def from_item(item: Mapping[str, Any]) -> Item:
    """Convert an item to plain values, whole numbers to int."""
    return {name: _plain(value) for name, value in item.items()}


def _typed(value: Any) -> Item:
    # boto3's own takes three times as long, and the functions do without boto3.
    match value:
        case str():
            return {"S": value}
        case bool():
            return {"BOOL": value}
        case int() | Decimal():
            return {"N": str(_NUMBERS.create_decimal(value))}
        case None:
            return {"NULL": True}
        case Mapping():
            return {"M": to_item(value)}
        case list() | tuple():
            return {"L": [_typed(one) for one in value]}
    raise TypeError(f"an item holds no {type(value).__name__}")


def _plain(value: Mapping[str, Any]) -> Any:
    # boto3's own takes five times as long, and cannot read 1E+50, which DynamoDB writes with all its zeros
    # (boto3#2500). The relay writes no sets and no bytes.
    ((kind, content),) = value.items()
    match kind:
        case "L":
            return [_plain(one) for one in content]
        case "M":
            return {name: _plain(one) for name, one in content.items()}
        case "N":
            number = Decimal(content)
            return int(number) if number == number.to_integral_value() else float(number)
    return None if kind == "NULL" else content


def with_fast_reads(client: Any) -> Any:
    """Let a boto3 client, of any service, read items of DynamoDB as the JSON that they are; return it.

    botocore looks up each value of an item in its model of the service, which takes 9 µs. The three hundred
    thousand that a page of 1 MB can have took three seconds.
    """
    for operation in ("Query", "GetItem", "BatchGetItem"):
        client.meta.events.register(f"before-parse.dynamodb.{operation}", _read_json)
    return client


def _read_json(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_more: object
) -> None:
    if response_dict["status_code"] == 200:
        customized_response_dict |= json.loads(response_dict["body"])
        response_dict["body"] = b"{}"


class Table:
    """One table. An attribute is written `#name` in an expression if DynamoDB reserves its name.

    All methods raise botocore's errors.
    """

    def __init__(self, dynamodb: "DynamoDBClient", name: str) -> None:
        self._dynamodb = dynamodb
        self.name = name

    def get(self, key: Mapping[str, Any], consistent: bool = True) -> Item | None:
        """Return the item with this key, or None; it may be a moment old if not `consistent`."""
        response = self._dynamodb.get_item(TableName=self.name, Key=to_item(key), ConsistentRead=consistent)
        return from_item(response["Item"]) if "Item" in response else None

    def get_many(self, keys: Sequence[Mapping[str, Any]]) -> list[Item]:
        """Return the items with these keys, of 100 at the most, in any order.

        They may be a moment old. Those that DynamoDB does not read within three calls are missing.
        """
        found: list[Item] = []
        wanted: Mapping[str, Any] = {self.name: {"Keys": list(map(to_item, keys))}} if keys else {}
        for _ in range(3):
            if not wanted:
                break
            response = self._dynamodb.batch_get_item(RequestItems=wanted)
            found += map(from_item, response["Responses"][self.name])
            wanted = response.get("UnprocessedKeys", {})
        return found

    def put(self, item: Mapping[str, Any], condition: str = "", values: Mapping[str, Any] = _NONE) -> bool:
        """Write an item, if the one that it replaces meets `condition`; return whether it did."""
        conditional = _with_names({"ConditionExpression": condition}) | _values(values) if condition else {}
        try:
            self._dynamodb.put_item(TableName=self.name, Item=to_item(item), **conditional)
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def delete(self, key: Mapping[str, Any]) -> None:
        """Delete the item with this key, if there is one."""
        self._dynamodb.delete_item(TableName=self.name, Key=to_item(key))

    def delete_many(self, keys: Sequence[Mapping[str, Any]]) -> None:
        """Delete the items with these keys, 25 at the most and none twice, as far as there are any."""
        left: Any = {self.name: [{"DeleteRequest": {"Key": to_item(key)}} for key in keys]} if keys else {}
        # A call that deletes nothing is refused, so that this ends.
        while left:
            left = self._dynamodb.batch_write_item(RequestItems=left).get("UnprocessedItems", {})

    def update(self, key: Mapping[str, Any], change: str, condition: str, values: Mapping[str, Any]) -> bool:
        """Change an item if it meets `condition`; return whether it did."""
        return self._update(key, change, condition, values, {})[0]

    def update_returning(
        self,
        returned: Literal["ALL_OLD", "ALL_NEW"],
        key: Mapping[str, Any],
        change: str,
        condition: str,
        values: Mapping[str, Any],
    ) -> tuple[bool, Item]:
        """Change an item if it meets `condition`.

        Return whether it did, and the item as it was or is; if it did not, the item as it is.
        """
        more = {"ReturnValues": returned, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        return self._update(key, change, condition, values, more)

    def query(
        self, condition: str, values: Mapping[str, Any], max_pages: int | None = None, **more: Any
    ) -> Iterator[Item]:
        """Return the items of a query's first `max_pages` pages, or of all, in order.

        A page is 1 MB of items before any filter, or `Limit` items. `more` is what else boto3's query takes.
        """
        pages = self._dynamodb.get_paginator("query").paginate(**self._query(condition, values, more))
        for page in islice(pages, max_pages):
            yield from map(from_item, page["Items"])

    def first_page(self, condition: str, values: Mapping[str, Any], **more: Any) -> list[Item]:
        """Return the items of a query's first page, of `Limit` items at the most."""
        page = self._dynamodb.query(**self._query(condition, values, more))
        return [from_item(item) for item in page["Items"]]

    def count(self, condition: str, values: Mapping[str, Any], **more: Any) -> int:
        """Return the number of items of a query's first page, `Limit` at the most."""
        count: int = self._dynamodb.query(**self._query(condition, values, more), Select="COUNT")["Count"]
        return count

    def _update(
        self,
        key: Mapping[str, Any],
        change: str,
        condition: str,
        values: Mapping[str, Any],
        more: Mapping[str, Any],
    ) -> tuple[bool, Item]:
        expressions = {"UpdateExpression": change} | ({"ConditionExpression": condition} if condition else {})
        try:
            response = self._dynamodb.update_item(
                TableName=self.name, Key=to_item(key), **_with_names(expressions), **_values(values), **more
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException as error:
            return False, from_item(cast(Item, error.response).get("Item", {}))
        return True, from_item(response.get("Attributes", {}))

    def _query(self, condition: str, values: Mapping[str, Any], more: Mapping[str, Any]) -> Item:
        return {
            "TableName": self.name,
            **_with_names({"KeyConditionExpression": condition, **more}),
            **_values(values),
        }


def _values(values: Mapping[str, Any]) -> Item:
    return {"ExpressionAttributeValues": to_item(values)} if values else {}


def _with_names(arguments: Mapping[str, Any]) -> Item:
    """Add the names that the expressions among `arguments` use as `#name`."""
    expressions = " ".join(text for name, text in arguments.items() if name.endswith("Expression"))
    names = {f"#{name}": name for name in re.findall(r"#(\w+)", expressions)}
    return {**arguments, **({"ExpressionAttributeNames": names} if names else {})}
