"""MessagesTable: what became of each message."""

from typing import Any

from relay.edge.table import TableWithOverflow, from_item, to_item


class Ledger:
    """The states of messages. A message has one writer at a time: its session's place in the queue."""

    def __init__(self, dynamodb: Any, table: str, s3: Any, bucket: str) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._items = TableWithOverflow(dynamodb, table, s3, bucket)

    def read(self, key: dict[str, str]) -> dict[str, Any] | None:
        """The item of a message, or None where nothing was written yet. Raises botocore's errors."""
        answer = self._dynamodb.get_item(TableName=self._table, Key=to_item(key), ConsistentRead=True)
        return from_item(answer["Item"]) if "Item" in answer else None

    def write(self, item: dict[str, Any]) -> None:
        """Writes an item whole; a body that it cannot hold goes to the overflow bucket."""
        bare = {name: value for name, value in item.items() if name != "body"}
        self._items.put(item, bare, item["body"].encode(), f"messages/{item['message_id']}.json", once=False)
