"""Whole tables of a stack."""

from typing import Any

from relay import Stack
from relay.adapters.dynamodb import from_item


def scan(stack: Stack, table: str, *attributes: str) -> list[dict[str, Any]]:
    """Return all items of a table, or these attributes of them."""
    names = {f"#{name}": name for name in attributes}
    only = {"ProjectionExpression": ", ".join(names), "ExpressionAttributeNames": names} if names else {}
    paginator = stack.client("dynamodb").get_paginator("scan")
    pages = paginator.paginate(TableName=table, ConsistentRead=True, **only)
    return [from_item(item) for page in pages for item in page["Items"]]
