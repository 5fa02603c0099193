"""What DynamoDB cannot hold goes to the overflow bucket."""

import pytest

from relay.adapters.overflow_bucket import MAX_VALUES, OverflowingItem, put_item


class Store:
    """A table and a bucket that keep what they are given."""

    def __init__(self):
        self.items, self.objects = [], {}

    def put(self, first, second, *_):
        if isinstance(first, str):
            self.objects[first] = second
        else:
            self.items.append(first)
        return True


def kept(message):
    """Return the items that the table is asked to hold, and the paths in the bucket."""
    store = Store()
    entry = OverflowingItem({"part": "1", "message": message}, {"part": "1"}, b"raw", "parts/1")
    assert put_item(store, store, entry, "", {})
    return store.items, store.objects


@pytest.mark.parametrize(
    "message",
    [[0] * MAX_VALUES, [[[]] * (MAX_VALUES // 2)] * 3, [{"a": {"b": []}}] * (MAX_VALUES // 2)],
    ids=["flat", "lists", "objects"],
)
def test_an_item_of_too_many_values_is_not_tried_at_the_table(message):
    assert kept(message) == ([{"part": "1", "overflow": "parts/1"}], {"parts/1": b"raw"})


def test_an_item_of_many_values_is_kept_as_it_is():
    message = [0] * (MAX_VALUES - 3)
    assert kept(message) == ([{"part": "1", "message": message}], {})
