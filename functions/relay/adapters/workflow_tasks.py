"""The tasks of Step Functions that wait for what becomes of a message."""

import logging
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

log = logging.getLogger(__name__)

_ENDED = ("TaskTimedOut", "TaskDoesNotExist", "InvalidToken")
# The workflow has gone on without the relay, or another outcome of the message came first.

_FINAL_CODES = (
    "AccessDeniedException",
    "InvalidOutput",
    "ValidationException",
    "KmsAccessDeniedException",
    "KmsInvalidStateException",
)
# Step Functions would refuse it again, and all changes behind it in the stream would wait.


class TaskRefused(Exception):
    """Step Functions takes no outcome for this task; the text is its code."""


class WorkflowTasks:
    """Ends tasks. A task that has ended is no fault. Raise TaskRefused, and botocore's errors."""

    def __init__(self, stepfunctions: Any) -> None:
        self._stepfunctions = stepfunctions

    def succeed(self, token: str, output: str) -> None:
        """End a task; `output` is JSON text."""
        self._end(lambda: self._stepfunctions.send_task_success(taskToken=token, output=output))

    def fail(self, token: str, error: str, cause: str) -> None:
        """End a task with an error, by whose name a workflow can catch it."""
        self._end(lambda: self._stepfunctions.send_task_failure(taskToken=token, error=error, cause=cause))

    @staticmethod
    def _end(send: Callable[[], object]) -> None:
        try:
            send()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _FINAL_CODES:
                raise TaskRefused(code) from None
            if code not in _ENDED:
                raise
            log.info("a task had ended before", extra={"error": code})
