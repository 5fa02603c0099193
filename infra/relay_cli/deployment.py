"""What CloudFormation knows of a stack."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import relay
from relay.domain.bot import BOT_NAME
from relay_cli.bot_secret import changed_meanwhile
from relay_cli.terminal import CommandFailed


class Deployment:
    """The parameters and resources of a stack. All members raise botocore's errors."""

    def __init__(self, stack: relay.Stack) -> None:
        self._name = stack.name
        self._cloudformation = stack.client("cloudformation")

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The parameters with which the stack was deployed."""
        return {one["ParameterKey"]: one["ParameterValue"] for one in self._stack.get("Parameters", [])}

    @property
    def is_protected(self) -> bool:
        """Whether CloudFormation refuses to delete the stack."""
        return bool(self._stack.get("EnableTerminationProtection"))

    @cached_property
    def _stack(self) -> dict[str, Any]:
        found: dict[str, Any] = self._cloudformation.describe_stacks(StackName=self._name)["Stacks"][0]
        return found

    @cached_property
    def resources(self) -> dict[str, str]:
        """The physical ids of the resources, by their logical ids."""
        pages = self._cloudformation.get_paginator("list_stack_resources").paginate(StackName=self._name)
        listed = [one for page in pages for one in page["StackResourceSummaries"]]
        return {one["LogicalResourceId"]: one.get("PhysicalResourceId", "") for one in listed}


def write_secret(stack: relay.Stack, bot: str, before: str | None, after: str) -> None:
    """Write a bot's secret; `before` is None for a new bot, which gets the key of the stack.

    Raise CommandFailed if the secret is not `before` any more.
    """
    admin = relay.BotAdmin(stack)
    if before is None:
        admin.create_secret(bot, after, Deployment(stack).parameters.get("KmsKeyArn", ""))
    elif not admin.replace_secret(bot, before, after):
        raise changed_meanwhile(bot)


def no_bot(bot: str) -> CommandFailed:
    """Return the error for a bot that does not exist."""
    return CommandFailed(
        2,
        f"there is no bot {bot!r}: `relay bots list` shows the bots, `relay connect --bot {bot}` makes it",
    )


def check_bot(stack: relay.Stack, bot: str) -> None:
    """Raise CommandFailed if there is no such bot, as far as the operator may look."""
    from botocore.exceptions import ClientError

    try:
        if BOT_NAME.fullmatch(bot) and not relay.BotAdmin(stack).exists(bot):
            raise no_bot(bot)
    except ClientError as error:
        # Who may send need not be allowed to read the names of secrets.
        if error.response["Error"]["Code"] != "AccessDeniedException":
            raise
