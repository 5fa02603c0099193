"""JSON documents for fuzzing: those that a schema allows, those that it nearly allows, and any other."""

import json
import re
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from jsonschema import Draft7Validator

Schema = dict[str, Any]

JSON: SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.text(st.characters(categories=["Cs", "Cc", "So"]), max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
"""Any value that Python's `json` writes: NaN, half an emoji and integers past 38 digits are among them."""


def allowed_by(schema: Schema) -> SearchStrategy[Any]:
    """Make values that a JSON schema of the relay allows."""
    return _values(schema).filter(Draft7Validator(schema).is_valid)


@st.composite
def nearly(draw: st.DrawFn, values: SearchStrategy[Any]) -> Any:
    """Make a value with one place, at any depth, that is missing or something else."""
    value = draw(values)
    if isinstance(value, dict) and value:
        name = draw(st.sampled_from(sorted(value)))
        change = draw(st.sampled_from(["drop", "replace", "descend", "null"]))
        rest = {key: item for key, item in value.items() if key != name}
        match change:
            case "drop":
                return rest
            case "null":
                return value | {name: None}
            case "descend":
                return value | {name: draw(nearly(st.just(value[name])))}
        return value | {name: draw(JSON)}
    if isinstance(value, list) and value:
        return [draw(nearly(st.just(value[0]))), *value[1:]]
    return draw(JSON)


@st.composite
def written(draw: st.DrawFn, values: SearchStrategy[Any]) -> str:
    """Write a value as JSON, with escapes or without; half an emoji needs one."""
    text = json.dumps(draw(values), ensure_ascii=draw(st.booleans()))
    return text.encode("utf-8", "backslashreplace").decode()


RARE = ["1e999", "-1e-999", "9" * 5_000, "[" * 1_000, '{"a": 1, "a": 2}', "NaN", r'"\ud800"', "\ufeff"]
"""Pieces that readers of JSON take for different things, or refuse."""
FIELD = re.compile(r'(?<=: )(?:[^\[\]{}",: ]+|"[^"\\]*")')
"""The value of a field that is neither list nor object."""


@st.composite
def damaged(draw: st.DrawFn, texts: SearchStrategy[str]) -> str:
    """Make a text with a piece cut out, written twice, or replaced; it may be the value of a field."""
    text, whole_field = draw(texts), draw(st.booleans())
    fields = [field.span() for field in FIELD.finditer(text)]
    if fields and whole_field:
        begin, end = draw(st.sampled_from(fields))
    else:
        begin, end = sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    piece = st.sampled_from(["", text[begin:end] * 2, *RARE]) | st.text(max_size=5)
    return text[:begin] + draw(piece) + text[end:]


def _values(schema: Schema) -> SearchStrategy[Any]:
    """Make values that the schema allows by its types and by `if` and `then`."""
    if "if" in schema and "then" in schema:
        rest = {name: value for name, value in schema.items() if name not in ("if", "then")}
        return _values(rest) | _values(_merged(_merged(rest, schema["if"]), schema["then"]))
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object":
            return _objects(schema.get("properties", {}), schema.get("required", []))
        case "array":
            return st.lists(_values(schema["items"]), min_size=schema.get("minItems", 0), max_size=4)
        case "string":
            return _strings(schema)
        case "integer":
            return st.integers()
        case "boolean":
            return st.booleans()
    return JSON


def _objects(properties: Schema, required: list[str]) -> SearchStrategy[Any]:
    fields = {name: _values(one) for name, one in properties.items()}
    known = st.fixed_dictionaries(
        {name: fields.pop(name) for name in required},
        optional=fields,
    )
    return st.builds(
        lambda own, more: more | own, known, st.dictionaries(st.text(max_size=12), JSON, max_size=1)
    )


def _strings(schema: Schema) -> SearchStrategy[str]:
    if pattern := schema.get("pattern"):
        return st.from_regex(str(pattern), fullmatch=True)
    longest = schema.get("maxLength")
    texts = st.text(min_size=schema.get("minLength", 0), max_size=longest)
    return texts | st.characters(codec="utf-8").map(lambda one: one * longest) if longest else texts


def _merged(schema: Schema, more: Schema) -> Schema:
    properties = {**schema["properties"]}
    for name, one in more.get("properties", {}).items():
        properties[name] = {**properties.get(name, {}), **one}
    return {**schema, "properties": properties, "required": [*schema["required"], *more.get("required", [])]}
