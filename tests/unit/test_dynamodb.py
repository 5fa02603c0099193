"""Items of DynamoDB as plain values."""

import pytest

from relay.adapters.dynamodb import from_item


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("7", 7),
        ("-1.50", -1.5),
        ("0.0000001", 1e-7),
        ("123" + "0" * 36, 123 * 10**36),  # what DynamoDB writes for 1.23E+38
        ("1" + "0" * 125, 10**125),
        ("9" * 38, 10**38 - 1),
    ],
)
def test_a_number_is_read_however_many_zeros_dynamodb_writes(written, number):
    value = {"L": [{"M": {"deep": {"N": written}}}]}
    read = from_item({"plain": {"N": written}, "nested": value})
    assert read == {"plain": number, "nested": [{"deep": number}]}
    assert type(read["plain"]) is type(number)
