"""The command behind `make verify-aws`: deploy the relay and a bot, verify them, report, delete all of it.

It touches no stack that it did not make. With `--outputs` it verifies the local stack with these outputs, and
deploys only the bot.
"""

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from relay import Stack, StackNotFound
from relay_cli.terminal import say
from verify.consumption import consumption_lines
from verify.traffic import send_and_check
from verify.verified import Verified, open_stack, stack_outputs

ROOT = Path(__file__).parents[2]
BOT = Path(__file__).parent / "bot"
DEADLINE = "60"
"""AnswerDeadlineSeconds: a scenario waits for it."""

OFTEN = {"Delay": 2, "MaxAttempts": 600}
"""How a stack is waited for: every two seconds, for 20 minutes at the most."""


class NotVerified(Exception):
    """It cannot begin; the text says why."""


@dataclass(frozen=True)
class Check:
    """One test, and what became of it: "passed", "failed" or "differs" if it fails where that is expected."""

    name: str
    result: str
    seconds: float


@contextmanager
def deployed_relay(name: str, keep: bool) -> Iterator[Stack]:
    """Deploy the relay of this folder as a new stack, and delete it unless `keep`."""
    import boto3

    cloudformation = boto3.client("cloudformation")
    if exists(cloudformation, name):
        raise NotVerified(f"the stack {name} is there already: name one that is not, in STACK")
    sam = [str(ROOT / ".local/sam/bin/sam")]
    say("sam build ...")
    path = f"{ROOT}/.local/sam/bin{os.pathsep}{os.environ['PATH']}"  # uv is there
    subprocess.run([*sam, "build"], cwd=ROOT, env=os.environ | {"PATH": path}, check=True)
    parameters = [f"AnswerDeadlineSeconds={DEADLINE}", "SystemLogLevel=INFO", "LogRetentionDays=1"]
    deploy = ["deploy", "--stack-name", name, "--resolve-s3", "--capabilities", "CAPABILITY_IAM"]
    options = ["--no-confirm-changeset", "--on-failure", "DELETE", "--parameter-overrides", *parameters]
    try:
        subprocess.run([*sam, *deploy, *options], cwd=ROOT, check=True)
        yield Stack.from_cloudformation(name)
    finally:
        if exists(cloudformation, name) and not keep:
            # A stack that was not made to its end has no outputs, and nothing in its bucket.
            with suppress(StackNotFound):
                empty_bucket(Stack.from_cloudformation(name))
            delete_stack(cloudformation, name)
        say("LEFT: the bucket that sam deploy --resolve-s3 makes once an account and region, with the code")


@contextmanager
def deployed_bot(stack: Stack, name: str, outputs: str, keep: bool = False) -> Iterator[Verified]:
    """Deploy the bot as a stack of its own, connect it, and delete it unless `keep`."""
    cloudformation = stack.client("cloudformation")
    if exists(cloudformation, name):
        raise NotVerified(f"the stack {name} is there already: delete it first")
    inbound, outbound = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    parameters = {
        "CallbackBase": stack.callback_url(""),
        "InboundSecret": inbound,
        "OutboundSecret": outbound,
    }
    code = (BOT / "app.py").read_text("utf-8")
    template = (BOT / "bot.yaml").read_text("utf-8").replace("ZipFile: CODE", f"ZipFile: {json.dumps(code)}")
    secret = f"{stack.bot_secret_prefix}default"
    manager = stack.client("secretsmanager")
    try:
        cloudformation.create_stack(
            StackName=name,
            TemplateBody=template,
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
            Capabilities=["CAPABILITY_IAM"],
        )
        cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig=OFTEN)
        made = stack_outputs(stack, name)
        url = made["BotUrl"]
        if stack.endpoint_url:  # the emulator has no name for it, and takes the same by path
            url = f"{stack.endpoint_url}/_aws/lambda-url/{url.removeprefix('https://').partition('.')[0]}/"
        settings = {"url": f"{url}default", "inbound_secret": inbound, "outbound_secret": outbound}
        manager.put_secret_value(SecretId=secret, SecretString=json.dumps(settings))
        yield Verified(stack.name, outputs, made["EventsQueueUrl"])
    finally:
        if not keep:
            delete_stack(cloudformation, name)


