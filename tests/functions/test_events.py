"""The sample events: those that the functions take, given to the deployed ones, and those that they send."""

import json
import re
import time
from pathlib import Path
from uuid import uuid4

import fastjsonschema
import pytest

from conftest import OUT
from relay.rules.signing import sign

EVENTS = Path(__file__).parents[2] / "events"
SCHEMAS = EVENTS.parent / "docs/events"
SENT = ["reply_completed", "message_unanswered", "message_parked", "bot_unreachable", "bot_recovered"]


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


def test_tell_takes_the_sample_of_a_final_part_as_settle_does(talk, heard):
    sample = event("settle")
    image = sample["Records"][0]["dynamodb"]["NewImage"]
    image["bot"]["S"], image["session"]["S"] = talk.name, f"{talk.name}#{talk.session}"
    assert invoke(talk.deployed, "TellFunction", sample) == {"batchItemFailures": []}
    told = heard.one("Reply Completed")
    assert (told["text"], told["reply_to"]) == ("echo: hello", image["reply_to"]["S"])


# What is not the same in a stack of another name, with bots of other names.
OTHERS = ("id", "subject", "time", "source", "bot", "session", "key")


def alike(sent):
    """A sent event as far as it is the same wherever it is sent."""
    data = {name: value for name, value in sent["detail"]["data"].items() if name not in OTHERS}
    detail = {name: value for name, value in sent["detail"].items() if name not in OTHERS}
    return detail | {"data": data, "detail-type": sent["detail-type"], "source": sent["source"]}


def shape(value):
    """What kinds of values stand where."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else type(value)


def test_the_sample_of_changes_is_told_as_the_samples_say(talk, heard):
    sample = json.loads(json.dumps(event("tell")).replace("default", talk.name))
    assert invoke(talk.deployed, "TellFunction", sample) == {"batchItemFailures": []}
    sent = [
        event("message_unanswered"),
        event("message_parked"),
        event("bot_unreachable"),
        event("bot_recovered"),
    ]
    heard_of = {one["detail-type"]: one for one in heard.all(4)}
    assert [alike(heard_of[one["detail-type"]]) for one in sent] == [alike(one) for one in sent]
    assert [shape(heard_of[one["detail-type"]]) for one in sent] == [shape(one) for one in sent]


def test_a_reply_is_told_as_the_sample_says(talk, heard):
    sent = talk.push("SILENT")
    sample = event("settle")
    image = sample["Records"][0]["dynamodb"]["NewImage"]
    image["bot"]["S"], image["session"]["S"] = talk.name, f"{talk.name}#{talk.session}"
    image["reply_to"]["S"] = talk.deployed.state(sent, "delivered")["accepted_message_id"]
    invoke(talk.deployed, "TellFunction", sample)
    assert shape(heard.all(1)[0]) == shape(event("reply_completed"))


def strict(schema):
    """A schema that takes no field that it does not describe."""
    if isinstance(schema, dict):
        closed = {"additionalProperties": False} if "properties" in schema else {}
        return {name: strict(one) for name, one in schema.items()} | closed
    return [strict(one) for one in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize("name", SENT)
def test_the_sample_of_what_is_sent_fits_its_schema(name):
    schema = json.loads((SCHEMAS / f"{name.replace('_', '-')}.schema.json").read_text("utf-8"))
    fastjsonschema.compile(strict(schema))(event(name)["detail"])
    assert event(name)["detail-type"] == schema["title"]


def test_each_schema_has_a_sample():
    schemas = {path.name.removesuffix(".schema.json") for path in SCHEMAS.glob("*.json")}
    assert schemas == {name.replace("_", "-") for name in SENT}


def test_no_sample_event_is_without_a_test():
    used = re.findall(r'event\("(\w+)"\)', Path(__file__).read_text("utf-8"))
    assert {path.stem for path in EVENTS.glob("*.json")} == set(used)
