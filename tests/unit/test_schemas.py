import json
from pathlib import Path

import pytest

from relay.domain import schemas
from relay.domain.bot import BOT_NAME
from relay.domain.message import parse_message
from relay.domain.schemas import message_fault

MESSAGE = {"session_id": "s-1", "text": "hi"}
VALID = [
    MESSAGE,
    {"session_id": "s-1", "message": [{"type": "Image"}, {"type": "Plain", "text": "hi"}]},
    {"session_id": "s-1", "action": "reset"},
]


@pytest.mark.parametrize("value", VALID)
def test_a_valid_message_has_no_fault_and_is_not_changed(value):
    before = json.dumps(value)
    assert message_fault(value) is None
    assert json.dumps(value) == before


@pytest.mark.parametrize("value", VALID)
def test_fields_that_the_schema_does_not_name_are_allowed(value):
    assert message_fault(value | {"trace": {"id": [None]}}) is None


def test_a_missing_field_is_named():
    assert message_fault({"text": "hi"}) == "session_id is required"


@pytest.mark.parametrize("value", [None, [], "hi", 5, True])
def test_a_value_that_is_no_object_is_a_fault(value):
    assert message_fault(value) == "it must be object"


def test_a_fault_deep_in_a_value_is_named_with_its_path():
    segments = [{"type": "Image"}, {"type": "Plain"}]
    fault = message_fault({"session_id": "s-1", "message": segments})
    assert fault == "message[1].text is required"


@pytest.mark.parametrize("content", [{}, {"text": "hi", "message": [{"type": "Image"}]}])
def test_a_message_has_either_segments_or_a_text(content):
    assert message_fault({"session_id": "s-1"} | content) == "give either message or text"


def test_a_fault_never_quotes_a_value():
    fault = message_fault(MESSAGE | {"session_type": "private words"})
    assert fault.startswith("session_type must be one of")
    assert "private words" not in fault


@pytest.mark.parametrize("name", ["a", "a" * 63, "0-a", "", "a" * 64, "-a", "A", "a_b", "a\n", "é"])
def test_the_schema_accepts_the_names_that_bots_can_have_and_no_others(name):
    accepted = message_fault(MESSAGE | {"bot": name}) is None
    assert accepted is bool(BOT_NAME.fullmatch(name))


@pytest.mark.parametrize("field", ["bot", "action"])
def test_the_default_in_the_schema_is_the_one_that_a_message_gets(field):
    schema = json.loads(Path(schemas.__file__).with_name("message.schema.json").read_text("utf-8"))
    assert getattr(parse_message(json.dumps(MESSAGE)), field) == schema["properties"][field]["default"]
