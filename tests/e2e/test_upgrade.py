"""A stack is upgraded while messages flow."""

import json
from dataclasses import replace

import pytest

from local.sample_bot import Answer, SampleBot
from relay import PushQueue
from support.deployed import IN, OUT
from support.second_stack import as_list, physical_ids, second_stack, wait_for_stack
from support.waiting import eventually

NAME, CODE = "relay-upgraded", "relay-local-code"


@pytest.fixture
def upgraded(deployed):
    """A stack of its own, and its bot, which takes 0.1 s for each message."""
    with second_stack(deployed, NAME), SampleBot("http://127.0.0.1:9/unused", IN, OUT) as bot:
        stack = replace(deployed.stack, push_queue_url=physical_ids(deployed, NAME)["PushQueue"])
        secret = {"url": bot.url, "inbound_secret": IN, "outbound_secret": OUT}
        deployed.client("secretsmanager").put_secret_value(
            SecretId=f"{NAME}/bots/default", SecretString=json.dumps(secret)
        )
        # Unlike Lambda, the emulator kills the call that is under way. Its messages are hidden for so long.
        deployed.client("sqs").set_queue_attributes(
            QueueUrl=stack.push_queue_url, Attributes={"VisibilityTimeout": "10"}
        )
        bot.answer_with(*[Answer(delay=0.1)] * 60)
        yield stack, bot


def upgrade(deployed):
    """Deploy the same template with other code and another parameter, as a new version does."""
    s3 = deployed.client("s3")
    s3.copy_object(Bucket=CODE, Key="next.zip", CopySource=f"{CODE}/functions.zip")
    template = s3.get_object(Bucket=CODE, Key="template.yaml")["Body"].read().decode()
    s3.put_object(Bucket=CODE, Key="next.yaml", Body=template.replace("functions.zip", "next.zip"))
    deployed.client("cloudformation").update_stack(
        StackName=NAME,
        TemplateURL=f"{deployed.local.outputs['EndpointUrl']}/{CODE}/next.yaml",
        Parameters=as_list({"KeepDays": "30"}),
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    wait_for_stack(deployed, NAME, "UPDATE_COMPLETE")


def by_key(bot):
    """Return session and text by idempotency key, in the order in which the keys came first."""
    found = {}
    for request in list(bot.received):
        body = json.loads(request.body)
        key = request.headers["x-lb-idempotency-key"]
        found.setdefault(key, (body["session_id"], body["message"][0]["text"]))
    return found


def test_an_upgrade_loses_no_message_and_no_order(deployed, upgraded):
    stack, bot = upgraded
    queue = PushQueue(stack)
    sessions = [f"s-{n}" for n in range(3)]

    def push(numbers):
        for number in numbers:
            for session in sessions:
                queue.push(session, str(number), expect_reply=False)

    push(range(10))
    eventually(lambda: bot.received)
    upgrade(deployed)
    push(range(10, 15))
    delivered = eventually(lambda: found if len(found := by_key(bot)) == 45 else None)
    for session in sessions:
        assert [text for of, text in delivered.values() if of == session] == [str(n) for n in range(15)]
