"""A stack is upgraded from 0.1.0 as it was, with five functions and messages on its five queues."""

import json
import time

import pytest

from local.local_stack import LocalStack
from local.sample_bot import OVERLOADED, Answer, SampleBot
from relay import Messages, Stack
from relay.adapters.overflow_bucket import OverflowBucket
from relay.adapters.spill_queue import SpillQueue
from relay.domain.part import VerifiedCallback
from support.callbacks import lower_case, part_body, signed_headers
from support.deployed import IN, OUT, Deployed, Talk
from support.due_items import make_overdue
from support.parked_messages import UNPARSED
from support.second_stack import physical_ids, stack_of_commit, template_url, upgrade
from support.tables import scan
from support.waiting import eventually

NAME, BEFORE = "relay-upgraded", "150dad0"
"""The stack, and the commit that it is upgraded from."""

FLOW = [f"flow-{n}" for n in range(3)]
BOTS = dict.fromkeys(FLOW, "flow") | {"down": "down", "sync": "sync"}
BOTS |= dict.fromkeys(["parked", "open", "unanswered", "spilled"], "default")
"""A session for each place in which a message can be, and its bot."""


class Bot(SampleBot):
    """A bot that takes 0.1 s for a message, and `before` the upgrade does not take all."""

    before = True

    def choose_answer(self, request):
        body = json.loads(request.body)
        if self.before and body["session_id"] in ("down", "parked"):
            return UNPARSED if body["session_id"] == "parked" else OVERLOADED
        if body["message"][0]["text"] == "down 0":
            return Answer(202, {"data": {"accepted_message_id": "in_early"}})
        return Answer(delay=0.1, takes="message")

    def taken(self, session):
        """Return the texts of a session by idempotency key, in the order in which the keys came first."""
        found = {}
        for request in list(self.received):
            body = json.loads(request.body)
            if body["session_id"] == session and request.status != OVERLOADED.status:
                found.setdefault(request.headers["x-lb-idempotency-key"], body["message"][0]["text"])
        return list(found.values())


@pytest.fixture
def stack(deployed, tmp_path):
    with stack_of_commit(deployed, NAME, BEFORE) as outputs:
        outputs |= {"EndpointUrl": deployed.local.outputs["EndpointUrl"], "Region": deployed.stack.region}
        (tmp_path / "outputs.json").write_text(json.dumps(outputs))
        yield Deployed(LocalStack(outputs), Stack.from_file(tmp_path / "outputs.json"), deployed.clients)


@pytest.fixture
def talks(stack):
    with Bot("http://127.0.0.1:9/unused", IN, OUT) as bot:
        for name in set(BOTS.values()):
            stack.local.connect(bot.url, IN, OUT, bot=name)
        yield {session: Talk(stack, bot, name, session) for session, name in BOTS.items()}


def invoke(stack, function, payload):
    name = physical_ids(stack, NAME)[function]
    response = stack.client("lambda").invoke(FunctionName=name, Payload=json.dumps(payload))
    assert "FunctionError" not in response
    return json.loads(response["Payload"].read())


def post_reply(talk, reply_to):
    """Have callback handle the final part of a reply."""
    raw = part_body(talk, reply_to=reply_to)
    request = {"headers": lower_case(signed_headers(raw)), "pathParameters": {"bot": talk.name}}
    request |= {"body": raw.decode(), "isBase64Encoded": False}
    assert invoke(talk.deployed, "CallbackFunction", request)["statusCode"] == 200


def set_mappings(stack, enabled, *queues):
    """Let the functions read these queues, or leave on them what is there."""
    functions = stack.client("lambda")
    for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
        if mapping["EventSourceArn"].endswith(tuple(f":{NAME}-{queue}" for queue in queues)):
            functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)


def test_an_upgrade_loses_no_message_no_reply_and_no_order(deployed, stack, talks):
    bot, sqs, queues = talks["open"].bot, stack.client("sqs"), physical_ids(stack, NAME, "AWS::SQS::Queue")
    # Unlike Lambda, the emulator kills the call that is under way. Its message is hidden for so long.
    sqs.set_queue_attributes(QueueUrl=queues["PushQueue"], Attributes={"VisibilityTimeout": "8"})
    set_mappings(stack, False, "sync.fifo", "recheck", "spill")
    parked, unanswered = talks["parked"].push("parked"), talks["unanswered"].push("SILENT")
    waiting, sync = talks["open"].push("SILENT"), talks["sync"].push("sync", action="sync")
    down = [talks["down"].push(f"down {n}") for n in range(3)]
    make_overdue(talks["unanswered"], unanswered)
    invoke(stack, "SweepFunction", {})
    post_reply(talks["down"], "in_early")  # faster than the record of its message
    bucket = OverflowBucket(stack.client("s3"), stack.stack.overflow_bucket)
    spilled = VerifiedCallback("default", part_body(talks["spilled"]), time.time(), time.time(), None)
    SpillQueue(sqs, queues["SpillQueue"], bucket).put(spilled)
    stack.state(parked, "parked")
    stack.state(unanswered, "unanswered")
    for sent in (down[0], sync):
        stack.state(sent, "retrying")
    former = {name for item in scan(stack.stack, stack.stack.messages_table) for name in item}
    assert {"refusals", "last_answer"} <= former

    def push(numbers):
        for number in numbers:
            for flow in FLOW:
                talks[flow].push(str(number), expect_reply=False)

    push(range(10))
    eventually(lambda: bot.taken(FLOW[0]))
    upgrade(stack, NAME, template_url(deployed))
    assert physical_ids(stack, NAME, "AWS::SQS::Queue").keys() == {"PushQueue", "SpillQueue"}
    bot.before = False
    set_mappings(stack, True, "spill")
    push(range(10, 13))
    messages = Messages(stack.stack)
    listed = {record["message_id"]: record for record in messages.awaiting_operator()}
    assert listed.keys() == {parked.message_id, unanswered.message_id}
    resent = [messages.resend(record) for record in listed.values()]
    post_reply(talks["open"], stack.state(waiting, "delivered")["accepted_message_id"])
    for sent in (waiting, sync):
        stack.state(sent, "answered")
    for sent in (*down, *resent):
        stack.accepted(sent)
    # The entry of RecheckQueue is gone with it: the reply is found when its message is due.
    make_overdue(talks["down"], down[0])
    invoke(stack, "SettleFunction", {})
    assert stack.record(down[0])["answered_by"] == "in_early"
    assert eventually(talks["spilled"].parts)[0]["text"] == "hi"

    eventually(lambda: sum(len(bot.taken(flow)) for flow in FLOW) == 39)
    expected = {flow: [str(number) for number in range(13)] for flow in FLOW}
    expected |= {"down": [f"down {n}" for n in range(3)], "sync": ["sync"], "open": ["SILENT"]}
    expected |= {"parked": ["parked"] * 2, "unanswered": ["SILENT"] * 2, "spilled": []}
    assert {session: bot.taken(session) for session in BOTS} == expected
    keys = [one.headers["x-lb-idempotency-key"] for one in bot.received if b"down 0" in one.body]
    # Each 503 has used a key up. Only the attempt that the emulator killed may come again under its own.
    assert keys == sorted(keys)
    assert len(set(keys)) > 1
