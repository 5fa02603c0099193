"""What docs/reference.md shows of the template and the code: cog puts it there (`make docs`).

Each function returns Markdown, and raises KeyError for what has no description.
"""

import ast
import io
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout, suppress
from itertools import groupby
from pathlib import Path
from typing import Any
from unittest.mock import patch

from relay.domain.states import TRANSITIONS, WRITTEN_BY_PUSH, State
from relay_cli.main import EXIT_CODES, parser
from simulation.template_facts import template

ROOT = Path(__file__).parents[2]
FUNCTIONS = ROOT / "functions"
EVENT_FUNCTIONS = ("push", "callback", "settle", "publish")
START = "[*]"
SHARED_OPTIONS = ("-h, --help", "--stack NAME", "--json")
COMPARISONS = {"GreaterThanThreshold": "above", "GreaterThanOrEqualToThreshold": "at least"}


def table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table; a cell may have line breaks and pipes."""
    lines = [list(columns), *(list(map(str, row)) for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    cells = [[" ".join(cell.split()).replace("|", r"\|") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def code(text: object) -> str:
    """Return a text as code, or nothing if it is empty."""
    return f"`{text}`" if str(text) else ""


# ---------------------------------------------------------------- the template


def parameters() -> str:
    """Return the parameters of the stack."""
    rows = [
        (code(name), code(one["Default"]), _allowed(one), one["Description"])
        for name, one in template()["Parameters"].items()
    ]
    return table(["parameter", "default", "values", "meaning"], rows)


def _allowed(parameter: dict[str, Any]) -> str:
    if values := parameter.get("AllowedValues"):
        return ", ".join(map(code, values))
    limits = [("from", "MinValue"), ("to", "MaxValue")]
    return " ".join(f"{word} {parameter[limit]}" for word, limit in limits if limit in parameter)


def outputs() -> str:
    """Return the outputs of the stack."""
    return table(
        ["output", "meaning"],
        [(code(name), one["Description"]) for name, one in template()["Outputs"].items()],
    )


def alarms() -> str:
    """Return the alarms of the stack, each with its own description."""
    rows = [
        (code(name), _starts(one["Properties"]), one["Properties"]["AlarmDescription"])
        for name, one in template()["Resources"].items()
        if one["Type"] == "AWS::CloudWatch::Alarm"
    ]
    return table(["alarm", "starts when", "meaning, and what to do"], rows)


def _starts(alarm: dict[str, Any]) -> str:
    comparison = f"{COMPARISONS[alarm['ComparisonOperator']]} {alarm['Threshold']}"
    periods = alarm["EvaluationPeriods"]
    needed = alarm.get("DatapointsToAlarm", periods)
    minutes = f"{alarm['Period'] // 60} min"
    missing = ", or has no value" if alarm["TreatMissingData"] == "breaching" else ""
    span = minutes if periods == 1 else f"{needed} of {periods} times {minutes}"
    return f"{code(alarm['MetricName'])} ({alarm['Statistic'].lower()}) is {comparison} in {span}{missing}"


# ---------------------------------------------------------------- the command


def help_rows(*words: str) -> list[tuple[str, str]]:
    """Return what the help of a command lists: each command, argument or option, and what it says of it."""
    printed = io.StringIO()
    # In a wide terminal no version of argparse wraps a line.
    wide = patch.dict(os.environ, COLUMNS="1000", NO_COLOR="1")
    with wide, redirect_stdout(printed), suppress(SystemExit):
        parser()[0].parse_args([*words, "--help"])
    listed = printed.getvalue().partition("\nexit codes")[0]
    rows = re.findall(r"^ {2,4}(\S.*?)(?:(?: {2,}|\n {5,})(\S.*))?$", listed, re.MULTILINE)
    described = [(name, text) for name, text in rows if name not in ("COMMAND", "ACTION")]
    if lacking := [name for name, text in described if not text]:
        raise KeyError(f"`relay {' '.join(words)}`: {', '.join(lacking)} needs a help")
    return described


def commands() -> str:
    """Return the commands, with the arguments and options that are their own."""
    return "\n".join(_command(name, text) for name, text in _subcommands())


def _subcommands() -> Iterator[tuple[str, str]]:
    known = parser()[1]
    for listed, text in help_rows():
        # Behind a command the help has its former name.
        name = listed.partition(" ")[0]
        if name not in known:
            continue
        yield name, text
        if name == "bots":
            actions = [row for row in help_rows(name) if not row[0].startswith("-")]
            yield from ((f"{name} {action}", text) for action, text in actions)


def _command(name: str, text: str) -> str:
    about = f"#### `relay {name}`\n\n{text[0].upper()}{text[1:]}.\n"
    rows = [(code(what), says) for what, says in help_rows(*name.split()) if what not in SHARED_OPTIONS]
    return f"{about}\n{table(['', ''], rows)}" if rows and name != "bots" else about


def shared_options() -> str:
    """Return the options that most commands have."""
    rows = dict(help_rows("show"))
    return table(["option", "meaning"], [(code(name), rows[name]) for name in SHARED_OPTIONS])


def exit_codes() -> str:
    """Return the exit codes of the command."""
    return table(["code", "meaning"], re.findall(r"^ +(\d+)  (.*)$", EXIT_CODES, re.MULTILINE))


# ---------------------------------------------------------------- the code


def members(path: str, name: str) -> dict[str, tuple[str, str]]:
    """Return the fields or values of a class: of each its type or value, and its docstring."""
    tree = ast.parse((FUNCTIONS / path).read_text("utf-8"))
    (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    found = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign):
            member, shown = ast.unparse(node.target), ast.unparse(node.annotation)
        elif isinstance(node, ast.Assign):
            member, shown = ast.unparse(node.targets[0]), ast.literal_eval(node.value)
        else:
            continue
        match after:
            case ast.Expr(ast.Constant(str(text))):
                found[member] = (shown, text)
            case _:
                raise KeyError(f"{name}.{member} needs a docstring in functions/{path}")
    return found


def attributes(path: str, name: str) -> str:
    """Return the attributes of an item, which a TypedDict describes."""
    return table(
        ["attribute", "type", "meaning"],
        [(code(member), _type(shown), text) for member, (shown, text) in members(path, name).items()],
    )


def _type(annotation: str) -> str:
    inner = annotation.removeprefix("NotRequired[")
    return code(inner) if inner == annotation else f"{code(inner[:-1])}, optional"


def values(path: str, name: str) -> str:
    """Return the values of an enumeration."""
    return table(["value", "meaning"], [(code(value), text) for value, text in members(path, name).values()])


def metrics() -> str:
    """Return the metrics: who writes each, by which dimension, and in which unit."""
    written = _written_metrics()
    return table(
        ["metric", "of", "unit", "written by", "meaning"],
        [
            (code(value), *map(", ".join, map(sorted, written[member])), text)
            for member, (value, text) in members("relay/metrics.py", "Metric").items()
        ],
    )


def _written_metrics() -> dict[str, tuple[set[str], set[str], set[str]]]:
    """Return of each metric its dimensions, its units, and the functions that write it."""
    found: dict[str, tuple[set[str], set[str], set[str]]] = defaultdict(lambda: (set(), set(), set()))
    for function in EVENT_FUNCTIONS:
        for path in (FUNCTIONS / function).glob("*.py"):
            nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
            calls = [node for node in nodes if isinstance(node, ast.Call) and _is_metric_call(node)]
            direct = {name for call in calls for name in _metrics_in(call.args[0])}
            indirect = {name for node in nodes for name in _metrics_in(node)} - direct
            for call in calls:
                for name in set(_metrics_in(call.args[0])) or indirect:
                    dimensions, units, functions = found[name]
                    dimensions.add(code(call.keywords[0].arg) if call.keywords else "the stack")
                    units.add("ms" if ast.unparse(call.func).endswith(".duration") else "count")
                    functions.add(function)
    return found


def _is_metric_call(call: ast.Call) -> bool:
    return bool(re.search(r"\bmetrics\.(count|gauge|duration)$", ast.unparse(call.func)))


def _metrics_in(node: ast.AST) -> list[str]:
    return [node.attr] if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Metric" else []


def diagram() -> str:
    """Return the states of a message and what changes them, as Mermaid draws them; push names no cause."""
    arrows = [(old, new, "") for old in (START, State.RETRYING) for new in WRITTEN_BY_PUSH]
    arrows += [
        (old, transition.to or old, cause)
        for cause, transition in TRANSITIONS.items()
        for old in dict.fromkeys(origin.state for origin in transition.allowed_from)
    ]
    order = [START, *State]
    arrows.sort(key=lambda arrow: (order.index(arrow[0]), order.index(arrow[1])))
    lines = ["stateDiagram-v2"]
    for (old, new), same in groupby(arrows, key=lambda arrow: arrow[:2]):
        causes = ", ".join(cause for *_, cause in same)
        lines.append(f"    {old} --> {new}" + (f": {causes}" if causes else ""))
    return "```mermaid\n" + "\n".join(lines) + "\n```\n"


def transitions() -> str:
    """Return the changes of a record that is written: from which states, to which, and what they write."""
    rows = [
        (
            cause,
            ", ".join(code(old) for old in dict.fromkeys(origin.state for origin in one.allowed_from)),
            code(one.to or "as before"),
            ", ".join(map(code, one.sets)),
            ", ".join(map(code, one.removes)),
        )
        for cause, one in TRANSITIONS.items()
    ]
    return table(["cause", "from", "to", "sets", "removes"], rows)


# ---------------------------------------------------------------- the schemas


def schema(path: str) -> str:
    """Return what a JSON schema says, a row for each field."""
    read = json.loads((ROOT / path).read_text("utf-8"))
    rows = [(code(name), kind, one["description"]) for name, kind, one in _fields(read)]
    link = os.path.relpath(ROOT / path, ROOT / "docs")
    return f"{read['description']} [Schema]({link}).\n\n" + table(["field", "type", "meaning"], rows)


def events() -> str:
    """Return the events, each with what is in its `data`."""
    paths = sorted((ROOT / "docs/events").glob("*.schema.json"))
    return "\n".join(_event(path) for path in paths)


def _event(path: Path) -> str:
    read = json.loads(path.read_text("utf-8"))
    rows = [(code(name), kind, one["description"]) for name, kind, one in _fields(read["properties"]["data"])]
    sample = f"../events/{path.name.partition('.')[0].replace('-', '_')}.json"
    about = f"{read['description']} [Schema](events/{path.name}), [sample]({sample})."
    return f"### {read['title']}\n\n{about}\n\n" + table(["field of `data`", "type", "meaning"], rows)


def _fields(schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the fields of a schema and of the objects in it: the name, the type, and the field's schema."""
    for name, one in schema["properties"].items():
        kind = ", ".join(map(code, one["enum"])) if "enum" in one else one.get("type", "any")
        yield prefix + name, kind if name in schema.get("required", ()) else f"{kind}, optional", one
        if "properties" in one:
            yield from _fields(one, f"{prefix}{name}.")
