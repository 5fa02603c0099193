"""The sample events, given to the deployed functions."""

import json
import re
import time
from pathlib import Path
from uuid import uuid4

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


def test_settle_takes_its_sample_event(talk):
    sent = talk.push("SILENT")
    sample = event("settle")
    image = sample["Records"][0]["dynamodb"]["NewImage"]
    image["session"]["S"] = f"{talk.name}#{talk.session}"
    image["reply_to"]["S"] = talk.deployed.state(sent, "delivered")["accepted_message_id"]
    assert invoke(talk.deployed, "SettleFunction", sample) == {"batchItemFailures": []}
    assert talk.deployed.ledger(sent)["state"] == "answered"


def test_settle_takes_a_sample_of_what_is_looked_at_again(talk):
    sent = talk.push("SILENT")
    sample = event("unsettled")
    record = sample["Records"][0]
    fields = json.loads(record["body"])
    fields["final"] |= {
        "session": f"{talk.name}#{talk.session}",
        "reply_to": talk.deployed.state(sent, "delivered")["accepted_message_id"],
    }
    record["body"] = json.dumps(fields)
    assert invoke(talk.deployed, "SettleFunction", sample) == {"batchItemFailures": []}
    assert talk.deployed.ledger(sent)["state"] == "answered"


def test_callback_takes_a_sample_of_what_was_spilled(talk):
    sample = event("spill")
    record = sample["Records"][0]
    record["body"] = json.dumps(json.loads(record["body"]) | {"bot": talk.name})
    assert invoke(talk.deployed, "CallbackFunction", sample) == {"batchItemFailures": []}
    session = json.loads(event("callback")["body"])["session_id"]
    assert [part["text"] for part in talk.conversation(session).parts()] == ["echo: hello"]


def test_sweep_takes_its_sample_event(deployed):
    assert invoke(deployed, "SweepFunction", event("sweep")).keys() == {"unanswered"}


def test_no_sample_event_is_without_a_test():
    used = re.findall(r'event\("(\w+)"\)', Path(__file__).read_text("utf-8"))
    assert {path.stem for path in EVENTS.glob("*.json")} == set(used)
