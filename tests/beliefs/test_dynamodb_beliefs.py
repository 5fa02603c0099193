"""What the relay believes of DynamoDB. The addresses are those of AWS's documents."""

from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from beliefs.implementations import code_of, on
from support.waiting import eventually

MAX_ITEM_BYTES = 400 * 1024


@pytest.fixture
def session():
    """A partition of the test's own."""
    return f"belief#{uuid4().hex}"


def key(session, message="1"):
    return {"session": {"S": session}, "message": {"S": message}}


def put(aws, table, session, message="1", fields=None, **more):
    item = key(session, message) | (fields or {})
    return aws.client("dynamodb").put_item(TableName=table, Item=item, **more)


def get(aws, table, session, message="1"):
    return (
        aws.client("dynamodb")
        .get_item(TableName=table, Key=key(session, message), ConsistentRead=True)
        .get("Item")
    )


def update(aws, table, session, expression, values=None, **more):
    if values:
        more["ExpressionAttributeValues"] = values
    return aws.client("dynamodb").update_item(
        TableName=table, Key=key(session), UpdateExpression=expression, **more
    )


def query(aws, table, value, of="#session = :value", **more):
    name = of.partition(" ")[0]
    return aws.client("dynamodb").query(
        TableName=table,
        KeyConditionExpression=of,
        ExpressionAttributeNames={name: name.removeprefix("#")},
        ExpressionAttributeValues={":value": {"S": value}},
        **more,
    )


NEW = {
    "ConditionExpression": "attribute_not_exists(#session)",
    "ExpressionAttributeNames": {"#session": "session"},
}


@on("emulator", "moto", "dynalite", "model")
def test_an_item_is_put_once_under_a_condition(aws, table, session):
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.ConditionExpressions.html"""
    put(aws, table, session, fields={"n": {"N": "1"}}, **NEW)
    again = code_of(lambda: put(aws, table, session, fields={"n": {"N": "2"}}, **NEW))
    assert (again, get(aws, table, session)["n"]) == ("ConditionalCheckFailedException", {"N": "1"})


@on("emulator", "moto", "model", dynalite="it does not know ReturnValuesOnConditionCheckFailure")
def test_a_condition_that_fails_shows_the_item(aws, table, session):
    """https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_PutItem.html"""
    put(aws, table, session, fields={"n": {"N": "1"}})
    with pytest.raises(ClientError) as refused:
        put(aws, table, session, **NEW, ReturnValuesOnConditionCheckFailure="ALL_OLD")
    assert refused.value.response["Item"]["n"] == {"N": "1"}


@on("emulator", "moto", "dynalite", "model")
def test_an_update_makes_an_item_that_is_missing(aws, table, session):
    """https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_UpdateItem.html"""
    update(aws, table, session, "SET n = :n", {":n": {"N": "1"}})
    assert get(aws, table, session) == key(session) | {"n": {"N": "1"}}


@on("emulator", "moto", "dynalite", "model")
@pytest.mark.parametrize("condition", ["n = :n", "n < :n", "n > :n"])
def test_an_attribute_that_is_missing_equals_nothing(aws, table, session, condition):
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html

    A condition that must hold for a missing attribute has to say so, or to be `<>`.
    """
    put(aws, table, session)
    one = {":n": {"N": "1"}}
    changed = code_of(lambda: update(aws, table, session, "SET n = :n", one, ConditionExpression=condition))
    assert changed == "ConditionalCheckFailedException"
    update(aws, table, session, "SET n = :n", one, ConditionExpression="n <> :n")


@on("emulator", "moto", "dynalite", "model")
def test_an_update_returns_the_item_before_or_after_it(aws, table, session):
    """https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_UpdateItem.html"""
    one, two = {":n": {"N": "1"}}, {":n": {"N": "2"}}
    assert "Attributes" not in update(aws, table, session, "SET n = :n", one, ReturnValues="ALL_OLD")
    old = update(aws, table, session, "SET n = :n", two, ReturnValues="ALL_OLD")
    new = update(aws, table, session, "SET n = :n", one, ReturnValues="ALL_NEW")
    assert (old["Attributes"]["n"], new["Attributes"]["n"]) == ({"N": "1"}, {"N": "1"})


@on("emulator", "dynalite", "model", moto="it counts more bytes than an item has")
def test_an_item_may_have_400_kb_with_its_names_and_no_more(aws, table, session):
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html"""
    names = len("session") + len("message") + len("body") + len(session) + len("1")
    fits = {"body": {"S": "x" * (MAX_ITEM_BYTES - names)}}
    assert code_of(lambda: put(aws, table, session, fields=fits)) == ""
    too_large = {"body": {"S": fits["body"]["S"] + "x"}}
    assert code_of(lambda: put(aws, table, session, fields=too_large)) == "ValidationException"


@on("emulator", "moto", "dynalite", "model")
def test_an_update_that_makes_an_item_too_large_is_refused(aws, table, session):
    """https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_UpdateItem.html"""
    put(aws, table, session, fields={"body": {"S": "x" * (MAX_ITEM_BYTES - 6000)}})
    grown = code_of(lambda: update(aws, table, session, "SET error = :e", {":e": {"S": "x" * 6000}}))
    assert (grown, "error" in get(aws, table, session)) == ("ValidationException", False)


@on("emulator", "dynalite", moto="it takes longer numbers")
def test_a_number_has_38_digits_at_the_most(aws, table, session):
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html"""
    put(aws, table, session, fields={"n": {"N": "1" * 38}})
    assert code_of(lambda: put(aws, table, session, fields={"n": {"N": "1" * 39}})) == "ValidationException"


