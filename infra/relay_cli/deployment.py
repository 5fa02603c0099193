"""What CloudFormation knows of a stack."""

from __future__ import annotations

from functools import cached_property

import relay


class Deployment:
    """The parameters and resources of a stack. All members raise botocore's errors."""

    def __init__(self, stack: relay.Stack) -> None:
        self._name = stack.name
        self._cloudformation = stack.client("cloudformation")

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The parameters with which the stack was deployed."""
        stack = self._cloudformation.describe_stacks(StackName=self._name)["Stacks"][0]
        return {one["ParameterKey"]: one["ParameterValue"] for one in stack.get("Parameters", [])}

    def resource(self, logical_id: str) -> str | None:
        """Return the physical id of a resource, or None if this version of the template has none."""
        try:
            found = self._cloudformation.describe_stack_resource(
                StackName=self._name, LogicalResourceId=logical_id
            )
        except self._cloudformation.exceptions.ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":
                return None
            raise
        name: str = found["StackResourceDetail"]["PhysicalResourceId"]
        return name


def write_secret(stack: relay.Stack, bot: str, before: str | None, after: str) -> None:
    """Write a bot's secret; `before` is None for a new bot, which gets the key of the stack."""
    admin = relay.BotAdmin(stack)
    if before is None:
        admin.create_secret(bot, after, Deployment(stack).parameters.get("KmsKeyArn", ""))
    else:
        admin.replace_secret(bot, after)
