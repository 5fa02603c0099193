import json

import pytest

from relay import Stack, StackNotFound

OUTPUTS = {
    "PushQueueUrl": "http://127.0.0.1:4566/000000000000/relay-local-push.fifo",
    "ParkedQueueUrl": "http://127.0.0.1:4566/000000000000/relay-local-parked.fifo",
    "MessagesTableName": "messages",
    "RepliesTableName": "replies",
    "OverflowBucketName": "overflow",
    "BotSecretPrefix": "relay-local/bots/",
    "CallbackUrl": "http://127.0.0.1:4566/callbacks/default",
    "EndpointUrl": "http://127.0.0.1:4566",
    **{f"{name}LogGroupName": name for name in ("Push", "Callback", "Settle", "Sweep", "Publish")},
}


@pytest.fixture
def outputs_file(tmp_path):
    return tmp_path / "outputs.json"


def test_the_local_stack_is_read_from_its_outputs_file(outputs_file):
    outputs_file.write_text(json.dumps(OUTPUTS))
    assert Stack.from_file(outputs_file).endpoint_url == "http://127.0.0.1:4566"


@pytest.mark.parametrize("endpoint", [{}, {"EndpointUrl": None}, {"EndpointUrl": ""}])
def test_a_file_without_endpoint_is_refused_before_credentials_are_used(outputs_file, endpoint):
    outputs = {name: value for name, value in OUTPUTS.items() if name != "EndpointUrl"}
    outputs_file.write_text(json.dumps(outputs | endpoint))
    with pytest.raises(StackNotFound, match=r"outputs\.json has no EndpointUrl.*`make local`"):
        Stack.from_file(outputs_file)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b'"EndpointUrl"'])
def test_a_file_that_is_no_outputs_file_is_refused(outputs_file, text):
    outputs_file.write_bytes(text)
    with pytest.raises(StackNotFound, match=r"outputs\.json"):
        Stack.from_file(outputs_file)


def test_stack_knows_its_name_and_the_callback_url_of_each_bot(outputs_file):
    outputs_file.write_text(json.dumps(OUTPUTS))
    stack = Stack.from_file(outputs_file)
    assert stack.name == "relay-local"
    assert stack.callback_url("default-2") == "http://127.0.0.1:4566/callbacks/default-2"
