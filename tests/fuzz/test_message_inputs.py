"""Any message on PushQueue ends in a record with a state, and the next one of its group is delivered."""

import json
import re
import threading
import time
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import strategies as st

from relay.adapters.queue_size import MAX_QUEUED_BYTES
from relay.domain import schemas
from relay.domain.record import MAX_REASON
from support.bots import change_secret, further_bot
from support.fuzzing import IN_FLIGHT, in_lanes, unforeseen
from support.json_inputs import JSON, allowed_by, damaged, nearly, written
from support.queued_messages import deliver, queued
from support.raw_server import serving
from support.waiting import eventually

SCHEMA = json.loads(Path(schemas.__file__).with_name("message.schema.json").read_text("utf-8"))
BOT = "the-bot-of-the-test"
FOR_THE_BOT = SCHEMA | {
    "required": [*SCHEMA["required"], "bot"],
    "properties": SCHEMA["properties"] | {"bot": {"const": BOT}},
}
NOT_IN_SQS = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

MESSAGES = allowed_by(FOR_THE_BOT) | allowed_by(FOR_THE_BOT) | allowed_by(SCHEMA)
TEXTS = written(MESSAGES) | written(nearly(MESSAGES)) | written(JSON)


@dataclass(frozen=True)
class Queued:
    """What SQS delivers: any body that it takes, and what came with it."""

    body: str
    group_id: str = "group"
    resend_of: str | None = None
    receive_count: int = 1


def large(characters):
    return json.dumps({"session_id": "s", "bot": BOT, "text": "x" * characters})


RARE = [
    Queued(json.dumps({"k" * 900_000: "\ud800"})),
    Queued(large(390_000)),
    Queued(large(MAX_QUEUED_BYTES - 100)),
    Queued(large(MAX_QUEUED_BYTES - 62)),
    Queued("[" * 500_000),
    Queued('{"session_id": ' + "9" * 5_000 + "}"),
    Queued(json.dumps({"session_id": "\U0001f600" * 480, "bot": BOT, "text": "x"}, ensure_ascii=False)),
]
"""What random inputs do not come to."""

INPUTS = st.builds(
    Queued,
    body=(TEXTS | damaged(TEXTS) | st.text()).map(lambda text: NOT_IN_SQS.sub("", text)).filter(bool),
    group_id=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=128),
    resend_of=st.none() | st.none() | st.none() | st.text() | st.text("0123456789", min_size=39, max_size=39),
    receive_count=st.sampled_from([1, 1, 2]),
)


@pytest.fixture
def bot(talk):
    """A bot that accepts each message: the test's own, and the one of messages that name none."""
    data = {"accepted_message_id": "in_1", "reply_to": "in_1", "message": [{"type": "Plain", "text": "hi"}]}
    body = json.dumps({"code": 0, "msg": "", "data": data}).encode()

    def accept(connection):
        action = bot.requests[-1][0].split()[1].rpartition("/")[2]
        status = 200 if action in ("sync", "reset") else 202
        bot.responses.append(accept)
        # The server ends the connection after this, so the client must not use it again.
        connection.sendall(b"HTTP/1.1 %d OK\r\nConnection: close\r\n\r\n%s" % (status, body))

    manager = talk.deployed.client("secretsmanager")
    default = {"SecretId": talk.deployed.local.outputs["BotSecretPrefix"] + "default"}
    before = manager.get_secret_value(**default)["SecretString"]
    with serving(accept) as bot:
        for one in (talk, replace(talk, name="default")):
            change_secret(one, url=bot.url)
        yield bot
    manager.put_secret_value(**default, SecretString=before)


@pytest.fixture
def lanes(talk, bot):
    """Names of that bot, for messages that are under way at the same time."""
    return [further_bot(talk, number, bot.url) for number in range(IN_FLIGHT)]


OF_NO_LANE = threading.Lock()
"""For a message that may be of the bot `default`: two of one session could wait for each other."""


def check_all(workers, bot, lanes, deliver_both, values):
    """Deliver messages, each with a follower of its group; check what both came to, and return it."""
    bot.requests.clear()

    def try_one(lane, given):
        message = replace(
            queued(lane, receive_count=given.receive_count),
            body=given.body.replace(BOT, lane.name),
            group_id=given.group_id,
            resend_of=given.resend_of,
        )
        follower = replace(queued(lane, expect_reply=False), group_id=given.group_id)
        with nullcontext() if lane.name in message.body else OF_NO_LANE:
            message, follower = deliver_both(message, follower)
            return message, workers.take(message), follower

    tried = in_lanes(lanes, try_one, values)
    followed = workers.records(*(follower for *_, follower in tried))
    assert {record["state"] for record in followed} == {"delivered"}
    sent = defaultdict(list)
    for number, (_, headers, body) in enumerate(bot.requests):
        message_id = headers["x-lb-idempotency-key"].rpartition(".")[0]
        sent[message_id].append((number, json.loads(body)["session_id"]))
    for message, record, follower in tried:
        requests = sorted(sent[message.message_id] + sent[follower.message_id])
        check_record(record, [session for _, session in requests], follower)
    return [str(record["state"]) for _, record, _ in tried]


def check_record(record, sessions, follower):
    """Check what a message came to; `sessions` are those of its requests and its follower's, in order."""
    for name in ("reason", "last_error", "drop_reason"):
        assert len(record.get(name, "")) <= MAX_REASON
    accepted = record["state"] in ("delivered", "answered")
    assert accepted or record["state"] in ("parked", "dropped")
    last = json.loads(follower.body)["session_id"]
    assert sessions == ([record["session_id"], last] if accepted else [last])


def test_any_message_ends_in_a_state_and_holds_up_no_other(workers, bot, lanes, log_lines, fuzzer):
    dispatcher = replace(workers, max_in_flight=0).dispatcher()

    def deliver_both(*messages):
        assert deliver(dispatcher, *messages) == []
        return messages

    def check(values):
        log_lines.clear()
        ends = check_all(workers, bot, lanes, deliver_both, values)
        assert unforeseen(log_lines) == []
        return ends

    fuzzer.run(check, INPUTS, 30, 0.22, RARE)


def test_any_message_through_sqs_ends_in_a_state_and_holds_up_no_other(talk, workers, bot, lanes, fuzzer):
    sqs, stack = talk.deployed.client("sqs"), talk.deployed.stack

    def send(message):
        attribute = {"DataType": "String", "StringValue": message.resend_of}
        response = sqs.send_message(
            QueueUrl=stack.push_queue_url,
            MessageBody=message.body,
            MessageGroupId=message.group_id,
            MessageDeduplicationId=uuid4().hex,
            MessageAttributes={"resend_of": attribute} if message.resend_of else {},
        )
        number = response["SequenceNumber"]
        return replace(message, message_id=response["MessageId"], sequence_number=number)

    def deliver_both(message, follower):
        message, follower = send(message), send(follower)
        eventually(lambda: workers.record(follower))
        return message, follower

    def check(values):
        began = time.time()
        ends = check_all(workers, bot, lanes, deliver_both, values)
        lines = [line.text for line in stack.open_logs().since(began, ["push"])]
        assert unforeseen(lines) == []
        return ends

    in_sqs = INPUTS.filter(lambda one: not NOT_IN_SQS.search(one.resend_of or "") and one.resend_of != "")
    fuzzer.run(check, in_sqs, 3, 0.01, ())
