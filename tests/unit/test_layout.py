"""The rules of the project's layout that a program can check."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

import relay

ROOT = Path(__file__).parents[2]
DOMAIN = "functions/relay/domain"
MAX_PARAMETERS = 6
LANGBOT_PLUGIN = ROOT / "tests/langbot/peer/plugin"
SHARED_NAMES = {"app.py", "__init__.py", "Makefile"}
CLOCKS_AND_CLIENTS = {"time", "socket", "http", "asyncio"}
OUTSIDE_OF_DOMAIN = {*(sys.stdlib_module_names - CLOCKS_AND_CLIENTS), "fastjsonschema"}

FUNCTIONS = sorted(path.parent.name for path in ROOT.glob("functions/*/app.py"))
PUBLIC = {"relay", *(f"relay.{name}" for name in relay.__all__), "relay.domain", "relay.errors"}
SHARED = {f"relay.{path.stem}" for path in ROOT.glob("functions/relay/[!_]*")} - {"relay.client"}
MAY_IMPORT = {
    "functions/relay/domain/*.py": {"relay.domain", "relay.errors"},
    "functions/relay/adapters/*.py": {"relay.adapters", "relay.domain", "relay.environment", "relay.errors"}
    | {"relay.log_fields"},
    "functions/relay/client/*.py": {"relay.client", "relay.adapters", "relay.domain", "relay.environment"}
    | {"relay.errors"},
    "functions/relay/__init__.py": {"relay.client", "relay.errors"},
    "functions/relay/[!_]*.py": SHARED,
    **{f"functions/{name}/*.py": {name, *SHARED} for name in FUNCTIONS},
    "infra/relay_cli/**/*.py": PUBLIC
    | {"relay_cli", "relay.adapters.function_logs", "relay.adapters.queue_size", "relay.environment"}
    | {"relay.log_fields"}
    | {"relay_console.app", "relay_console.guard"},  # the command that starts the console
    "infra/relay_console/**/*.py": PUBLIC
    | {"relay_console", "relay.adapters.function_logs", "relay.log_fields"}
    | {"relay_cli.terminal", "relay_cli.deployment"},  # how a shell quotes; the stack's parameters
    "infra/local/**/*.py": PUBLIC | {"local"} | {"relay_cli.terminal"},  # the only module that prints
}
"""What the modules of a layer may import of the project: a package with all in it, of `relay` only the names
that a user of the library has. Modules of `relay_cli` and `relay_console` may use the adapters named here."""

PROJECT = {"relay", *FUNCTIONS, "relay_cli", "relay_console", "local"}


def project_files():
    """Return the files that git tracks or would track."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("only git knows which files belong to the project")
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    paths = {ROOT / name for name in listed.stdout.decode().split("\0") if name}
    # git still lists a tracked file that was just deleted.
    return sorted(path for path in paths if path.is_file())


@cache
def python_files(folder):
    return sorted((ROOT / folder).rglob("*.py"))


@cache
def tree(path):
    return list(ast.walk(ast.parse(path.read_text("utf-8"))))


def nodes(folders, *kinds):
    """Return the nodes of these kinds in the Python files of the folders, each with its file."""
    paths = [path for folder in folders for path in python_files(folder)]
    return [(path, node) for path in paths for node in tree(path) if isinstance(node, kinds)]


def imports(paths):
    """Return what Python files import: the file, the node, and the full name."""
    for path in paths:
        for node in tree(path):
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                yield from ((path, node, module + alias.name) for alias in node.names)


def is_within(name, packages):
    """Tell whether a full name is one of `packages`, or in one."""
    return name in packages or any(name.startswith(f"{package}.") for package in packages - {"relay"})


def parameters(function):
    """Return the names of a function's parameters, without self and cls."""
    given = function.args
    variable = [one for one in (given.vararg, given.kwarg) if one]
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs, *variable)]
    return [name for name in names if name not in ("self", "cls")]


def is_own(value):
    """Tell whether an expression is the object that the code belongs to."""
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def line(path, node, what):
    return f"{path.relative_to(ROOT)}:{node.lineno} {what}"


def expect_none(found):
    assert not found, "\n" + "\n".join(found)


def test_no_two_files_have_the_same_name():
    paths = defaultdict(list)
    for path in project_files():
        # LangBot's format of a plugin has names of its own.
        if path.name not in SHARED_NAMES and LANGBOT_PLUGIN not in path.parents:
            paths[path.name].append(str(path.relative_to(ROOT)))
    expect_none([" and ".join(same) for same in paths.values() if len(same) > 1])


