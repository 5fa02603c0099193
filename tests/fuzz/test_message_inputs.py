"""Any message on PushQueue ends in a record with a state, and the next one of its group is delivered."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import strategies as st

from relay.domain import schemas
from relay.domain.message import MAX_QUEUED_BYTES, parse_message, parse_session_body
from relay.domain.record import MAX_REASON, key_of
from relay.errors import InvalidMessage
from support.bots import change_secret
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
    Queued("[" * 500_000),
    Queued('{"session_id": ' + "9" * 5_000 + "}"),
    Queued(json.dumps({"session_id": "\U0001f600" * 480, "bot": BOT, "text": "x"}, ensure_ascii=False)),
]
"""What random inputs do not come to."""

INPUTS = st.builds(
    Queued,
    body=(TEXTS | damaged(TEXTS) | st.text()).map(lambda text: NOT_IN_SQS.sub("", text)).filter(bool),
    group_id=st.from_regex("[!-~]{1,128}", fullmatch=True),
    resend_of=st.none() | st.none() | st.none() | st.text() | st.from_regex("[0-9]{39}", fullmatch=True),
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


def record_of(workers, message):
    """Return the record of a message, under the session that its body names, or else under its group."""
    parse = parse_message if message.resend_of is None else parse_session_body
    try:
        return workers.messages_table.read(key_of(message, parse(message.body)))
    except InvalidMessage:
        return workers.messages_table.read(key_of(message, None))


def check_record(record, bot):
    """Check what a message came to, which is the first that the bot may have been sent, and return it."""
    for name in ("reason", "last_error", "drop_reason"):
        assert len(record.get(name, "")) <= MAX_REASON
    accepted = record["state"] in ("delivered", "answered")
    assert accepted or record["state"] in ("parked", "dropped")
    assert len(bot.requests) == accepted + 1
    if accepted:
        assert json.loads(bot.requests[0][2])["session_id"] == record["session_id"]
    return str(record["state"])


def forget(talk, *records):
    """Delete records, so that no message has to wait for another one's reply."""
    for record in records:
        key = {name: {"S": record[name]} for name in ("session", "message")}
        talk.deployed.client("dynamodb").delete_item(TableName=talk.deployed.stack.messages_table, Key=key)


def test_any_message_ends_in_a_state_and_holds_up_no_other(talk, workers, bot, fuzzer):
    workers = replace(workers, max_in_flight=0)
    dispatcher = workers.dispatcher()

    def check(given):
        bot.requests.clear()
        body = given.body.replace(BOT, talk.name)
        message = replace(
            queued(talk, receive_count=given.receive_count),
            body=body,
            group_id=given.group_id,
            resend_of=given.resend_of,
        )
        follower = replace(queued(talk), group_id=given.group_id)
        assert deliver(dispatcher, message, follower) == []
        record, followed = record_of(workers, message), record_of(workers, follower)
        assert followed["state"] == "delivered"
        forget(talk, record, followed)
        return check_record(record, bot)

    fuzzer.run(check, INPUTS, 60, 0.24, RARE)


def test_any_message_through_sqs_ends_in_a_state_and_holds_up_no_other(talk, workers, bot, fuzzer):
    sqs, stack = talk.deployed.client("sqs"), talk.deployed.stack

    def send(template, body, attributes):
        response = sqs.send_message(
            QueueUrl=stack.push_queue_url,
            MessageBody=body,
            MessageGroupId=template.group_id,
            MessageDeduplicationId=uuid4().hex,
            MessageAttributes=attributes,
        )
        return replace(template, body=body, sequence_number=response["SequenceNumber"])

    def check(given):
        bot.requests.clear()
        resend = {"resend_of": {"DataType": "String", "StringValue": given.resend_of}}
        template = replace(queued(talk), group_id=given.group_id, resend_of=given.resend_of)
        message = send(template, given.body.replace(BOT, talk.name), resend if given.resend_of else {})
        follower = send(replace(template, resend_of=None), queued(talk).body, {})
        followed = eventually(lambda: record_of(workers, follower))
        record = record_of(workers, message)
        forget(talk, record, followed)
        return check_record(record, bot)

    in_sqs = INPUTS.filter(lambda one: not NOT_IN_SQS.search(one.resend_of or "") and one.resend_of != "")
    fuzzer.run(check, in_sqs, 3, 0.01, ())
