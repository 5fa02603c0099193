"""The examples of docs/sending.md run, and send what push takes, in the group of its session."""

import json
import re
import subprocess
import sys

import boto3
import pytest
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from relay.domain.keys import group_id
from relay.domain.message import parse_message
from support.examples import Page, environment_of
from support.second_stack import physical_ids, second_stack
from support.typescript import NODE, NODE_PACKAGES
from support.waiting import eventually

PAGE = Page("sending.md")
RELAY = "relay-senders"


class PushQueue:
    """A push queue from which push takes nothing, so that a test can."""

    def __init__(self, deployed, url):
        self._sqs, self.url = deployed.client("sqs"), url
        self.environment = environment_of(deployed) | {"PUSH_QUEUE_URL": url}

    def run(self, command, **more):
        """Run an example, which prints no error."""
        done = subprocess.run(
            command,
            cwd=NODE_PACKAGES,
            env=self.environment | more,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.returncode, done.stderr) == (0, "")

    def take(self):
        """Return the next message that was sent, and its deduplication id; check its group."""

        def receive():
            received = self._sqs.receive_message(QueueUrl=self.url, MessageSystemAttributeNames=["All"])
            return received.get("Messages")

        (queued,) = eventually(receive, 60, "the message")
        self._sqs.delete_message(QueueUrl=self.url, ReceiptHandle=queued["ReceiptHandle"])
        message = parse_message(queued["Body"])
        assert queued["Attributes"]["MessageGroupId"] == group_id(message.session)
        return message, queued["Attributes"]["MessageDeduplicationId"]


@pytest.fixture(scope="module")
def push_queue(deployed):
    if not NODE_PACKAGES.exists():
        pytest.fail("what the TypeScript example imports is not installed: `make test` installs it")
    topic = f"arn:aws:sns:{deployed.stack.region}:000000000000:tickets.fifo"
    with second_stack(deployed, RELAY, SenderSources=topic):
        functions, resources = deployed.client("lambda"), physical_ids(deployed, RELAY)
        listed = functions.list_event_source_mappings(FunctionName=resources["PushFunction"])
        for mapping in listed["EventSourceMappings"]:
            functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        yield PushQueue(deployed, resources["PushQueue"])


@pytest.mark.parametrize(
    ("heading", "language", "command"),
    [
        ("AWS CLI", "bash", ["bash", "-euc"]),
        ("boto3", "python", [sys.executable, "-c"]),
        ("TypeScript", "typescript", [NODE, "--input-type=module-typescript", "-e"]),
    ],
)
def test_a_program_sends_what_push_takes(push_queue, heading, language, command):
    push_queue.run([*command, PAGE.example(heading, language)])
    message, _ = push_queue.take()
    (segment,) = message.segments
    assert (message.session, segment["text"].split()[-1]) == ("default#ticket-1", heading.split()[-1])


def test_a_topic_passes_on_message_group_and_deduplication_id(deployed, push_queue):
    with PAGE.stack(deployed, "SNS", RelayStack=RELAY) as outputs:
        push_queue.run(["bash", "-euc", PAGE.example("SNS", "bash")], TOPIC_ARN=outputs["TopicArn"])
        message, deduplication_id = push_queue.take()
    assert message.segments == [{"type": "Plain", "text": "Hello from SNS"}]
    assert deduplication_id == "ticket-1-closed"


def test_a_rule_sends_an_event_by_the_state_machine(deployed, push_queue):
    text = 'It\'s "late": {% 1 %}\n你好'
    with (
        PAGE.stack(deployed, "Step Functions", RelayStack=RELAY) as machine,
        PAGE.stack(deployed, "EventBridge", **machine),
    ):
        detail = json.dumps({"ticket": "ticket-1", "text": text})
        entry = {"Source": "shop", "DetailType": "Ticket Opened", "Detail": detail}
        (put,) = deployed.client("events").put_events(Entries=[entry])["Entries"]
        message, deduplication_id = push_queue.take()
        states = deployed.client("stepfunctions")
        states.send_task_success(taskToken=message.reply_to_task, output='{"text": "hi"}')
    assert (message.session, message.segments) == ("default#ticket-1", [{"type": "Plain", "text": text}])
    assert deduplication_id == put["EventId"]


def create_validator(deployed, api):
    """Create the request validator of the method, which the emulator does not create from a template."""
    gateway = deployed.client("apigateway")
    validator = gateway.create_request_validator(restApiId=api, validateRequestBody=True)["id"]
    resources = gateway.get_resources(restApiId=api)["items"]
    (resource,) = (one["id"] for one in resources if one["path"] == "/messages/{id}")
    replace = {"op": "replace", "path": "/requestValidatorId", "value": validator}
    gateway.update_method(restApiId=api, resourceId=resource, httpMethod="PUT", patchOperations=[replace])


@pytest.fixture(scope="module")
def put(deployed, push_queue):
    """A function that puts a message into the REST API, signed."""
    endpoint = deployed.local.outputs["EndpointUrl"]
    credentials = boto3.Session("test", "test").get_credentials()
    with PAGE.stack(deployed, "API Gateway", RelayStack=RELAY) as outputs:
        api, path = re.match(r"https://(\w+)\.[^/]+(.*)", outputs["Url"]).groups()
        create_validator(deployed, api)

        def put(message_id, body):
            url = f"{endpoint}/_aws/execute-api/{api}{path}/{message_id}"
            headers = {"Content-Type": "application/json"}
            request = AWSRequest("PUT", url, data=json.dumps(body).encode(), headers=headers)
            SigV4Auth(credentials, "execute-api", deployed.stack.region).add_auth(request)
            return requests.put(url, data=request.data, headers=dict(request.headers), timeout=60)

        yield put


def test_an_api_sends_a_text_to_a_session(push_queue, put):
    response = put("shipped-1", {"session_id": "ticket-1", "text": "a & b = 你好"})
    assert response.status_code == 202
    message, deduplication_id = push_queue.take()
    assert message.segments == [{"type": "Plain", "text": "a & b = 你好"}]
    assert (message.session, deduplication_id) == ("default#ticket-1", "shipped-1")


@pytest.mark.parametrize(
    "body",
    [
        {"session_id": "ticket-1"},
        {"session_id": "ticket 1", "text": "hello"},
        {"session_id": "ticket-1", "text": ""},
        {"session_id": "ticket-1", "text": "hello", "bot": "sales"},
    ],
)
def test_an_api_refuses_a_body_of_another_form(put, body):
    response = put("shipped-2", body)
    assert (response.status_code, response.text) == (400, '{"message": "Invalid request body"}')
