"""Further stacks in the same emulator: the template with other parameters, and the templates of documents."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from local.local_stack import NAME, ROOT
from support.deployed import Deployed
from support.waiting import eventually

_CODE = f"{NAME}-code"


@contextmanager
def second_stack(deployed: Deployed, name: str, **parameters: str) -> Iterator[str]:
    """Deploy template.yaml as the stack `name`, and delete it at the end."""
    with stack_of(deployed, name, {"TemplateURL": template_url(deployed)}, parameters):
        yield name


def template_url(deployed: Deployed, name: str = "template.yaml") -> str:
    """Return the URL of a template in the bucket of the local stack's code."""
    return f"{deployed.local.outputs['EndpointUrl']}/{_CODE}/{name}"


@contextmanager
def stack_of_commit(deployed: Deployed, name: str, commit: str) -> Iterator[dict[str, str]]:
    """Deploy template.yaml and functions/ of a commit, and yield the outputs.

    Skip the test if git does not have the commit here.
    """

    def git(*arguments: str) -> bytes:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True)
        if done.returncode:
            pytest.skip(f"commit {commit} is not here: this is no clone with its history")
        return done.stdout

    s3, template = deployed.client("s3"), git("show", f"{commit}:template.yaml").decode()
    functions = git("archive", "--format=zip", f"{commit}:functions")
    s3.put_object(Bucket=_CODE, Key=f"{commit}.zip", Body=functions)
    template = template.replace("CodeUri: functions/", f"CodeUri: s3://{_CODE}/{commit}.zip")
    s3.put_object(Bucket=_CODE, Key=f"{commit}.yaml", Body=template)
    with stack_of(deployed, name, {"TemplateURL": template_url(deployed, f"{commit}.yaml")}, {}) as outputs:
        yield outputs


@contextmanager
def stack_of(
    deployed: Deployed, name: str, template: dict[str, str], parameters: dict[str, str]
) -> Iterator[dict[str, str]]:
    """Deploy a template, given as CloudFormation takes it; yield its outputs, and delete the stack."""
    cloudformation = deployed.client("cloudformation")
    cloudformation.create_stack(
        StackName=name,
        Parameters=as_list(parameters),
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        **template,
    )
    wait_for_stack(deployed, name, "CREATE_COMPLETE")
    try:
        found = cloudformation.describe_stacks(StackName=name)["Stacks"][0].get("Outputs", [])
        yield {one["OutputKey"]: one["OutputValue"] for one in found}
    finally:
        cloudformation.delete_stack(StackName=name)


def upgrade(deployed: Deployed, name: str, url: str) -> None:
    """Deploy the template at `url` to a stack, with its parameters as they are by default."""
    deployed.client("cloudformation").update_stack(
        StackName=name, TemplateURL=url, Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
    )
    wait_for_stack(deployed, name, "UPDATE_COMPLETE")


def wait_for_stack(deployed: Deployed, name: str, status: str) -> None:
    """Wait until a stack has this status."""
    cloudformation = deployed.client("cloudformation")

    def reached() -> bool:
        found: str = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
        assert not found.endswith(("FAILED", "ROLLBACK_COMPLETE"))
        return found == status

    eventually(reached, 60, f"{status} of {name}")


def as_list(parameters: dict[str, str]) -> list[dict[str, Any]]:
    """Return template parameters as CloudFormation takes them."""
    return [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]


def physical_ids(deployed: Deployed, stack: str, kind: str = "") -> dict[str, str]:
    """Return the names of a stack's resources, or of those of one type, by their logical ids."""
    listed = deployed.client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
    return {
        one["LogicalResourceId"]: one["PhysicalResourceId"]
        for one in listed
        if not kind or one["ResourceType"] == kind
    }


def processed_template(deployed: Deployed) -> dict[str, Any]:
    """Return the template as deployed, with its anchors and its SAM resources expanded."""
    found = deployed.client("cloudformation").get_template(StackName=NAME, TemplateStage="Processed")
    body = found["TemplateBody"]
    template: dict[str, Any] = json.loads(body) if isinstance(body, str) else body
    return template
