"""The sample events: those that the functions handle, given to the deployed ones, and those of the bus."""

import json
import re
import time
from pathlib import Path
from uuid import uuid4

import fastjsonschema
import pytest

from relay.domain.signing import sign
from support.deployed import OUT

EVENTS = Path(__file__).parents[2] / "events"
SCHEMAS = EVENTS.parent / "docs/events"
PUBLISHED = ["reply_completed", "message_unanswered", "message_parked", "bot_unreachable", "bot_recovered"]

STACK_SPECIFIC = ("id", "subject", "time", "source", "bot", "session", "key")
"""What differs in a stack of another name, with bots of other names."""


def event(name):
    return json.loads((EVENTS / f"{name}.json").read_text("utf-8"))


def invoke(deployed, function, payload):
    name = deployed.physical_id(function)
    response = deployed.client("lambda").invoke(FunctionName=name, Payload=json.dumps(payload))
    assert "FunctionError" not in response
    return json.loads(response["Payload"].read())


def part_of(sample):
    """Return the part in a sample event of RepliesTable's stream."""
    return sample["Records"][0]["dynamodb"]["NewImage"]


def set_body(sample, **fields):
    """Set fields in the body of a sample event's only message."""
    (record,) = sample["Records"]
    record["body"] = json.dumps(json.loads(record["body"]) | fields)


def signed_now(talk, sample):
    """Return callback's sample event as LangBot would sign it now for the test's bot."""
    now = str(int(time.time()))
    sample["pathParameters"]["bot"] = talk.name
    sample["headers"] |= {"x-lb-timestamp": now, "x-lb-signature": sign(OUT, now, sample["body"].encode())}
    return sample


def test_push_handles_its_sample_event(talk):
    sample = event("push")
    set_body(sample, bot=talk.name)
    queue = talk.deployed.stack.push_queue_url.rpartition("/")[2]
    sample["Records"][0] |= {"messageId": str(uuid4()), "eventSourceARN": f"arn:aws:sqs:::{queue}"}
    assert invoke(talk.deployed, "PushFunction", sample) == {"batchItemFailures": []}
    assert talk.texts() == ["My order has not come. Where is it?"]


def test_callback_handles_its_sample_event(talk):
    sample = signed_now(talk, event("callback"))
    assert invoke(talk.deployed, "CallbackFunction", sample)["statusCode"] == 200
    session = json.loads(sample["body"])["session_id"]
    assert [part["text"] for part in talk.parts(session)] == ["echo: hello"]


def test_callback_refuses_its_sample_event_unchanged_since_it_is_old(talk):
    assert invoke(talk.deployed, "CallbackFunction", event("callback"))["statusCode"] == 401


def test_settle_handles_its_sample_event(talk):
    sent = talk.push("SILENT")
    sample = event("settle")
    part = part_of(sample)
    part["session"]["S"] = f"{talk.name}#{talk.session}"
    part["reply_to"]["S"] = talk.deployed.state(sent, "delivered")["accepted_message_id"]
    assert invoke(talk.deployed, "SettleFunction", sample) == {"batchItemFailures": []}
    assert talk.deployed.record(sent)["state"] == "answered"


def test_callback_handles_a_sample_of_what_was_spilled(talk):
    sample = event("spill")
    set_body(sample, bot=talk.name)
    assert invoke(talk.deployed, "CallbackFunction", sample) == {"batchItemFailures": []}
    session = json.loads(event("callback")["body"])["session_id"]
    assert [part["text"] for part in talk.parts(session)] == ["echo: hello"]


def test_settle_handles_the_sample_event_of_each_minute(deployed):
    assert invoke(deployed, "SettleFunction", event("each_minute")).keys() == {"unanswered"}


def test_publish_handles_the_sample_of_a_final_part_as_settle_does(talk, event_listener):
    sample = event("settle")
    part = part_of(sample)
    part["bot"]["S"], part["session"]["S"] = talk.name, f"{talk.name}#{talk.session}"
    assert invoke(talk.deployed, "PublishFunction", sample) == {"batchItemFailures": []}
    published = event_listener.one("Reply Completed")
    assert (published["text"], published["reply_to"]) == ("echo: hello", part["reply_to"]["S"])


def without_names(published):
    """Return a published event as far as it is the same in every stack."""
    data = {name: value for name, value in published["detail"]["data"].items() if name not in STACK_SPECIFIC}
    detail = {name: value for name, value in published["detail"].items() if name not in STACK_SPECIFIC}
    of_bus = {name: published[name] for name in ("detail-type", "source")}
    return detail | {"data": data} | of_bus


def shape(value):
    """Return a JSON value with each text, number and null replaced by its type."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else type(value)


def test_the_sample_of_changes_is_published_as_the_samples_say(talk, event_listener):
    sample = json.loads(json.dumps(event("publish")).replace("default", talk.name))
    assert invoke(talk.deployed, "PublishFunction", sample) == {"batchItemFailures": []}
    samples = [
        event("message_unanswered"),
        event("message_parked"),
        event("bot_unreachable"),
        event("bot_recovered"),
    ]
    by_type = {one["detail-type"]: one for one in event_listener.all(4)}
    published = [by_type[one["detail-type"]] for one in samples]
    assert [without_names(one) for one in published] == [without_names(one) for one in samples]
    assert [shape(one) for one in published] == [shape(one) for one in samples]


def test_a_reply_is_published_as_the_sample_says(talk, event_listener):
    sent = talk.push("SILENT", context={"order": 17})
    sample = event("settle")
    part = part_of(sample)
    part["bot"]["S"], part["session"]["S"] = talk.name, f"{talk.name}#{talk.session}"
    part["reply_to"]["S"] = talk.deployed.state(sent, "delivered")["accepted_message_id"]
    invoke(talk.deployed, "PublishFunction", sample)
    assert shape(event_listener.all(1)[0]) == shape(event("reply_completed"))


def closed(schema):
    """Return a schema that takes no field that it does not describe."""
    if isinstance(schema, dict):
        no_more = {"additionalProperties": False} if "properties" in schema else {}
        return {name: closed(one) for name, one in schema.items()} | no_more
    return [closed(one) for one in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_sample_of_a_published_event_fits_its_schema(name):
    schema = json.loads((SCHEMAS / f"{name.replace('_', '-')}.schema.json").read_text("utf-8"))
    fastjsonschema.compile(closed(schema))(event(name)["detail"])
    assert event(name)["detail-type"] == schema["title"]


def test_each_schema_has_a_sample():
    schemas = {path.name.removesuffix(".schema.json") for path in SCHEMAS.glob("*.json")}
    assert schemas == {name.replace("_", "-") for name in PUBLISHED}


def test_each_sample_event_has_a_test():
    used = re.findall(r'event\("(\w+)"\)', Path(__file__).read_text("utf-8"))
    assert {path.stem for path in EVENTS.glob("*.json")} == set(used)
