"""The examples of docs/receiving.md receive what the relay publishes.

The emulator delivers to each target once and at once. So these are deployed and not executed: the permissions
of a rule and its role, the retries and dead letters of a rule, TLS to an endpoint, and mail.
"""

import importlib
import io
import json
import subprocess
import sys
import time
import zipfile
from uuid import uuid4

import fastjsonschema
import pytest

from local.local_stack import ROOT
from relay.domain.timestamps import utc_text
from support.callbacks import reply
from support.examples import Page, environment_of
from support.parked_messages import park
from support.raw_server import serving
from support.second_stack import physical_ids, stack_of
from support.waiting import eventually

PAGE = Page("receiving.md")
SAMPLE = json.loads((ROOT / "events/reply_completed.json").read_text("utf-8"))
SCHEMA = json.loads((ROOT / "docs/events/reply-completed.schema.json").read_text("utf-8"))
CODE = {"app": PAGE.example("Lambda", "python"), "typed": PAGE.example("Lambda", "python typed")}
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


def run(deployed, command, **more):
    """Run an example, which prints no error; return what it prints."""
    environment = environment_of(deployed) | more
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def subject_of(talk):
    return f"{talk.name}#{talk.session}"


def publish_again(deployed, detail):
    """Put an event on the bus once more, as the relay does after a death."""
    entry = {"Source": "langbot-relay", "DetailType": detail["type"], "Detail": json.dumps(detail)}
    deployed.client("events").put_events(Entries=[entry])


def take(deployed, queue_url, subject):
    """Return the next detail on a queue that is about a session; delete what comes before it."""
    sqs = deployed.client("sqs")

    def receive():
        for one in sqs.receive_message(QueueUrl=queue_url).get("Messages", []):
            sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=one["ReceiptHandle"])
            if (detail := json.loads(one["Body"]))["subject"] == subject:
                return detail
        return None

    return eventually(receive, 60, "the event on the queue")


def test_the_pattern_selects_a_bot_and_a_stack(deployed):
    def matches(stack, bot):
        event = json.loads(json.dumps(SAMPLE))
        event["detail"]["source"], event["detail"]["data"]["bot"] = stack, bot
        return deployed.client("events").test_event_pattern(
            EventPattern=PAGE.example("The events", "json"), Event=json.dumps(event)
        )["Result"]

    assert matches("langbot-relay-prod", "support")
    assert not matches("langbot-relay-dev", "support")
    assert not matches("langbot-relay-prod", "sales")


# ---------------------------------------------------------------- Lambda


