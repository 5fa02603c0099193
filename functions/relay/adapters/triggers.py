"""The event source mappings of the stack, which bring the functions what is on queues and in streams."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from relay.domain import trigger

if TYPE_CHECKING:
    from mypy_boto3_lambda.client import LambdaClient


class Triggers:
    """The mappings of queues and streams, `sources`, which are ARNs."""

    def __init__(self, functions: "LambdaClient", sources: Sequence[str]) -> None:
        self._functions = functions
        self._sources = sources

    def count_stopped(self) -> int:
        """Count the mappings that bring nothing, and sources without any. Raise botocore's errors."""
        stopped = 0
        for source in self._sources:
            found = self._functions.list_event_source_mappings(EventSourceArn=source)["EventSourceMappings"]
            stopped += sum(bool(trigger.fault_of(one)) for one in found) if found else 1
        return stopped
