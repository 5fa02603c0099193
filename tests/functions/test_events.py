"""The sample events, given to the deployed functions."""

import json
import time
from pathlib import Path
from uuid import uuid4

import pytest

from conftest import OUT
from relay.rules.signing import sign

EVENTS = Path(__file__).parents[2] / "events"


def event(name):
    return json.loads((EVENTS / f"{name}.json").read_text("utf-8"))


def invoke(deployed, function, payload):
    functions = deployed.client("lambda")
    listed = deployed.client("cloudformation").describe_stack_resource(
        StackName="relay-local", LogicalResourceId=function
    )
    name = listed["StackResourceDetail"]["PhysicalResourceId"]
    answer = functions.invoke(FunctionName=name, Payload=json.dumps(payload))
    assert "FunctionError" not in answer
    return json.loads(answer["Payload"].read())


def test_push_takes_its_sample_event(talk):
    sample = event("push")
    record = sample["Records"][0]
    record["body"] = json.dumps(json.loads(record["body"]) | {"bot": talk.name})
    record["messageId"] = str(uuid4())
    assert invoke(talk.deployed, "PushFunction", sample) == {"batchItemFailures": []}
    (request,) = talk.bot.received
    assert json.loads(request.body)["message"][0]["text"] == "My order has not come. Where is it?"


def resigned(talk, sample):
    """The sample as if it had been signed just now for the test's bot."""
    now = str(int(time.time()))
    sample["pathParameters"]["bot"] = talk.name
    sample["headers"] |= {"x-lb-timestamp": now, "x-lb-signature": sign(OUT, now, sample["body"].encode())}
    return sample


def test_callback_takes_its_sample_event(talk):
    sample = resigned(talk, event("callback"))
    assert invoke(talk.deployed, "CallbackFunction", sample)["statusCode"] == 200
    session = json.loads(sample["body"])["session_id"]
    assert [part["text"] for part in talk.conversation(session).parts()] == ["echo: hello"]


def test_callback_refuses_its_sample_event_unchanged_since_it_is_old(talk):
    assert invoke(talk.deployed, "CallbackFunction", event("callback"))["statusCode"] == 401


@pytest.mark.parametrize("name", [path.stem for path in EVENTS.glob("*.json")])
def test_every_sample_event_is_for_a_function_that_there_is(name):
    assert (EVENTS.parent / "functions" / name / "app.py").exists()
