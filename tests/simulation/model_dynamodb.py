"""DynamoDB: conditional writes, indexes that lag behind, pages, and streams."""

from bisect import insort
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any

from relay.domain.keys import OPERATOR, UNANSWERED
from relay.domain.record import current
from simulation.dynamodb_expressions import Item, change_of, condition_of, plain
from simulation.faults import PAGE_BYTES
from simulation.model_aws import refusal
from simulation.world import World

MAX_INDEX_LAG = 0.95
"""Seconds by which an index is behind its table at the most."""

MAX_ITEM_BYTES = 400 * 1024

NEW_ATTRIBUTES = {"original_message_id", "lease_1", "lease_2", "lease_3", "lease_4"}
"""Attributes that earlier code did not write: of records and bots' items."""

FORMER_NAMES = {"keys_used": "refusals", "outcome_unknown": "unknown", "last_response": "last_answer"}
FORMER_MARKS = {"merged": "indirect", "probable": "probable", "unfinished": "unfinished"}
"""The attributes that earlier code had in place of a kind of answer. Other kinds had none."""

Key = tuple[str, str]


def former(item: Item) -> Item:
    """Return an item as earlier code wrote it."""
    fields = {
        FORMER_NAMES.get(name, name): value for name, value in item.items() if name not in NEW_ATTRIBUTES
    }
    kind = plain(fields.pop("answer_kind", None))
    if kind in FORMER_MARKS:
        fields[FORMER_MARKS[kind]] = {"BOOL": True}
    if plain(fields.get("awaiting")) == UNANSWERED:
        fields["awaiting"] = {"S": OPERATOR}
    return fields


def as_of_today(item: Item) -> Item:
    """Return an item of earlier code with the names that the conditions of the code of today have."""
    fields = {name: value for name, value in item.items() if name not in FORMER_MARKS.values()}
    kind = current(item).get("answer_kind")
    return current(fields) | ({"answer_kind": {"S": kind}} if isinstance(kind, str) else {})


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

    def entry(self, item: Item) -> tuple[str, ...] | None:
        """Return the keys under which an item is in the view, None if it is not."""
        return tuple(item[name]["S"] for name in self.key) if item.keys() >= set(self.key) else None

    def of_hash(self, value: str) -> list[tuple[str, Key, Item]]:
        return self.items.get(value, [])


def size_of(item: Item) -> int:
    """Return the bytes of an item, about as DynamoDB counts them."""
    return sum(len(name) + len(str(content)) for name, value in item.items() for content in value.values())


