"""Cold starts are paid by users: what a function imports, in an interpreter of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from test_settings import ENV as VARIABLES

FUNCTIONS = Path(__file__).parents[2] / "functions"
ENV = {"PATH": os.defpath, "PYTHONPATH": str(FUNCTIONS), "AWS_DEFAULT_REGION": "us-east-1"} | VARIABLES


HANDLERS = ["push.app", "callback.app", "settle.app", "settle.sweep", "settle.tell"]
SHOW = "print(json.dumps(sorted(sys.modules)))"


def python(code, env):
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)


def modules(function):
    code = f"import sys, json, {function}; " + SHOW
    return set(json.loads(python(code, ENV).stdout))


@pytest.mark.parametrize("function", HANDLERS)
def test_no_function_imports_tracing_or_the_client(function):
    heavy = {"aws_xray_sdk", "relay.client", "pydantic", "jsonschema", "fastjsonschema"}
    assert not modules(function) & heavy


@pytest.mark.parametrize("function", ["callback.app", "settle.app"])
def test_what_sends_no_message_imports_no_http_client(function):
    assert "requests" not in modules(function)


def test_the_rules_know_nothing_of_aws_or_http():
    rules = [path.stem for path in (FUNCTIONS / "relay/rules").glob("[a-z]*.py")]
    code = f"import sys, json, {', '.join(f'relay.rules.{name}' for name in rules)}; " + SHOW
    loaded = set(json.loads(python(code, ENV).stdout))
    assert not loaded & {"boto3", "botocore", "requests", "urllib3", "http.client"}


@pytest.mark.parametrize("function", HANDLERS)
def test_a_missing_variable_ends_the_start_with_its_name(function):
    env = {name: value for name, value in ENV.items() if name != "REPLIES_TABLE"}
    done = python(f"import {function}", env)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].endswith("environment variable REPLIES_TABLE is not set")
