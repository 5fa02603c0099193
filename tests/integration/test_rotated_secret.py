"""Push uses an inbound secret that was set after it read the bot's secret, in the same attempt."""

from dataclasses import replace

import pytest

from relay.domain.states import State
from support.bots import change_secret
from support.deployed import IN
from support.queued_messages import deliver, queued

NEW = IN + "-2"


@pytest.fixture
def refused_secret(talk, dispatcher):
    """LangBot knows another inbound secret than the one that push has just read."""
    assert deliver(dispatcher, queued(talk)) == []
    talk.bot.inbound_secret = NEW


@pytest.mark.usefixtures("refused_secret")
@pytest.mark.parametrize("known", [[NEW, IN], [IN, NEW]])
def test_a_secret_that_was_just_set_is_used_in_the_same_attempt(talk, workers, dispatcher, known):
    change_secret(talk, inbound_secret=known)
    message = queued(talk)
    assert deliver(dispatcher, message) == []
    record = workers.record(message)
    assert (record["attempts"], "last_error" in record) == (1, False)


@pytest.mark.usefixtures("refused_secret")
def test_a_refusal_stays_one_if_the_secret_cannot_be_read_again(talk, workers, dispatcher):
    talk.deployed.client("secretsmanager").delete_secret(
        SecretId=talk.deployed.local.outputs["BotSecretPrefix"] + talk.name
    )
    message = queued(talk)
    assert deliver(dispatcher, message) == [message.message_id]
    record = workers.record(message)
    assert (record["state"], record["last_response"]["status"]) == (State.RETRYING, 401)


def test_a_test_message_is_sent_with_the_secret_of_now(talk, workers, dispatcher):
    assert deliver(dispatcher, queued(talk)) == []
    change_secret(talk, url=talk.bot.url + "x")
    cached, tested = queued(talk), replace(queued(talk), reads_secret=True)
    assert deliver(dispatcher, cached, tested) == [tested.message_id]
    record = workers.record(tested)
    assert (record["state"], record["last_error"]) == (State.RETRYING, "answered 404: Bot not found")
