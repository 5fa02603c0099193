"""Items of DynamoDB as plain values."""

import json
from decimal import Decimal

import botocore.session
import pytest
from boto3.dynamodb.types import TypeSerializer
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from hypothesis import example, given
from hypothesis import strategies as st

from relay.adapters.dynamodb import Table, from_item, to_item, with_fast_reads


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


SCALARS = (
    st.none() | st.booleans() | st.text() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(SCALARS, lambda value: st.lists(value) | st.dictionaries(st.text(), value))


@given(VALUES)
@example(tuple("ab"))
@example(Decimal("1E+126"))
@example(10**38)
@example(10**38 + 1)
@example(0.5)
def test_a_value_is_written_or_refused_as_by_boto3(value):
    def written(write):
        try:
            return write(value)
        except (ArithmeticError, TypeError) as error:
            return type(error)

    assert written(lambda value: to_item({"a": value})["a"]) == written(TypeSerializer().serialize)


class Raw:
    """A body of a response as botocore reads it from a socket."""

    def __init__(self, text):
        self.text = text

    def stream(self):
        yield self.text.encode()


def answered(status, answer):
    """Return a client to which DynamoDB answers always the same."""
    client = botocore.session.get_session().create_client(
        "dynamodb", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    response = AWSResponse("https://dynamodb", status, {}, Raw(json.dumps(answer)))
    client.meta.events.register("before-send.dynamodb", lambda **_: response)
    return with_fast_reads(client)


def test_what_was_written_is_read():
    values = {"text": "é", "yes": True, "none": None, "list": [[], {}, 1], "object": {"S": {"N": "1"}}}
    item = to_item(values)
    table = Table(answered(200, {"Item": item, "Items": [item, item], "Count": 2}), "table")
    assert table.get({"session": "1"}) == values
    assert list(table.query("#session = :a", {":a": "1"})) == [values, values]


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("query", {"TableName": "table"}),
        ("get_item", {"TableName": "table", "Key": {}}),
        ("batch_get_item", {"RequestItems": {"table": {"Keys": [{}]}}}),
    ],
)
def test_no_value_is_looked_up_in_botocores_model(operation, arguments):
    items = [{"a": {"a kind that the model does not have": {}}}]
    assert getattr(answered(200, {"Items": items}), operation)(**arguments)["Items"] == items


def test_an_error_of_dynamodb_is_still_an_error():
    refused = {"__type": "com.amazonaws.dynamodb.v20120810#ValidationException", "message": "no"}
    with pytest.raises(ClientError) as error:
        Table(answered(400, refused), "table").get({"session": "1"})
    assert error.value.response["Error"]["Code"] == "ValidationException"


def test_what_dynamodb_has_not_deleted_yet_is_deleted_by_the_next_call():
    class Client:
        left = 3

        def batch_write_item(self, RequestItems):  # noqa: N803
            self.left -= 1
            (requests,) = RequestItems.values()
            return {"UnprocessedItems": {"table": requests[1:]} if requests[1:] else {}}

    client = Client()
    Table(client, "table").delete_many([{"session": text} for text in "abc"])
    assert client.left == 0


def test_to_delete_no_item_needs_no_call():
    Table(None, "table").delete_many([])
