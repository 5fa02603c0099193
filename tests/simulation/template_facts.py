"""What template.yaml says of queues, functions and their event sources."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short tags as {tag: value}."""


def _tagged(loader: _Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {tag: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {tag: loader.construct_sequence(node, deep=True)}
    raise NotImplementedError(tag)


_Loader.add_multi_constructor("!", _tagged)


@cache
def properties(logical_id: str) -> dict[str, Any]:
    """Return the properties of a resource."""
    found: dict[str, Any] = template()["Resources"][logical_id]["Properties"]
    return found


@cache
def default_of(parameter: str) -> Any:
    """Return the default of a parameter."""
    return template()["Parameters"][parameter].get("Default")


def event_sources(function: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the event sources of a function that Lambda polls: the source's logical id, and all else."""
    events = properties(function)["Events"].values()
    polled = [event["Properties"] for event in events if event["Type"] in ("SQS", "DynamoDB")]
    return [
        (source.get("Queue", source.get("Stream"))["GetAtt"].partition(".")[0], source) for source in polled
    ]


@cache
def template() -> dict[str, Any]:
    """Return the whole template."""
    read: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text("utf-8"), _Loader)  # noqa: S506
    return read
