"""The check of a queued message by the JSON schema beside this file."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast


@cache
def _check() -> Callable[[Any], Any]:
    import fastjsonschema

    schema = json.loads(Path(__file__).with_name("message.schema.json").read_text("utf-8"))
    return cast(Callable[[Any], Any], fastjsonschema.compile(schema, use_default=False))


def message_fault(value: Any) -> str | None:
    """Return the first fault of a message by the schema, with the field's name, or None."""
    from fastjsonschema import JsonSchemaValueException

    try:
        _check()(value)
    except JsonSchemaValueException as fault:
        match fault.rule:
            case "required":
                missing = next(key for key in fault.rule_definition if key not in fault.value)
                return f"{fault.name}.{missing} is required".removeprefix("data.")
            case "oneOf":
                return "give either message or text"
            case _:
                return str(fault.message).removeprefix("data.").replace("data must", "it must")
    return None
