"""DynamoDB: conditional writes, indexes that lag behind, and streams."""

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from simulation.dynamodb_expressions import Item, change_of, condition_of, plain
from simulation.model_aws import refusal
from simulation.world import World

MAX_INDEX_LAG = 0.95
"""Seconds by which an index is behind its table at the most."""

MAX_ITEM_BYTES = 400 * 1024

Key = tuple[str, str]


@dataclass(eq=False)
class View:
    """Items in the order of their keys: a table, or one of its indexes. `key` names hash and range key."""

    key: tuple[str, str]
    items: dict[str, list[tuple[str, Key, Item]]] = field(default_factory=dict)

    def put(self, of: Key, old: Item | None, new: Item | None) -> None:
        """Replace the item `of` a table's key. An item without the view's keys is not in it."""
        hash_key, range_key = self.key
        if old and hash_key in old and range_key in old:
            within = self.items[old[hash_key]["S"]]
            within.remove((old[range_key]["S"], of, old))
        if new and hash_key in new and range_key in new:
            insort(self.items.setdefault(new[hash_key]["S"], []), (new[range_key]["S"], of, new), key=_order)

    def of_hash(self, value: str) -> Iterator[Item]:
        return (item for _, _, item in self.items.get(value, []))


def _order(entry: tuple[str, Key, Item]) -> tuple[str, Key]:
    return entry[:2]


@dataclass(eq=False)
class DynamoTable:
    """A table with its indexes; each change goes to `on_change` with the old and the new image."""

    world: World
    name: str
    key: tuple[str, str]
    indexes: dict[str, View] = field(default_factory=dict)
    on_change: list[Callable[[Item, Item], None]] = field(default_factory=list)
    items: dict[Key, Item] = field(default_factory=dict)
    _pending: deque[tuple[float, Key, Item | None, Item | None]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._view = View(self.key)

    def key_of(self, item: Item) -> Key:
        return item[self.key[0]]["S"], item[self.key[1]]["S"]

    def put(self, key: Key, new: Item | None) -> None:
        """Replace an item; its indexes and streams follow."""
        old = self.items.get(key)
        if old == new:
            return
        self._view.put(key, old, new)
        if new is None:
            del self.items[key]
        else:
            self.items[key] = new
        lag = self.world.now + self.world.chance("index lag").random() ** 0.5 * MAX_INDEX_LAG
        shown_at = max(lag, self._pending[-1][0]) if self._pending else lag
        self._pending.append((shown_at, key, old, new))
        for tell in self.on_change:
            tell(old or {}, new or {})

    def view(self, index: str | None) -> View:
        """Return the table, or one of its indexes as it is shown now."""
        if index is None:
            return self._view
        while self._pending and self._pending[0][0] <= self.world.now:
            _, key, old, new = self._pending.popleft()
            for one in self.indexes.values():
                one.put(key, old, new)
        return self.indexes[index]


class Dynamodb:
    """The service."""

    name, throttled = "dynamodb", "ProvisionedThroughputExceededException"

    def __init__(self, tables: list[DynamoTable]) -> None:
        self.tables = {table.name: table for table in tables}

    def get_item(self, TableName: str, Key: Item, **_: Any) -> dict[str, Any]:
        table = self.tables[TableName]
        item = table.items.get(table.key_of(Key))
        return {"Item": item} if item else {}

    def put_item(self, TableName: str, Item: Item, **more: Any) -> dict[str, Any]:
        table = self.tables[TableName]
        if sum(len(value["S"]) for value in Item.values() if "S" in value) > MAX_ITEM_BYTES:
            raise refusal("ValidationException", "PutItem", "Item size has exceeded the maximum allowed size")
        key = table.key_of(Item)
        self._check("PutItem", table.items.get(key), more)
        table.put(key, Item)
        return {}

    def update_item(self, TableName: str, Key: Item, **more: Any) -> dict[str, Any]:
        table = self.tables[TableName]
        key = table.key_of(Key)
        old = table.items.get(key)
        self._check("UpdateItem", old, more)
        new = change_of(more["UpdateExpression"])(old or Key, more.get("ExpressionAttributeValues", {}))
        table.put(key, new)
        returned = {"ALL_OLD": old or {}, "ALL_NEW": new}.get(more.get("ReturnValues", ""), {})
        return {"Attributes": returned} if returned else {}

    def query(self, TableName: str, **more: Any) -> dict[str, Any]:
        table, values = self.tables[TableName], more.get("ExpressionAttributeValues", {})
        view = table.view(more.get("IndexName"))
        condition = more["KeyConditionExpression"]
        matches = condition_of(condition)
        hash_value = plain(values[condition.split(" AND ")[0].partition(" = ")[2]])
        items = [item for item in view.of_hash(hash_value) if matches(item, values)]
        if not more.get("ScanIndexForward", True):
            items.reverse()
        page = items[: more.get("Limit")]
        if "FilterExpression" in more:
            passes = condition_of(more["FilterExpression"])
            page = [item for item in page if passes(item, values)]
        if more.get("Select") == "COUNT":
            return {"Count": len(page)}
        if "ProjectionExpression" in more:
            names = [name.strip(" #") for name in more["ProjectionExpression"].split(",")]
            page = [{name: item[name] for name in names if name in item} for item in page]
        return {"Items": page}

    @staticmethod
    def _check(operation: str, item: Item | None, more: dict[str, Any]) -> None:
        condition = more.get("ConditionExpression")
        if condition and not condition_of(condition)(item or {}, more.get("ExpressionAttributeValues", {})):
            shown = {"Item": item} if item and "ReturnValuesOnConditionCheckFailure" in more else {}
            raise refusal(
                "ConditionalCheckFailedException", operation, "The conditional request failed", **shown
            )