def test_each_module_of_the_domain_has_its_test_module():
    modules = {path.stem for path in python_files(DOMAIN)} - {"__init__"}
    tested = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert modules
    expect_none(sorted(modules - tested))


def test_the_domain_imports_no_clock_and_no_client():
    allowed = OUTSIDE_OF_DOMAIN | {"relay"}
    found = imports(python_files(DOMAIN))
    expect_none([line(path, node, name) for path, node, name in found if name.split(".")[0] not in allowed])


@pytest.mark.parametrize("pattern", MAY_IMPORT)
def test_a_module_imports_only_what_its_layer_may(pattern):
    paths = sorted(ROOT.glob(pattern))
    assert paths
    expect_none(
        [
            line(path, node, name)
            for path, node, name in imports(paths)
            if name.split(".")[0] in PROJECT and not is_within(name, MAY_IMPORT[pattern])
        ]
    )


def test_each_module_is_in_one_layer():
    layers = Counter(path for pattern in MAY_IMPORT for path in ROOT.glob(pattern))
    modules = [*python_files("functions"), *python_files("infra")]
    expect_none([str(path.relative_to(ROOT)) for path in modules if layers[path] != 1])


def test_no_module_imports_by_a_relative_name():
    found = nodes(["functions", "infra", "tests"], ast.ImportFrom)
    expect_none([line(path, node, ast.unparse(node)) for path, node in found if node.level])


def test_no_function_has_more_than_six_parameters():
    functions = nodes(["functions", "infra", "tests"], ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    expect_none(
        [
            line(path, function, f"{getattr(function, 'name', 'lambda')}({', '.join(names)})")
            for path, function in functions
            if len(names := parameters(function)) > MAX_PARAMETERS
        ]
    )


def test_only_the_terminal_module_prints():
    uses = nodes(["functions", "infra"], ast.Name, ast.Attribute)
    printing = {"print", "input", "sys.stdout.write", "sys.stderr.write"}
    found = [(path, node) for path, node in uses if ast.unparse(node) in printing]
    assert found
    expect_none([line(path, node, ast.unparse(node)) for path, node in found if path.name != "terminal.py"])


def test_make_runs_no_file_by_its_path():
    # Python would look for the file's own package in its folder, and find a module of the same name there.
    commands = re.findall(r"\$\((?:PY|EMULATOR)\) .*", (ROOT / "Makefile").read_text("utf-8"))
    assert commands
    expect_none([command for command in commands if re.search(r"\) [^-]", command)])


def test_requirements_txt_pins_what_the_functions_run_on():
    named = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["functions"])
    pinned = {text.partition(" ")[0] for text in (ROOT / "requirements.txt").read_text().splitlines()}
    assert named
    expect_none(sorted(named - pinned))


def test_pyproject_names_what_the_client_and_the_command_import():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    known = {re.split("[>=]", one)[0] for one in named} | {"relay", "relay_cli", "relay_console"}
    # The first two come with boto3, the last is imported by functions only.
    known |= {"botocore", "urllib3", "aws_lambda_powertools"} | sys.stdlib_module_names
    folders = ("functions/relay", "infra/relay_cli", "infra/relay_console")
    modules = imports(path for folder in folders for path in python_files(folder))
    imported = [one for one in modules if not one[2].startswith("mypy_boto3_")]  # for mypy only
    expect_none([line(*one) for one in imported if one[2].split(".")[0] not in known])


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("docs/openapi.yaml", r"^  version: (.+)$"),
        ("template.yaml", r"^    SemanticVersion: (.+)$"),
        ("CHANGELOG.md", r"^## (.+)$"),
    ],
)
def test_the_version_is_that_of_pyproject(path, pattern):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.search(pattern, (ROOT / path).read_text(), re.MULTILINE)[1] == version


def test_no_test_module_imports_another():
    expect_none(
        [
            line(path, node, name)
            for path, node, name in imports(python_files("tests"))
            if any(part.startswith("test_") for part in name.split("."))
        ]
    )


def test_no_test_reads_a_private_attribute_of_another_object():
    expect_none(
        [
            line(path, node, ast.unparse(node))
            for path, node in nodes(["tests"], ast.Attribute)
            if node.attr.startswith("_") and not node.attr.startswith("__") and not is_own(node.value)
        ]
    )
