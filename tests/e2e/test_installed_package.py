"""The package as pip installs it, with the packages that it declares and no other."""

import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution

import pytest
from packaging.requirements import Requirement

from support.command_line import ROOT, CommandLine


def closure(requirements):
    """Return the distributions that requirements name, and those that they need in turn."""
    found = {}
    for text in (pending := list(requirements)):
        requirement = Requirement(text)
        if requirement.name not in found and (not requirement.marker or requirement.marker.evaluate()):
            found[requirement.name] = distribution(requirement.name)
            pending += found[requirement.name].requires or []
    return found.values()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package and what it declares."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("functions", "infra"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", target, source]
    subprocess.run(install, check=True, cwd=source)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for needed in closure(project["dependencies"]):
        for top in {file.parts[0] for file in needed.files if not file.parts[0].startswith(("..", "__"))}:
            (target / top).symlink_to(needed.locate_file(top))
    return target


@pytest.fixture
def relay(deployed, tmp_path, installed):
    """`relay` with nothing else; -S leaves out the packages of the tests."""
    command = (sys.executable, "-S", "-m", "relay_cli.main")
    CommandLine(deployed, tmp_path)

    def run(*arguments):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed), "LANGBOT_API_KEY": "x"}
        return subprocess.run(
            [*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return run


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["completion", "bash"], 0),
        (["push", "installed", "hello"], 0),
        (["waiting"], 0),
        (["bots", "list"], 0),
        (["connect", "--langbot", "http://127.0.0.1:1", "--yes"], 1),
        (["bots", "rotate", "default", "--langbot", "http://127.0.0.1:1", "--yes"], 1),
        (["doctor", "--bot", "nobody"], 1),
        (["erase", "installed"], 0),
        (["mcp"], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_each_command_runs_with_the_declared_packages_alone(relay, words, code):
    done = relay(*words)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)


def test_mcp_says_what_installs_the_package_that_it_needs(relay):
    advice = "run pip install '.[mcp]' in a clone of the repository"
    assert relay("mcp").stderr == f"relay: mcp needs mcp: {advice}\n"
