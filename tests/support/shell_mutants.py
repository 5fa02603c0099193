"""The second half of `make mutants`: change the code around the rules, and list what no test notices.

mutmut does not change constants and does not leave out statements, and it runs the unit tests only. Here each
change is tried on a copy of the project, with the unit tests and the simulator, and then with the integration
tests and those of the deployed stack.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
MIN_SCORE = 90
"""Percent."""

RULES_LEFT_OUT = ("addresses", "bot", "diagnosis", "event")
"""The modules of relay/domain that mutmut does not change."""

DEPLOYED = [
    *("push", "callback_endpoint", "settling", "published_events", "waiting_workflow", "parked", "outage"),
    *("cancelled", "many_messages", "erasing", "cli", "cli_bots", "cli_pause"),
]
"""The test modules of the deployed stack that ask what becomes of messages and parts."""

STAGES = {
    "unit tests": ["tests/unit", "--ignore=tests/unit/test_layout.py", "--ignore-glob=*/test_document*.py"],
    # A known-bad variant says nothing of a mutant.
    "simulator": ["tests/simulation", "-k", "not known_bad_variant"],
    "integration tests": ["tests/integration"],
    "deployed stack": [f"tests/e2e/test_{name}.py" for name in DEPLOYED],
}
MAX_SECONDS = 1800
"""For one stage: a change can make a test wait for ever, and then another one, each up to pytest's limit."""

COMPARED = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Is: "is not",
    ast.IsNot: "is",
}


@dataclass(frozen=True)
class Mutant:
    """One change of one file."""

    path: Path
    line: int
    before: str
    after: str
    source: str
    """The whole file with the change."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}\n-    {self.before}\n+    {self.after}"


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Return the mutants of a file; `path` is relative to the project."""
    source = (ROOT / path).read_text("utf-8")
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    encoded = source.encode()
    for node, after in _changes(ast.parse(source)):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        changed = encoded[:start] + after.encode() + encoded[end:]
        yield Mutant(path, node.lineno, encoded[start:end].decode(), after, changed.decode())


def _changes(tree: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Return nodes, each with what to write in its place."""
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            # Types and decorators are not what the code does.
            if name in ("annotation", "returns", "decorator_list", "type_params"):
                continue
            for node in value if isinstance(value, list) else [value]:
                if isinstance(node, ast.expr | ast.stmt) and (after := _change(node)):
                    yield node, after


def _change(node: ast.AST) -> str | None:
    match node:
        case ast.Constant(value=bool(value)):
            return str(not value)
        case ast.Constant(value=int(value) | float(value)):
            return str(value * 2 + 1)
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            return f"{ast.unparse(left)} {COMPARED[type(operator)]} {ast.unparse(right)}"
        case ast.BoolOp(op=operator, values=values):
            return (
                f"({(' or ' if isinstance(operator, ast.And) else ' and ').join(map(ast.unparse, values))})"
            )
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return f"({ast.unparse(operand)})"
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.Continue() | ast.Break():
            return "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.AugAssign() | ast.Delete():
            return "pass"
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            return "return None"
    return None


def sample(count: int, seed: int) -> list[Mutant]:
    """Return `count` mutants of what mutmut does not change, chosen by `seed`."""
    paths = [path.relative_to(ROOT) for path in sorted((ROOT / "functions").rglob("*.py"))]
    paths = [path for path in paths if path.parent.name != "domain" or path.stem in RULES_LEFT_OUT]
    found = [mutant for path in paths for mutant in mutants_of(path)]
    return random.Random(seed).sample(found, count)  # noqa: S311


def noticed_by(mutant: Mutant | None) -> str:
    """Return the stage that fails on a mutant with its first failing test, or "" if none does.

    Without a mutant, try the project as it is.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "project")
        ignored = shutil.ignore_patterns(".*", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=ignored)
        (copy / ".local").symlink_to(ROOT / ".local")
        if mutant:
            (copy / mutant.path).write_text(mutant.source, "utf-8")
        for stage, tests in STAGES.items():
            command = [
                sys.executable,
                "-m",
                "pytest",
                "-x",
                "-p",
                "no:cacheprovider",
                "--tb=no",
                "-rfE",
                *tests,
            ]
            try:
                ran = subprocess.run(
                    command, cwd=copy, capture_output=True, text=True, timeout=MAX_SECONDS, check=False
                )
            except subprocess.TimeoutExpired:
                return f"{stage}: no end within {MAX_SECONDS} s"
            if ran.returncode == 1:
                failed = [line for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
                return f"{stage}: {failed[0] if failed else ran.stdout[-200:]}"
            if ran.returncode:
                return f"{stage}: {ran.stdout[-300:]}{ran.stderr[-300:]}"
    return ""


def main() -> bool:
    """Print each mutant with what noticed it, and tell whether enough were noticed."""
    parser = argparse.ArgumentParser(prog="shell_mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    if by := noticed_by(None):
        print(f"a test fails without any change: {by}")
        return False
    noticed = 0
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        mutants = sample(given.count, given.seed)
        for mutant, by in zip(mutants, threads.map(noticed_by, mutants), strict=True):
            noticed += bool(by)
            print(f"\n{mutant}\n{by or 'SURVIVED'}", flush=True)
    score = 100 * noticed / given.count
    print(f"\n{noticed} of {given.count} noticed: {score:.0f}% (at least {MIN_SCORE}%)")
    return bool(score >= MIN_SCORE)


if __name__ == "__main__":
    sys.exit(not main())