@pytest.fixture(scope="module", params=["app.handler", "typed.handler"])
def receiver(deployed, request):
    """Deploy the function with a handler, from a bucket as `sam deploy` does; the value is its resources."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as code:
        for module, text in CODE.items():
            code.writestr(f"{module}.py", text)
    deployed.client("s3").create_bucket(Bucket="receiver")
    deployed.client("s3").put_object(Bucket="receiver", Key="code.zip", Body=archive.getvalue())
    template = PAGE.example("Lambda", "yaml").replace("receiver/", "s3://receiver/code.zip")
    template = template.replace("app.handler", request.param)
    with stack_of(deployed, "receiver", {"TemplateBody": template}, {}):
        yield physical_ids(deployed, "receiver")


def invoke(deployed, receiver, event, kind="RequestResponse"):
    name = receiver["Receiver"]
    done = deployed.client("lambda").invoke(FunctionName=name, InvocationType=kind, Payload=json.dumps(event))
    assert "FunctionError" not in done, done["Payload"].read()


def kept(deployed, receiver, turn):
    """Return the text that the function keeps of a turn, once it keeps one."""
    key, database = {"turn": {"S": turn}}, deployed.client("dynamodb")

    def look():
        return database.get_item(TableName=receiver["Replies"], Key=key).get("Item")

    return eventually(look, 60, "the reply in the table")["text"].get("S")


def of_turn(subject, reply_to, last, **data):
    """Return the sample with another turn and another last part; a field that is None is left out."""
    event = json.loads(json.dumps(SAMPLE))
    event["detail"] |= {"subject": subject, "id": uuid4().hex}
    fields = event["detail"]["data"] | {"reply_to": reply_to, **data}
    fields["read"]["last"] = last
    event["detail"]["data"] = {name: value for name, value in fields.items() if value is not None}
    return event


def test_a_function_keeps_the_reply_that_a_rule_gives_it(talk, receiver):
    turn = talk.deployed.accepted(talk.push("hello"))["accepted_message_id"]
    assert kept(talk.deployed, receiver, f"{subject_of(talk)}#{turn}") == "echo: hello"


def test_a_function_keeps_only_the_latest_reply_of_a_turn(deployed, receiver):
    subject = f"default#{uuid4().hex}"

    def after(last, text):
        invoke(deployed, receiver, of_turn(subject, "in_1", last, text=text))
        return kept(deployed, receiver, f"{subject}#in_1")

    assert after("2026-11-22T13:00:02#1", "first") == "first"
    assert after("2026-11-22T13:00:02#1", "a copy") == "first"
    assert after("2026-11-22T13:00:01#1", "overtaken") == "first"
    assert after("2026-11-22T13:00:03#1", "revised") == "revised"
    assert after("2026-11-22T13:00:04#1", None) is None


def test_a_function_keeps_each_proactive_push(deployed, receiver):
    subject = f"default#{uuid4().hex}"
    for text in ("one", "two"):
        event = of_turn(subject, "", "2026-11-22T13:00:02#1", text=text)
        invoke(deployed, receiver, event)
        assert kept(deployed, receiver, f"{subject}#{event['detail']['id']}") == text


def test_an_event_that_a_function_cannot_handle_is_kept_on_a_queue(deployed, receiver):
    broken = {**SAMPLE, "id": uuid4().hex, "detail": {"id": "1", "data": {}}}
    invoke(deployed, receiver, broken, "Event")
    (queue,) = (name for logical, name in receiver.items() if logical.endswith("OnFailureQueue"))

    def look():
        received = deployed.client("sqs").receive_message(QueueUrl=queue).get("Messages", [])
        return [json.loads(one["Body"])["requestPayload"]["id"] for one in received]

    assert eventually(look, 60, "the event that failed") == [broken["id"]]


def assert_fits(model, schema):
    """Check that the fields of a model are those of a schema, and required only if they always are."""
    for name, field in model.model_fields.items():
        described = schema["properties"][name]
        assert not field.is_required() or name in schema["required"], name
        if described["type"] == "object":
            assert_fits(field.annotation, described)


def test_the_model_has_the_fields_of_the_schema(deployed, tmp_path, monkeypatch):
    for module, text in CODE.items():
        (tmp_path / f"{module}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for name, value in ({"REPLIES": "replies"} | environment_of(deployed)).items():
        monkeypatch.setenv(name, value)
    model = importlib.import_module("typed").ReplyCompleted
    assert_fits(model, SCHEMA)
    detail = SAMPLE["detail"]
    assert model(**detail).data.read.last == detail["data"]["read"]["last"]
    for module in CODE:
        del sys.modules[module]


# ---------------------------------------------------------------- SQS


@pytest.fixture(scope="module")
def queue(deployed):
    with PAGE.stack(deployed, "SQS") as outputs:
        yield outputs


def test_a_service_takes_replies_and_messages_in_trouble_from_a_queue(talk, queue):
    talk.deployed.accepted(talk.push("hello"))
    park(talk, "unreadable")
    expected = [
        f"Reply Completed {subject_of(talk)} echo: hello",
        f"Message Parked {subject_of(talk)} None",
    ]
    printed = ""

    def look():
        nonlocal printed
        script = [sys.executable, "-c", PAGE.example("SQS", "python")]
        printed += run(talk.deployed, script, QUEUE_URL=queue["QueueUrl"])
        return all(event in printed for event in expected)

    eventually(look, 120, "the events")


def test_an_event_that_a_service_cannot_handle_leaves_its_queue(talk, queue):
    sqs, url = talk.deployed.client("sqs"), queue["QueueUrl"]
    dead_letters = physical_ids(talk.deployed, "sqs")["DeadLetters"]
    reply(talk, "in_1")
    failed = []

    def fail():
        for one in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            failed.append(json.loads(one["Body"])["subject"])
            handle = one["ReceiptHandle"]
            sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
        found = sqs.receive_message(QueueUrl=dead_letters).get("Messages", [])
        return subject_of(talk) in [json.loads(one["Body"])["subject"] for one in found]

    eventually(fail, 60, "the dead letter")
    assert failed.count(subject_of(talk)) == 5


# ---------------------------------------------------------------- HTTPS


def test_an_endpoint_is_posted_the_reply_with_the_secret(talk):
    talk.deployed.client("secretsmanager").create_secret(Name="receiver-key", SecretString="key-of-the-test")
    with serving(*[NO_CONTENT] * 20) as server, PAGE.stack(talk.deployed, "HTTPS", Url=server.url):
        sent = talk.push("hello")

        def look():
            return [one for one in server.requests if subject_of(talk) in one[2].decode()]

        ((line, headers, body),) = eventually(look, 60, "the request")
        resources = physical_ids(talk.deployed, "https")
        targets = talk.deployed.client("events").list_targets_by_rule(Rule=resources["Rule"])["Targets"]
    assert (line, headers["x-api-key"]) == ("POST /bots/1 HTTP/1.1", "key-of-the-test")
    detail = fastjsonschema.compile(SCHEMA)(json.loads(body))
    assert (detail["data"]["message_id"], detail["data"]["text"]) == (sent.message_id, "echo: hello")
    assert targets[0]["DeadLetterConfig"]["Arn"].endswith(resources["DeadLetters"].rpartition("/")[2])


# ---------------------------------------------------------------- Step Functions


def test_a_state_machine_handles_an_event_once(talk):
    machine = talk.deployed.client("stepfunctions")
    with PAGE.stack(talk.deployed, "Step Functions") as outputs:

        def outputs_of(count):
            """Return the outputs of the executions about the session, once so many have ended."""

            def look():
                listed = machine.list_executions(
                    stateMachineArn=outputs["MachineArn"], statusFilter="SUCCEEDED"
                )["executions"]
                ended = [machine.describe_execution(executionArn=one["executionArn"]) for one in listed]
                of_session = [one for one in ended if json.loads(one["input"])["subject"] == subject_of(talk)]
                return of_session if len(of_session) == count else None

            return [json.loads(one["output"]) for one in eventually(look, 60, f"execution {count}")]

        talk.push("hello")
        (detail,) = outputs_of(1)
        assert detail["data"]["text"] == "echo: hello"
        publish_again(talk.deployed, detail)
        errors = [output.get("Error") for output in outputs_of(2)]
        assert sorted(errors, key=str) == ["DynamoDB.ConditionalCheckFailedException", None]


# ---------------------------------------------------------------- SNS


def test_people_are_told_of_a_message_in_trouble(talk):
    sns, sqs = talk.deployed.client("sns"), talk.deployed.client("sqs")
    url = sqs.create_queue(QueueName="people")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topics = {"Service": "sns.amazonaws.com"}
    allow = {"Effect": "Allow", "Principal": topics, "Action": "sqs:SendMessage", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    session = 'a "ticket" {1}\n你好'
    with PAGE.stack(talk.deployed, "SNS", Email="people@example.com") as outputs:
        topic = outputs["TopicArn"]
        (mail,) = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        assert (mail["Protocol"], mail["Endpoint"]) == ("email", "people@example.com")
        raw = {"RawMessageDelivery": "true"}
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=raw)
        sent, record = park(talk, session=session)

        def look():
            received = sqs.receive_message(QueueUrl=url).get("Messages", [])
            told = [json.loads(one["Body"]) for one in received]
            return [one for one in told if one["message"] == sent.message_id]

        (told,) = eventually(look, 60, "the notification")
    assert told == {
        "what": "Message Parked",
        "session": f"{talk.name}#{session}",
        "message": sent.message_id,
        "error": record["last_error"],
    }


# ---------------------------------------------------------------- The streams of the tables


@pytest.mark.parametrize(
    ("table", "readers"),
    [("replies_table", {"SettleFunction", "PublishFunction"}), ("messages_table", {"PublishFunction"})],
)
def test_a_stream_has_the_readers_that_the_page_names(deployed, table, readers):
    name = getattr(deployed.stack, table)
    stream = deployed.client("dynamodb").describe_table(TableName=name)["Table"]["LatestStreamArn"]
    listed = deployed.client("lambda").list_event_source_mappings(EventSourceArn=stream)
    functions = {one["FunctionArn"].rpartition(":")[2] for one in listed["EventSourceMappings"]}
    assert functions == {deployed.physical_id(reader) for reader in readers}


def test_a_kinesis_stream_gets_each_part(talk):
    kinesis, table = talk.deployed.client("kinesis"), talk.deployed.stack.replies_table
    kinesis.create_stream(StreamName="parts", ShardCount=1)
    stream = kinesis.describe_stream(StreamName="parts")["StreamDescription"]
    arn, shard = stream["StreamARN"], stream["Shards"][0]["ShardId"]
    bash = ["bash", "-euc", PAGE.example("The streams of the tables", "bash")]
    run(talk.deployed, bash, REPLIES=table, STREAM_ARN=arn)
    try:
        reply(talk, "in_1", final=False)
        start = kinesis.get_shard_iterator(
            StreamName="parts", ShardId=shard, ShardIteratorType="TRIM_HORIZON"
        )
        records = eventually(
            lambda: kinesis.get_records(ShardIterator=start["ShardIterator"])["Records"], 60, "the record"
        )
    finally:
        talk.deployed.client("dynamodb").disable_kinesis_streaming_destination(TableName=table, StreamArn=arn)
    parts = [json.loads(one["Data"])["dynamodb"]["NewImage"] for one in records]
    assert subject_of(talk) in [part["session"]["S"] for part in parts]


# ---------------------------------------------------------------- Dead letters and replay


def test_an_archive_gives_a_rule_its_events_again(talk, queue):
    events = talk.deployed.client("events")
    bus = events.describe_event_bus()["Arn"]
    heading, since = "Dead letters and replay", utc_text(time.time() - 60)
    run(talk.deployed, ["bash", "-euc", PAGE.example(heading, "bash")], BUS_ARN=bus)
    talk.push("hello")
    first = take(talk.deployed, queue["QueueUrl"], subject_of(talk))
    run(
        talk.deployed,
        ["bash", "-euc", PAGE.example(heading, "bash replay")],
        BUS_ARN=bus,
        ARCHIVE_ARN=events.describe_archive(ArchiveName="langbot-relay")["ArchiveArn"],
        RULE_ARN=queue["RuleArn"],
        SINCE=since,
        UNTIL=utc_text(time.time() + 60),
    )
    assert take(talk.deployed, queue["QueueUrl"], subject_of(talk)) == first
    events.delete_archive(ArchiveName="langbot-relay")
