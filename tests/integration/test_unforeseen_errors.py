"""Every error in a delivery ends in the message's record."""

import json
import threading
import time
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from local.sample_bot import Answer
from relay.domain.keys import message_key, record_key
from relay.domain.message import session_body
from support.deployed import IN, OUT
from support.parked_messages import UNPARSED
from support.queued_messages import again, deliver, queued

DENIED = ClientError(
    {"Error": {"Code": "AccessDeniedException", "Message": "private words"}}, "GetSecretValue"
)


class Raising:
    """Does what `thing` does, but one method raises."""

    def __init__(self, thing, method, error):
        self.thing, self.method, self.error = thing, method, error

    def __getattr__(self, name):
        return self.fail if name == self.method else getattr(self.thing, name)

    def fail(self, *_arguments, **_named):
        raise self.error


def failing(dispatcher, part, method, error):
    """Return a dispatcher of which one part of its sender fails."""
    parts = {part: Raising(getattr(dispatcher.sender, part), method, error)}
    return replace(dispatcher, sender=replace(dispatcher.sender, **parts))


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        ("bot_registry.get", DENIED, "AccessDeniedException by GetSecretValue"),
        ("bot_registry.get", ReadTimeoutError(endpoint_url="https://aws"), "ReadTimeoutError"),
        ("bot_registry.get", KeyError("private words"), "KeyError"),
        ("admission_control.admit", DENIED, "AccessDeniedException by GetSecretValue"),
        ("langbot.post", ValueError("private words"), "ValueError"),
        ("admission_control.record_success", MemoryError("private words"), "MemoryError"),
    ],
)
def test_an_unforeseen_error_is_recorded_and_retried(talk, workers, dispatcher, call, error, said):
    message = queued(talk)
    assert deliver(failing(dispatcher, *call.split("."), error), message) == [message.message_id]
    record = workers.record(message)
    assert (record["state"], record["last_error"], record["attempts"]) == ("retrying", said, 1)


def test_an_unforeseen_error_parks_the_message_when_its_time_is_up(talk, workers):
    message, moment = queued(talk), 1_795_352_448.0
    message = replace(message, queued_at=moment)
    for seconds, kept in ((0, [message.message_id]), (3599, [message.message_id]), (3700, [])):
        dispatcher = failing(workers.at(moment + seconds).dispatcher(), "bot_registry", "get", DENIED)
        assert deliver(dispatcher, message) == kept
        message = again(message)
    record = workers.record(message)
    assert record["state"] == "parked"
    assert record["reason"].endswith("at last AccessDeniedException by GetSecretValue")


def test_an_error_before_the_record_is_read_does_not_overwrite_it(talk, workers, dispatcher):
    talk.bot.answer_with(Answer(502))
    message = queued(talk)
    deliver(dispatcher, message)
    before = workers.record(message)
    unreadable = replace(dispatcher, messages_table=Raising(dispatcher.messages_table, "read", DENIED))
    assert deliver(unreadable, again(message)) == [message.message_id]
    assert workers.record(message) == before


def test_a_second_delivery_at_the_same_time_does_not_overwrite_the_first(talk, workers, dispatcher):
    message = queued(talk, "SILENT")
    deliver(dispatcher, message)
    before = workers.record(message)
    # SQS delivers it once more, with a receive count of 1, before the first delivery has removed it.
    assert deliver(dispatcher, message) == []
    assert workers.record(message) == before
    assert [request.status for request in talk.bot.received] == [202, 409]


def test_a_secret_that_is_scheduled_for_deletion_is_no_bot(talk, workers):
    manager = talk.deployed.client("secretsmanager")
    manager.delete_secret(SecretId=talk.deployed.local.outputs["BotSecretPrefix"] + talk.name)
    message = queued(talk)
    assert deliver(workers.dispatcher(), message) == []
    record = workers.record(message)
    assert (record["state"], record["reason"][:8]) == ("parked", "no bot '")


@pytest.mark.parametrize(
    "url", ["https://[your-langbot-host]/bots/1", "http://[::1:5300/bots/1", "http://h:99999/"]
)
def test_an_unusable_url_is_seen_and_callbacks_are_verified(talk, workers, url):
    manager = talk.deployed.client("secretsmanager")
    secret = {"url": url, "inbound_secret": IN, "outbound_secret": OUT}
    manager.put_secret_value(
        SecretId=talk.deployed.local.outputs["BotSecretPrefix"] + talk.name, SecretString=json.dumps(secret)
    )
    message = queued(talk)
    assert deliver(workers.dispatcher(), message) == [message.message_id]
    assert "url must be an address" in workers.record(message)["last_error"]
    assert workers.bot_registry.get(talk.name).outbound_secrets == (OUT,)


@pytest.mark.parametrize(("part", "method"), [("messages_table", "mark_resent"), ("messages_table", "body")])
def test_a_resend_that_failed_before_it_had_its_body_is_sent_later(talk, workers, dispatcher, part, method):
    talk.bot.answer_with(UNPARSED)
    original = queued(talk)
    deliver(dispatcher, original)
    resend = replace(
        queued(talk),
        resend_of=workers.record(original)["message"],
        body=session_body(talk.name, talk.session),
    )
    broken = replace(dispatcher, **{part: Raising(getattr(dispatcher, part), method, DENIED)})
    assert deliver(broken, resend) == [resend.message_id]
    assert deliver(workers.at(time.time() + 3).dispatcher(), again(resend)) == []
    assert talk.texts() == ["hello", "hello"]


def test_a_session_that_hangs_does_not_hold_up_the_others(talk, dispatcher, monkeypatch):
    ended, hanging = threading.Event(), queued(talk)
    other = queued(replace(talk, session="other"))
    sender = dispatcher.sender

    class HangingSender:
        one_at_a_time = sender.one_at_a_time

        def send(self, message, *more):
            if message.session_id == talk.session:
                ended.wait(60)
            return sender.send(message, *more)

    monkeypatch.setattr("push.dispatcher.TIME_TO_RETURN", 75)
    try:
        left = deliver(replace(dispatcher, sender=HangingSender()), hanging, other, seconds_left=80)
        assert left == [hanging.message_id]
        assert [request.status for request in talk.bot.received] == [202]
    finally:
        ended.set()


def test_a_key_as_large_as_a_record_is_parked_with_a_short_reason(talk, workers, dispatcher):
    message = queued(talk)
    large = json.dumps({"k" * 900_000: "\ud800"})
    assert deliver(dispatcher, replace(message, body=large)) == []
    record = workers.messages_table.read(record_key(f"#{talk.session}", message_key(message.sequence_number)))
    assert record["state"] == "parked"
    assert len(record["reason"]) < 100
