import json
from pathlib import Path

import pytest

from relay.domain import schemas
from relay.domain.bot import BOT_NAME
from relay.domain.message import parse_message
from relay.domain.schemas import schema_fault

MESSAGE = {"session_id": "s-1", "text": "hi"}
PART = {"session_id": "s-1", "reply_to": "in_1", "sequence": 1, "is_final": True, "message": []}
VALID = [
    ("message", MESSAGE),
    ("message", {"session_id": "s-1", "message": [{"type": "Image"}, {"type": "Plain", "text": "hi"}]}),
    ("message", {"session_id": "s-1", "action": "reset"}),
    ("part", PART),
    ("part", PART | {"reply_to": "", "stream": False, "timestamp": 5}),
]


def schema(name):
    path = Path(schemas.__file__).with_name(f"{name}.schema.json")
    return json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize(("name", "value"), VALID)
def test_a_valid_value_has_no_fault_and_is_not_changed(name, value):
    before = json.dumps(value)
    assert schema_fault(name, value) is None
    assert json.dumps(value) == before


@pytest.mark.parametrize(("name", "value"), VALID)
def test_fields_that_a_schema_does_not_name_are_allowed(name, value):
    assert schema_fault(name, value | {"trace": {"id": [None]}}) is None


@pytest.mark.parametrize(
    ("name", "value", "missing"),
    [
        *(("part", PART, field) for field in PART),
        *(("message", MESSAGE, field) for field in ["session_id"]),
    ],
)
def test_a_missing_field_is_named(name, value, missing):
    rest = {field: value[field] for field in value if field != missing}
    assert schema_fault(name, rest) == f"{missing} is required"


@pytest.mark.parametrize("value", [None, [], "hi", 5, True])
@pytest.mark.parametrize("name", ["message", "part"])
def test_a_value_that_is_no_object_is_a_fault(name, value):
    assert schema_fault(name, value) == "it must be object"


def test_a_fault_deep_in_a_value_is_named_with_its_path():
    segments = [{"type": "Image"}, {"type": "Plain"}]
    fault = schema_fault("message", {"session_id": "s-1", "message": segments})
    assert fault == "message[1].text is required"


@pytest.mark.parametrize("content", [{}, {"text": "hi", "message": [{"type": "Image"}]}])
def test_a_message_has_either_segments_or_a_text(content):
    assert schema_fault("message", {"session_id": "s-1"} | content) == "give either message or text"


def test_a_fault_never_quotes_a_value():
    fault = schema_fault("message", MESSAGE | {"session_type": "private words"})
    assert fault.startswith("session_type must be one of")
    assert "private words" not in fault


@pytest.mark.parametrize("name", ["a", "a" * 63, "0-a", "", "a" * 64, "-a", "A", "a_b", "a\n", "é"])
def test_the_schema_accepts_the_names_that_bots_can_have_and_no_others(name):
    accepted = schema_fault("message", MESSAGE | {"bot": name}) is None
    assert accepted is bool(BOT_NAME.fullmatch(name))


@pytest.mark.parametrize("field", ["bot", "action"])
def test_the_default_in_the_schema_is_the_one_that_a_message_gets(field):
    assert (
        getattr(parse_message(json.dumps(MESSAGE)), field)
        == schema("message")["properties"][field]["default"]
    )
