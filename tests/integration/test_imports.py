"""What a function imports, in an interpreter of its own: users wait for cold starts."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from support.environment_variables import VARIABLES

ROOT = Path(__file__).parents[2]
FUNCTIONS = ROOT / "functions"
ENVIRONMENT = {
    "PATH": os.defpath,
    "PYTHONPATH": f"{FUNCTIONS}:{ROOT}/infra",
    "AWS_DEFAULT_REGION": "us-east-1",
} | VARIABLES
HANDLERS = ["push.app", "callback.app", "settle.app", "publish.app"]


def run_python(code, environment):
    arguments = [sys.executable, "-c", code]
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60)


@cache
def modules_after(code):
    """Return the modules that are loaded when `code` has run."""
    show = "; import sys, json; print(json.dumps(sorted(sys.modules)))"
    return set(json.loads(run_python(code + show, ENVIRONMENT).stdout))


def modules_of(function):
    """Return the modules of a function that has just started."""
    return modules_after(f"import {function}")


@pytest.mark.parametrize("function", HANDLERS)
def test_no_function_imports_tracing_or_the_client(function):
    heavy = {"aws_xray_sdk", "relay.client", "pydantic", "jsonschema", "fastjsonschema"}
    assert not modules_of(function) & heavy


@pytest.mark.parametrize("function", HANDLERS)
def test_no_function_imports_powertools_before_it_has_a_metric(function):
    assert "aws_lambda_powertools" not in modules_of(function)


@pytest.mark.parametrize("function", HANDLERS)
def test_a_function_imports_botocore_without_the_rest_of_boto3(function):
    modules = modules_of(function)
    assert "botocore.session" in modules
    assert not modules & {"boto3", "s3transfer"}


def test_callback_imports_no_rule_of_sending_and_settling():
    domain = {name.removeprefix("relay.domain.") for name in modules_of("callback.app") if ".domain." in name}
    needed = {"bot", "keys", "lenient_json", "part", "segments", "signing", "strict_json", "timestamps"}
    assert domain == needed


@pytest.mark.parametrize("function", ["callback.app", "settle.app"])
def test_a_function_that_sends_no_message_imports_no_http_client(function):
    assert "requests" not in modules_of(function)


def test_the_client_library_never_imports_powertools():
    modules = modules_after("import relay; [getattr(relay, name) for name in relay.__all__]; relay.PushQueue")
    assert "relay.client.push_queue" in modules
    assert "aws_lambda_powertools" not in modules


def test_help_of_the_command_waits_for_no_sdk_and_no_http_client():
    modules = modules_after("import relay_cli.main; relay_cli.main.parser()")
    assert "relay_cli.commands.doctor" in modules
    assert not modules & {"boto3", "botocore", "requests", "urllib3", "fastjsonschema", "shtab"}


def test_the_domain_imports_neither_aws_nor_http():
    domain = [path.stem for path in (FUNCTIONS / "relay/domain").glob("[a-z]*.py")]
    modules = modules_after(f"import {', '.join(f'relay.domain.{name}' for name in domain)}")
    assert not modules & {"boto3", "botocore", "requests", "urllib3", "http.client"}


@pytest.mark.parametrize("function", HANDLERS)
def test_a_missing_variable_ends_the_start_with_its_name(function):
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "REPLIES_TABLE"}
    done = run_python(f"import {function}", environment)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].endswith("environment variable REPLIES_TABLE is not set")