@on("emulator", dynalite="it nests without a limit", moto="it nests without a limit")
def test_values_nest_32_deep_at_the_most(aws, table, session):
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html"""

    def nested(depth):
        return {"L": [nested(depth - 1)]} if depth else {"S": "x"}

    put(aws, table, session, fields={"value": nested(31)})
    assert code_of(lambda: put(aws, table, session, fields={"value": nested(33)})) == "ValidationException"


@on("emulator", "moto", "dynalite")
def test_a_key_is_no_empty_string_and_another_value_may_be(aws, table, session):
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html"""
    put(aws, table, session, fields={"text": {"S": ""}})
    assert get(aws, table, session)["text"] == {"S": ""}
    assert code_of(lambda: put(aws, table, session, message="")) == "ValidationException"


@on("emulator", "moto", "dynalite", "model")
def test_a_query_returns_a_session_in_the_order_of_its_keys(aws, table, session):
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.html"""
    for message in ("2", "10", "1"):
        put(aws, table, session, message)
    found = [item["message"]["S"] for item in query(aws, table, session)["Items"]]
    back = [item["message"]["S"] for item in query(aws, table, session, ScanIndexForward=False)["Items"]]
    assert (found, back) == (["1", "10", "2"], ["2", "10", "1"])


@on("emulator", "moto", "dynalite")
def test_a_page_of_a_query_ends_after_one_mebibyte(aws, table, session):
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Pagination.html"""
    for message in "1234":
        put(aws, table, session, message, {"body": {"S": "x" * 300_000}})
    first = query(aws, table, session)
    assert first["LastEvaluatedKey"] == key(session, first["Items"][-1]["message"]["S"])
    rest = query(aws, table, session, ExclusiveStartKey=first["LastEvaluatedKey"])
    assert len(first["Items"]) in (3, 4)
    assert len(first["Items"]) + len(rest["Items"]) == 4


@on("emulator", "moto", "dynalite", "model")
def test_a_filter_takes_items_away_after_the_limit_was_counted(aws, table, session):
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.FilterExpression.html

    A page can be empty and still not be the last.
    """
    for message in "12":
        put(aws, table, session, message)
    found = aws.client("dynamodb").query(
        TableName=table,
        KeyConditionExpression="#session = :s",
        FilterExpression="attribute_exists(n)",
        ExpressionAttributeNames={"#session": "session"},
        ExpressionAttributeValues={":s": {"S": session}},
        Limit=1,
    )
    assert (found["Items"], found["LastEvaluatedKey"]) == ([], key(session, "1"))


def of_index(aws, table, value):
    return query(aws, table, value, "#awaiting = :value", IndexName="awaiting")["Items"]


@on("emulator", "moto", "dynalite", "model")
def test_an_index_has_the_items_with_its_attributes_and_the_keys_only(aws, table, session):
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-indexes-general-sparse-indexes.html"""
    awaiting = {"awaiting": {"S": session}, "due_at": {"S": "2026"}}
    put(aws, table, session, "1", awaiting | {"body": {"S": "x"}})
    put(aws, table, session, "2")
    aws.wait(1)  # an index lags
    expected = [key(session, "1") | awaiting]
    assert eventually(lambda: of_index(aws, table, session), 10) == expected
    update(aws, table, session, "REMOVE awaiting")
    aws.wait(1)
    assert eventually(lambda: not of_index(aws, table, session), 10)


@on("emulator", "moto", "dynalite")
def test_an_index_has_no_consistent_reads(aws, table, session):
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.ReadConsistency.html

    So a count of slots from an index may be behind, and no bound for that is documented.
    """
    read = code_of(
        lambda: query(aws, table, session, "#awaiting = :value", IndexName="awaiting", ConsistentRead=True)
    )
    assert read == "ValidationException"


@on("emulator", "moto", "dynalite")
def test_redundant_parentheses_are_refused(aws, table, session):
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html"""
    condition = "((attribute_not_exists(n)))"
    assert code_of(lambda: put(aws, table, session, ConditionExpression=condition)) == "ValidationException"


def units(aws, table, session, **fields):
    values = {name: {"S": value} for name, value in fields.items()}
    used = put(aws, table, session, fields=values, ReturnConsumedCapacity="INDEXES")["ConsumedCapacity"]
    return used["CapacityUnits"]


@on("emulator", "dynalite", moto="each write costs one unit")
def test_a_write_costs_a_unit_for_each_kb_of_the_larger_item(aws, table, session):
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html"""
    assert units(aws, table, session, body="x") == 1
    assert units(aws, table, session, body="x" * 1500) == 2
    assert units(aws, table, session, body="x") == 2  # it replaces the larger one


@on("emulator", dynalite="it counts the table only", moto="it counts the table only")
def test_a_write_costs_more_for_each_index_that_has_the_item(aws, table, session):
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html"""
    assert units(aws, table, session, awaiting=session, due_at="2026") == 2
    assert units(aws, table, session, awaiting=session, due_at="2027") == 1 + 2  # its entry moves


@on("emulator", "moto", "dynalite", "model")
def test_an_item_whose_time_to_live_is_over_can_still_be_read(aws, table, session):
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ttl-expired-items.html"""
    put(aws, table, session, fields={"expires_at": {"N": "1"}})
    assert get(aws, table, session)["expires_at"] == {"N": "1"}
