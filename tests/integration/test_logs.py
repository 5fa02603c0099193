"""What a log may show, as Lambda's own formatter writes it: never secrets, signatures or texts."""

import json
import time
from dataclasses import replace

import pytest

from local.sample_bot import Answer
from relay.domain.signing import NotAuthentic
from relay.domain.strict_json import Malformed
from support.callbacks import lower_case, part_body, signed_headers
from support.deployed import IN, OUT
from support.queued_messages import deliver, queued


def test_a_delivery_is_logged_by_its_ids_and_never_by_its_text(talk, workers, log_lines):
    echo = {"code": 40001, "msg": "failed to parse message: input_value='private words'"}
    answers = (Answer(), Answer(502, "private words"), Answer(400, echo), Answer(drop=True))
    workers = replace(workers, policy=replace(workers.policy, ends_tasks=True))
    carried = {"context": {"key": "private context"}, "reply_to_task": "private token"}
    for minutes, answer in enumerate(answers):
        talk.bot.answer_with(answer)
        message = queued(talk, "private words", **carried)
        deliver(workers.at(time.time() + 61 * minutes).dispatcher(), message)
        assert json.loads(log_lines[-1])["message_id"] == message.message_id
    deliver(workers.dispatcher(), queued(talk, text=["private words"], **carried))
    assert [json.loads(line)["message"] for line in log_lines if "could not be set" not in line] == [
        "delivered",
        "retrying",
        "parked",
        "retrying",
        "parked",
    ]
    for secret in (
        "private words",
        "private context",
        "private token",
        IN,
        OUT,
        talk.bot.received[0].headers["x-lb-signature"],
    ):
        assert secret not in "\n".join(log_lines)


def test_a_part_is_logged_by_its_bot_and_never_by_its_text(talk, workers, log_lines):
    receiver = workers.receiver()

    def receive(raw, secret=OUT):
        receiver.receive(talk.name, lower_case(signed_headers(raw, secret)), raw)

    raw = part_body(talk, message=[{"type": "Plain", "text": "private words"}])
    signature = signed_headers(raw)["X-LB-Signature"]
    receive(raw)
    receive(raw)
    with pytest.raises(Malformed):
        receive(b'{"session_id": "private words"}')
    with pytest.raises(NotAuthentic) as refused:
        receive(raw, secret="guess")
    # On Lambda the level is INFO, so the usual part costs no line.
    assert [(line["level"], line["message"]) for line in map(json.loads, log_lines)] == [
        ("DEBUG", "part stored"),
        ("INFO", "part was stored before"),
        ("ERROR", "a signed body is no valid part"),
    ]
    for secret in ("private words", IN, OUT, signature):
        assert secret not in "\n".join(log_lines) + str(refused.value)


def test_a_refused_request_is_logged_with_its_bot_and_the_reason(talk, callback, log_lines):
    raw = part_body(talk)
    assert callback.post(talk, raw, signed_headers(raw, "guess"))[0] == 401
    logged = json.loads(log_lines[-1])
    assert (logged["bot"], logged["reason"]) == (talk.name, "signature_mismatch")


def test_a_made_up_name_takes_little_room_in_the_log(talk, callback, log_lines):
    assert callback.post(talk, part_body(talk), bot="\0" * 3000)[0] == 401
    assert len(log_lines[-1]) < 1000
