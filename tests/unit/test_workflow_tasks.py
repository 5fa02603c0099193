"""Which answers of Step Functions end a task, which are tried again, and which are given up."""

import pytest
from botocore.exceptions import ClientError

from relay.adapters.workflow_tasks import TaskRefused, WorkflowTasks


class StepFunctions:
    """Answers each call with an error of this code, and with none without one."""

    def __init__(self, code=""):
        self.code, self.calls = code, []

    def send_task_success(self, **given):
        self.calls.append(given)
        if self.code:
            raise ClientError({"Error": {"Code": self.code, "Message": "PRIVATE"}}, "SendTaskSuccess")

    send_task_failure = send_task_success


def test_a_task_is_ended_with_an_output_or_an_error():
    service = StepFunctions()
    WorkflowTasks(service).succeed("TOKEN", "{}")
    WorkflowTasks(service).fail("TOKEN", "MessageParked", "why")
    assert service.calls == [
        {"taskToken": "TOKEN", "output": "{}"},
        {"taskToken": "TOKEN", "error": "MessageParked", "cause": "why"},
    ]


@pytest.mark.parametrize("code", ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"])
def test_a_task_that_has_ended_is_no_fault(code):
    WorkflowTasks(StepFunctions(code)).succeed("TOKEN", "{}")
    WorkflowTasks(StepFunctions(code)).fail("TOKEN", "MessageParked", "why")


@pytest.mark.parametrize("code", ["AccessDeniedException", "InvalidOutput", "KmsAccessDeniedException"])
def test_a_task_that_step_functions_never_takes_is_given_up(code):
    with pytest.raises(TaskRefused, match=f"^{code}$"):
        WorkflowTasks(StepFunctions(code)).succeed("TOKEN", "{}")


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalFailure", "KmsThrottlingException"])
def test_another_error_is_botocores_and_is_tried_again(code):
    with pytest.raises(ClientError):
        WorkflowTasks(StepFunctions(code)).succeed("TOKEN", "{}")