def exists(cloudformation: Any, name: str) -> bool:
    """Tell whether there is a stack of this name."""
    try:
        cloudformation.describe_stacks(StackName=name)
    except ClientError as error:
        if "does not exist" in error.response["Error"]["Message"]:
            return False
        raise
    return True


def delete_stack(cloudformation: Any, name: str) -> None:
    """Delete a stack and wait until it is gone, or say what is left."""
    say(f"deleting the stack {name} ...")
    cloudformation.delete_stack(StackName=name)
    try:
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig=OFTEN)
    except Exception as error:  # whatever it is, the operator must know what to delete
        say(f"LEFT: the stack {name} is not deleted: {error}")


def empty_bucket(stack: Stack) -> None:
    """Delete what is in the overflow bucket: CloudFormation deletes an empty one only."""
    s3 = stack.client("s3")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=stack.overflow_bucket):
        for found in page.get("Contents", []):
            s3.delete_object(Bucket=stack.overflow_bucket, Key=found["Key"])


def run_tests(verified: Verified, paths: list[str]) -> list[Check]:
    """Run tests in a process of their own, whose output is shown; return what became of each."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "results.xml")
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={found}", *paths]
        environment = (
            os.environ | verified.to_env() | {"BELIEFS_STACK": verified.outputs or verified.stack_name}
        )
        subprocess.run(command, cwd=ROOT, env=environment, check=False)
        cases = ElementTree.parse(found).iter("testcase") if found.exists() else ()  # noqa: S314 - pytest wrote it
        return [Check(case.attrib["name"], result_of(case), float(case.attrib["time"])) for case in cases]


def result_of(case: ElementTree.Element) -> str:
    """Return what became of a test."""
    kinds = {child.tag for child in case}
    if "skipped" in kinds:
        return "differs"
    return "failed" if kinds & {"failure", "error"} else "passed"


def report(checks: list[Check], faults: list[str], lines: list[str]) -> bool:
    """Print what was verified; return whether all is as it must be."""
    say("\n--- report")
    for check in checks:
        say(f"{check.result:8} {check.seconds:6.1f} s  {check.name}")
    for line in [*lines, *(f"FAULT: {fault}" for fault in faults)]:
        say(line)
    failed = [check for check in checks if check.result == "failed"]
    say(f"{len(checks)} checks, {len(failed)} failed; {len(faults)} faults in the traffic")
    return bool(checks) and not failed and not faults


def verify(stack: Stack, outputs: str, seconds: float, keep: bool) -> bool:
    """Verify a relay with a bot of its own; return whether all is as it must be."""
    began = time.time()
    with deployed_bot(stack, f"{stack.name}-bot", outputs, keep) as verified:
        checks = run_tests(verified, ["tests/verify/outside.py", "tests/beliefs"])
        traffic = send_and_check(stack, seconds)
        return report(checks, traffic.faults, [*traffic.lines, *consumption_lines(stack, began, traffic)])


def main() -> int:
    """Verify what the options say, and return the exit code."""
    parser = argparse.ArgumentParser(prog="verify_aws", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--stack", help="the name of the stack to make, which must not exist")
    where.add_argument("--outputs", default="", help="the outputs of a local stack, in place of one in AWS")
    parser.add_argument(
        "--seconds", type=float, default=600, help="how long messages are sent (default: 600)"
    )
    parser.add_argument("--keep", action="store_true", help="delete nothing at the end")
    given = parser.parse_args()
    # Whoever ends it wants it to delete what it made.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if given.outputs:
            stack = open_stack("", given.outputs)
            return 0 if verify(stack, given.outputs, given.seconds, given.keep) else 1
        with deployed_relay(given.stack, given.keep) as stack:
            return 0 if verify(stack, "", given.seconds, given.keep) else 1
    except NotVerified as error:
        say(str(error), sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
