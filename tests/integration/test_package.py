"""The package that `sam build` makes of the functions."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.environment_variables import VARIABLES
from support.package import build_package

ROOT = Path(__file__).parents[2]
IN_1980 = 315_532_800


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    built = build_package(tmp_path_factory.mktemp("built"))
    for path in built.rglob("*.py"):
        os.utime(path, (IN_1980, IN_1980))  # as `sam deploy` does
    return built


def run_python(package, code):
    environment = {"PATH": os.defpath, "PYTHONPATH": str(package), "AWS_DEFAULT_REGION": "us-east-1"}
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        env=environment | VARIABLES,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.split()


def test_the_deployed_functions_compile_nothing_when_they_start(package):
    compiled = run_python(
        package,
        "import sys; sys.addaudithook(lambda name, of: name == 'compile' and print(of[1]))\n"
        "import push.app, callback.app, settle.app, publish.app",
    )
    assert "<string>" in compiled  # the hook sees what dataclasses make
    assert not [path for path in compiled if path.startswith(str(package))]


def test_the_package_has_the_data_of_the_services_that_are_called(package):
    code = "".join(path.read_text("utf-8") for path in ROOT.glob("functions/*/app.py"))
    services = set(re.findall(r'\bclient\(\s*"(\w+)"', code))
    assert "dynamodb" in services
    assert {path.name for path in (package / "botocore/data").iterdir() if path.is_dir()} == services
    made = run_python(
        package,
        "from relay.adapters.aws import client\n"
        f"for service in {services}: print(client(service).meta.service_model.service_name)",
    )
    assert set(made) == services


def test_without_the_runtimes_python_the_build_says_what_is_missing(tmp_path):
    built = build_package(tmp_path, WITHOUT_PYTHON="1")
    assert "uv has no Python 3.13" in (tmp_path / "build.log").read_text().splitlines()[-1]
    assert (built / "push/app.py").exists()


def test_the_package_is_for_the_runtime_of_the_template():
    template = (ROOT / "template.yaml").read_text("utf-8")
    version = re.search(r"Runtime: python([\d.]+)", template)[1]
    assert "Architectures: [arm64]" in template
    recipe = (ROOT / "functions/Makefile").read_text("utf-8")
    assert f"--python-version {version} --python-platform aarch64-unknown-linux-gnu" in recipe
    assert set(re.findall(r"3\.\d+", recipe)) == {version}
