"""What a log may show, as Lambda's own formatter writes it: secrets, signatures and texts never."""

import json
import logging
import time

import pytest
from awslambdaric.lambda_runtime_log_utils import JsonFormatter
from batches import at, deliver, queued
from test_callback import body, headers

from conftest import IN, OUT
from local.sample_bot import Answer
from relay.edge.bots import Bots
from relay.edge.replies import Replies
from relay.receive import Receiver
from relay.rules.signing import NotAuthentic
from relay.rules.strict_json import Malformed


@pytest.fixture
def lines():
    written = []

    class Handler(logging.Handler):
        def emit(self, record):
            written.append(self.format(record))

    handler = Handler()
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("relay")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield written
    logger.removeHandler(handler)


def test_a_delivery_is_logged_by_its_ids_and_never_by_its_text(talk, courier, lines):
    echo = {"code": 40001, "msg": "failed to parse message: input_value='private words'"}
    answers = (Answer(), Answer(502, "private words"), Answer(400, echo), Answer(drop=True))
    for minutes, answer in enumerate(answers):
        talk.bot.answer_with(answer)
        message = queued(talk, "private words")
        deliver(at(courier, time.time() + 61 * minutes), message)
        assert json.loads(lines[-1])["message_id"] == message.message_id
    deliver(courier, queued(talk, text=["private words"]))
    logged = "\n".join(lines)
    assert [json.loads(line)["message"] for line in lines if "could not be set" not in line] == [
        "delivered",
        "not delivered, will be tried again",
        "parked",
        "not delivered, will be tried again",
        "parked",
    ]
    for secret in ("private words", IN, OUT, talk.bot.received[0].headers["x-lb-signature"]):
        assert secret not in logged


def test_a_part_is_logged_by_its_bot_and_never_by_its_text(talk, lines):
    deployed = talk.deployed
    stack = deployed.stack
    receiver = Receiver(
        Bots(deployed.client("secretsmanager"), deployed.local.outputs["BotSecretPrefix"]),
        Replies(
            deployed.client("dynamodb"), stack.replies_table, deployed.client("s3"), stack.overflow_bucket
        ),
        spill=None,
        keep_days=1,
    )
    raw = body(talk, message=[{"type": "Plain", "text": "private words"}])
    signed = {name.lower(): value for name, value in headers(raw).items()}
    receiver.receive(talk.name, signed, raw)
    receiver.receive(talk.name, signed, raw)
    broken = raw.replace(b'"sequence": 1', b'"sequence": "private words"')
    with pytest.raises(Malformed):
        receiver.receive(talk.name, {n.lower(): v for n, v in headers(broken).items()}, broken)
    with pytest.raises(NotAuthentic) as refused:
        receiver.receive(talk.name, {n.lower(): v for n, v in headers(raw, "guess").items()}, raw)
    assert [json.loads(line)["message"] for line in lines] == [
        "part kept",
        "part was kept before",
        "a signed body is no valid part",
    ]
    for secret in ("private words", IN, OUT, signed["x-lb-signature"]):
        assert secret not in "\n".join(lines) + str(refused.value)
