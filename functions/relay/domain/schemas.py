"""Checks of a queued message and of a reply part by the JSON schemas beside this file."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast


@cache
def _check(name: str) -> Callable[[Any], Any]:
    import fastjsonschema

    schema = json.loads(Path(__file__).with_name(f"{name}.schema.json").read_text("utf-8"))
    return cast(Callable[[Any], Any], fastjsonschema.compile(schema, use_default=False))


def schema_fault(name: Literal["message", "part"], value: Any) -> str | None:
    """Return the first fault of `value` by the schema `name`, with the field's name, or None."""
    from fastjsonschema import JsonSchemaValueException

    try:
        _check(name)(value)
    except JsonSchemaValueException as fault:
        match fault.rule:
            case "required":
                missing = next(key for key in fault.rule_definition if key not in fault.value)
                return f"{fault.name}.{missing} is required".removeprefix("data.")
            case "oneOf":
                return "give either message or text"
            case _:
                return str(fault.message).removeprefix("data.").replace("data must", "it must", 1)
    return None
