"""What CloudFormation knows of a stack."""

from functools import cached_property

from botocore.exceptions import ClientError

from relay import Stack


class Deployment:
    """The parameters and resources of a stack. All members raise botocore's errors."""

    def __init__(self, stack: Stack) -> None:
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
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":
                return None
            raise
        name: str = found["StackResourceDetail"]["PhysicalResourceId"]
        return name
