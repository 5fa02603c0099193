"""A workflow of Step Functions waits for what becomes of a message: the example of docs/sending.md."""

import json
import time
from dataclasses import dataclass
from uuid import uuid4

import pytest

from local.local_stack import LocalStack, allow_tasks
from local.sample_bot import SampleBot
from relay import Messages, Stack
from relay.domain.keys import record_key
from support.callbacks import lower_case, part_body, signed_headers
from support.deployed import IN, OUT, Deployed, Talk
from support.due_items import set_attribute
from support.examples import Page
from support.parked_messages import UNPARSED
from support.second_stack import physical_ids, second_stack
from support.waiting import eventually

NAME = "relay-asks"
OWNER = f"arn:aws:states:us-east-1:000000000000:stateMachine:{NAME}-ask"


@dataclass(frozen=True)
class Workflow:
    """The state machine of the example, and the session with the bot that it asks."""

    talk: Talk
    machine: str

    def ask(self, text):
        """Start an execution; return its ARN."""
        sent = {"session_id": self.talk.session, "text": text, "id": uuid4().hex}
        states = self.talk.deployed.client("stepfunctions")
        started = states.start_execution(stateMachineArn=self.machine, input=json.dumps(sent))
        arn: str = started["executionArn"]
        return arn

    def described(self, execution):
        return self.talk.deployed.client("stepfunctions").describe_execution(executionArn=execution)

    def ended(self, execution):
        """Return the status and the output of an execution, once it has ended."""

        def look():
            found = self.described(execution)
            return found if found["status"] != "RUNNING" else None

        found = eventually(look, 60, "the end of the execution")
        return found["status"], json.loads(found.get("output", "null"))

    def record(self, state, number=0):
        """Return the record of the session's message `number`, once it is in a state."""
        messages = Messages(self.talk.deployed.stack)

        def look():
            records = list(messages.of_session(self.talk.session, self.talk.name))
            found = records[number] if len(records) > number else None
            return found if found and found["state"] == state else None

        return eventually(look, 60, f"a message that is {state}")

    def invoke(self, function, payload):
        name = physical_ids(self.talk.deployed, NAME)[function]
        response = self.talk.deployed.client("lambda").invoke(FunctionName=name, Payload=json.dumps(payload))
        assert "FunctionError" not in response

    def reply(self, record, text):
        """Have callback handle a final part, since a second stack of the emulator has no route."""
        message = [{"type": "Plain", "text": text}]
        raw = part_body(self.talk, reply_to=record["accepted_message_id"], message=message)
        headers = lower_case(signed_headers(raw))
        event = {"headers": headers, "pathParameters": {"bot": self.talk.name}, "body": raw.decode()}
        self.invoke("CallbackFunction", event | {"isBase64Encoded": False})

    def run_due(self, record):
        """Have settle handle a message whose deadline has just passed."""
        set_attribute(self.talk, record, "due_at", "2026-01-01T00:00:00.000000Z")
        self.invoke("SettleFunction", {})


@pytest.fixture(scope="module")
def asking(deployed, tmp_path_factory):
    """A relay that may end the tasks of the example's machine, its bot, and that machine."""
    with (
        second_stack(deployed, NAME, TaskOwners=OWNER),
        Page("sending.md").stack(deployed, "Step Functions", RelayStack=NAME) as machine,
    ):
        allow_tasks(deployed.client("iam"), physical_ids(deployed, NAME)["PublishRole"])
        stack = deployed.client("cloudformation").describe_stacks(StackName=NAME)["Stacks"][0]
        outputs = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
        outputs |= {"EndpointUrl": deployed.local.outputs["EndpointUrl"], "Region": deployed.stack.region}
        file = tmp_path_factory.mktemp("asking") / "outputs.json"
        file.write_text(json.dumps(outputs))
        asked = Deployed(LocalStack(outputs), Stack.from_file(file), deployed.clients)
        with SampleBot("http://127.0.0.1:9/unused", IN, OUT) as bot:
            asked.local.connect(bot.url, IN, OUT)
            yield asked, bot, machine["MachineArn"]


@pytest.fixture
def workflow(asking):
    deployed, bot, machine = asking
    return Workflow(Talk(deployed, bot, "default", f"s-{uuid4().hex[:8]}"), machine)


def test_the_machine_has_the_name_that_the_relay_was_given(workflow):
    assert workflow.machine == OWNER


@pytest.mark.parametrize("text", ["It is on its way. 你好", "You get a refund"])
def test_a_workflow_goes_on_with_the_reply_to_its_message(workflow, text):
    execution = workflow.ask("SILENT")
    record = workflow.record("delivered")
    workflow.reply(record, text)
    status, output = workflow.ended(execution)
    assert status == "SUCCEEDED"
    if "refund" in text:
        assert output == {"refund": workflow.talk.session}
    else:
        assert (output["text"], output["message_id"]) == (text, record["message_id"])
        assert output["key"] == record_key(record["session"], record["message"])
    assert record["reply_to_task"] not in str(output)


def test_a_workflow_goes_on_with_the_error_of_a_parked_message(workflow):
    workflow.talk.bot.answer_with(UNPARSED)
    execution = workflow.ask("hello")
    assert workflow.ended(execution) == ("SUCCEEDED", {"because": "MessageParked"})
    resend = Messages(workflow.talk.deployed.stack).resend(workflow.record("parked"))
    record = workflow.record("delivered", number=1)
    assert record["message"].endswith(resend.sequence_number)
    workflow.reply(record, "late")
    workflow.record("answered", number=1)


def test_a_workflow_goes_on_with_the_error_of_an_unanswered_message(workflow):
    execution = workflow.ask("SILENT")
    workflow.run_due(workflow.record("delivered"))
    assert workflow.ended(execution) == ("SUCCEEDED", {"because": "MessageUnanswered"})


def test_a_merged_message_gets_the_reply_once_its_own_is_no_longer_awaited(workflow):
    first = workflow.ask("SILENT")
    began = workflow.record("delivered")
    second = workflow.ask("SILENT")
    workflow.record("delivered", number=1)
    time.sleep(1.1)  # a signed time has whole seconds
    workflow.reply(began, "both")
    merged = workflow.record("answered", number=1)
    assert workflow.ended(first)[1]["text"] == "both"
    assert workflow.described(second)["status"] == "RUNNING"
    workflow.run_due(merged)
    status, output = workflow.ended(second)
    assert (status, output["text"], output["message_id"]) == ("SUCCEEDED", "both", merged["message_id"])
