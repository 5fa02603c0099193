"""What DynamoDB cannot hold goes to the overflow bucket."""

import pytest
from botocore.exceptions import ClientError

from relay.adapters.overflow_bucket import MAX_VALUES, OverflowBucket, OverflowingItem, put_item
from relay.adapters.replies_table import RepliesTable


class Store:
    """A table and a bucket that keep what they are given."""

    def __init__(self):
        self.items, self.puts = [], []

    def put(self, first, second, *_):
        if isinstance(first, str):
            self.puts.append((first, second))
        else:
            self.items.append(first)
        return True


def kept(message, **more):
    """Return the items that the table is asked to hold, and what was put into the bucket."""
    store = Store()
    entry = OverflowingItem({"part": "1", "message": message}, {"part": "1"}, b"raw", "parts/1", **more)
    assert put_item(store, store, entry, "", {})
    return store.items, store.puts


@pytest.mark.parametrize(
    "message",
    [[0] * MAX_VALUES, [[[]] * (MAX_VALUES // 2)] * 3, [{"a": {"b": []}}] * (MAX_VALUES // 2)],
    ids=["flat", "lists", "objects"],
)
def test_an_item_of_too_many_values_is_not_tried_at_the_table(message):
    assert kept(message) == ([{"part": "1", "overflow": "parts/1"}], [("parts/1", b"raw")])


def test_an_item_of_many_values_is_kept_as_it_is():
    message = [0] * (MAX_VALUES - 3)
    assert kept(message) == ([{"part": "1", "message": message}], [])


@pytest.mark.parametrize(
    ("message", "item"),
    [([0], {"part": "1", "message": [0]}), ([0] * MAX_VALUES, {"part": "1", "overflow": "parts/1"})],
    ids=["small", "large"],
)
def test_a_raw_body_that_is_kept_in_any_case_is_put_once(message, item):
    assert kept(message, keeps_raw=True) == ([item], [("parts/1", b"raw")])


def test_a_body_larger_than_any_escapes_make_it_is_not_tried_at_the_table():
    store = Store()
    part = {"bot": "default", "digest": "d", "session": "s", "part": "1", "sequence": 1}
    part |= {"is_final": True, "stream": True, "message": [], "text": "short"}
    for size in (2_000_000, 3_000_000):
        assert RepliesTable(store, store).store(part, b"x" * size)
    small, large = store.items
    assert (small.get("text"), large.get("text")) == ("short", None)
    assert [path for path, _ in store.puts] == [large["overflow"]]


class S3:
    """A service that refuses to delete."""

    def delete_objects(self, **_):
        return {"Errors": [{"Key": "a", "Code": "AccessDenied", "Message": "no"}]}


def test_a_body_that_s3_does_not_delete_is_an_error():
    with pytest.raises(ClientError, match="AccessDenied"):
        OverflowBucket(S3(), "bucket").delete(["a"])


def test_to_delete_no_body_needs_no_call():
    OverflowBucket(None, "bucket").delete([])
