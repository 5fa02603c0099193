"""What is verified: a deployed relay, and beside it a bot as a function and a queue of its events."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from relay import Stack

VARIABLE = "RELAY_VERIFIED"
"""The environment variable with which the command tells the scenarios what to verify, as JSON."""


@dataclass(frozen=True)
class Verified:
    """A relay by its stack's name, or by the outputs of a local one, and its bot."""

    stack_name: str
    outputs: str
    """The path of a local stack's outputs, "" for a stack in AWS."""
    events_queue_url: str
    within: float = 120
    """Seconds that a scenario waits, but for a deadline: the first message meets cold functions."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read what the command verifies."""
        return cls(**json.loads(environ[VARIABLE]))

    def to_env(self) -> dict[str, str]:
        """Return the environment of a process that verifies the same."""
        return {VARIABLE: json.dumps(asdict(self))}

    def open_stack(self) -> Stack:
        """Open the relay."""
        return open_stack(self.stack_name, self.outputs)

    def relay_arguments(self) -> list[str]:
        """Return what the command `relay` needs to find the stack."""
        return [] if self.outputs else ["--stack", self.stack_name]

    @property
    def folder(self) -> Path | None:
        """Return where the command `relay` must run to find a local stack."""
        return Path(self.outputs).parents[1] if self.outputs else None


def open_stack(name: str, outputs: str) -> Stack:
    """Open the local stack with these outputs, or without any the deployed one with this name."""
    return Stack.from_file(outputs) if outputs else Stack.from_cloudformation(name)


def stack_outputs(stack: Stack, name: str) -> dict[str, str]:
    """Return the outputs of any stack in the same account."""
    found: list[dict[str, Any]] = stack.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    return {one["OutputKey"]: one["OutputValue"] for one in found[0].get("Outputs", [])}