def _check_size(operation: str, item: Item) -> None:
    if size_of(item) > MAX_ITEM_BYTES:
        raise refusal("ValidationException", operation, "Item size has exceeded the maximum allowed size")


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
    expired: dict[Key, Item] = field(default_factory=dict)
    """The items that their time to live has ended."""
    erased: dict[Key, list[Item]] = field(default_factory=lambda: defaultdict(list))
    """The items that an operator has erased: a message that SQS delivers once more has a second record."""
    erased_at: dict[Key, float] = field(default_factory=dict)
    upgraded_at: float = 0
    """Until then (Unix seconds) the functions write items as earlier code did."""
    _pending: deque[tuple[float, Key, Item | None, Item | None]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._view = View(self.key)

    def key_of(self, item: Item) -> Key:
        return item[self.key[0]]["S"], item[self.key[1]]["S"]

    def put(self, key: Key, new: Item | None) -> None:
        """Replace an item; its indexes and streams follow."""
        old = self.items.get(key)
        if new and self.world.now < self.upgraded_at:
            new = former(new)
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

    def seen(self, key: Key) -> Item | None:
        """Return an item as conditions see it: until the upgrade they name what earlier code wrote."""
        item = self.items.get(key)
        return as_of_today(item) if item and self.world.now < self.upgraded_at else item

    def expire(self) -> None:
        """Delete some of the items that have expired. DynamoDB can delete an item days later."""
        for key, item in list(self.items.items()):
            over = "expires_at" in item and int(item["expires_at"]["N"]) <= self.world.now
            if over and self.world.chance("time to live").random() < 0.2:
                self.world.note(self.name, f"deletes {key}, which has expired")
                self.expired[key] = item
                self.put(key, None)

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
    """The service. `units` are the read and write units that its calls took, each by the function."""

    name, throttled = "dynamodb", "ProvisionedThroughputExceededException"

    def __init__(self, tables: list[DynamoTable], page_bytes: int = PAGE_BYTES) -> None:
        self.tables = {table.name: table for table in tables}
        self.page_bytes = page_bytes
        self.units: defaultdict[tuple[str, str], float] = defaultdict(float)

    def get_item(self, TableName: str, Key: Item, ConsistentRead: bool = False) -> dict[str, Any]:
        table = self.tables[TableName]
        item = table.items.get(table.key_of(Key), {})
        self._count_read(table, size_of(item), ConsistentRead)
        return {"Item": item} if item else {}

    def batch_get_item(self, RequestItems: dict[str, Any]) -> dict[str, Any]:
        ((name, wanted),) = RequestItems.items()
        found = [self.get_item(name, key) for key in wanted["Keys"]]
        return {"Responses": {name: [one["Item"] for one in found if one]}}

    def put_item(self, TableName: str, Item: Item, **more: Any) -> dict[str, Any]:
        table = self.tables[TableName]
        _check_size("PutItem", Item)
        key = table.key_of(Item)
        self._check("PutItem", table, key, more)
        self._count_write(table, table.items.get(key, {}), Item)
        table.put(key, Item)
        return {}

    def update_item(self, TableName: str, Key: Item, **more: Any) -> dict[str, Any]:
        table = self.tables[TableName]
        key = table.key_of(Key)
        self._check("UpdateItem", table, key, more)
        old = table.seen(key)
        new = change_of(more["UpdateExpression"])(old or Key, more.get("ExpressionAttributeValues", {}))
        _check_size("UpdateItem", new)
        self._count_write(table, old or {}, new)
        table.put(key, new)
        returned = {"ALL_OLD": old or {}, "ALL_NEW": table.items[key]}.get(more.get("ReturnValues", ""), {})
        return {"Attributes": returned} if returned else {}

    def delete_item(self, TableName: str, Key: Item) -> dict[str, Any]:
        table = self.tables[TableName]
        self._count_write(table, table.items.get(table.key_of(Key), {}), {})
        if table.key_of(Key) in table.items:
            table.put(table.key_of(Key), None)
        return {}

    def batch_write_item(self, RequestItems: dict[str, list[Any]]) -> dict[str, Any]:
        ((name, requests),) = RequestItems.items()
        table = self.tables[name]
        # DynamoDB need not do all of it at once.
        done = len(requests)
        if table.world.chance("unprocessed").random() < 0.2:
            done = -(-done // 2)
        for request in requests[:done]:
            key = table.key_of(request["DeleteRequest"]["Key"])
            if key in table.items:
                table.erased[key].append(table.items[key])
                table.erased_at[key] = table.world.now
                table.expired.pop(key, None)
                table.put(key, None)
        return {"UnprocessedItems": {name: requests[done:]} if requests[done:] else {}}

    def query(self, TableName: str, **more: Any) -> dict[str, Any]:
        table, values = self.tables[TableName], more.get("ExpressionAttributeValues", {})
        view = table.view(more.get("IndexName"))
        condition = more["KeyConditionExpression"]
        matches = condition_of(condition)
        hash_value = plain(values[condition.split(" AND ")[0].partition(" = ")[2]])
        found = view.of_hash(hash_value)
        backwards = not more.get("ScanIndexForward", True)
        entries = (one for one in (reversed(found) if backwards else found) if matches(one[2], values))
        if start := more.get("ExclusiveStartKey"):
            last = start[view.key[1]]["S"], table.key_of(start)
            entries = (one for one in entries if (_order(one) < last if backwards else _order(one) > last))
        items: Iterable[Item] = (item for *_, item in entries)
        keys = {*table.key, *view.key}
        if more.get("IndexName"):
            # Both indexes have the keys only.
            items = ({name: item[name] for name in keys} for item in items)
        page, is_full = self._page(items, more.get("Limit", inf))
        self._count_read(table, sum(map(size_of, page)), more.get("ConsistentRead", False))
        rest = {"LastEvaluatedKey": {name: page[-1][name] for name in keys}} if is_full else {}
        if "FilterExpression" in more:
            passes = condition_of(more["FilterExpression"])
            page = [item for item in page if passes(item, values)]
        if more.get("Select") == "COUNT":
            return {"Count": len(page)} | rest
        if "ProjectionExpression" in more:
            names = [name.strip(" #") for name in more["ProjectionExpression"].split(",")]
            page = [{name: item[name] for name in names if name in item} for item in page]
        return {"Items": page} | rest

    def _page(self, items: Iterable[Item], limit: float) -> tuple[list[Item], bool]:
        """Return the first items up to `limit` and the size of a page, and whether that is full."""
        page, size = list[Item](), 0
        for item in items:
            size += size_of(item)
            if page and size > self.page_bytes:
                return page, True
            page.append(item)
            if len(page) == limit:
                return page, True
        return page, False

    def _count_read(self, table: DynamoTable, size: int, is_consistent: bool) -> None:
        """Count a read of so many bytes. Source: "DynamoDB read and write operations", developer guide."""
        units = max(1, ceil(size / 4096)) / (1 if is_consistent else 2)
        self.units[table.world.program, "read"] += units

    def _count_write(self, table: DynamoTable, old: Item, new: Item) -> None:
        """Count a write, and what it changes in the indexes, whose entries are under 1 KB."""
        units = max(1, ceil(max(size_of(old), size_of(new)) / 1024))
        for view in table.indexes.values():
            before, after = view.entry(old), view.entry(new)
            if before != after:
                units += (before is not None) + (after is not None)
        self.units[table.world.program, "write"] += units

    def _check(self, operation: str, table: DynamoTable, key: Key, more: dict[str, Any]) -> None:
        condition, item = more.get("ConditionExpression"), table.seen(key)
        if condition and not condition_of(condition)(item or {}, more.get("ExpressionAttributeValues", {})):
            self._count_write(table, item or {}, item or {})
            shown = {"Item": item} if item and "ReturnValuesOnConditionCheckFailure" in more else {}
            raise refusal(
                "ConditionalCheckFailedException", operation, "The conditional request failed", **shown
            )
