"""The deployed callback while it is not allowed to write to the table, and after."""

import hashlib
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from test_callback import body, headers, objects, post

from conftest import IN, OUT, eventually
from relay.rules.part import utc


def physical(deployed, logical):
    answer = deployed.client("cloudformation").describe_stack_resource(
        StackName="relay-local", LogicalResourceId=logical
    )
    return answer["StackResourceDetail"]["PhysicalResourceId"]


@contextmanager
def without(deployed, *actions, function="callback"):
    """Takes from a function's role the statements that allow one of `actions`."""
    iam = deployed.client("iam")
    policy = {"RoleName": physical(deployed, f"{function.title()}Role"), "PolicyName": function}
    whole = iam.get_role_policy(**policy)["PolicyDocument"]
    left = [one for one in whole["Statement"] if not set(actions) & set(listed(one["Action"]))]
    assert len(left) == len(whole["Statement"]) - len(actions)
    iam.put_role_policy(**policy, PolicyDocument=json.dumps(whole | {"Statement": left}))
    try:
        yield
    finally:
        iam.put_role_policy(**policy, PolicyDocument=json.dumps(whole))


def listed(value):
    return value if isinstance(value, list) else [value]


@pytest.fixture(autouse=True)
def quick(deployed):
    """A pause between two tries that a test can wait for."""
    sqs, queue = deployed.client("sqs"), physical(deployed, "SpillQueue")
    before = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "5"})
    yield
    sqs.set_queue_attributes(QueueUrl=queue, Attributes=before)


def test_a_thousand_parts_of_an_outage_are_all_there_afterwards_each_once_and_in_order(talk):
    # Ten minutes of it would be the same with more tries: time changes nothing in how it works.
    sessions = [f"{talk.session}-{number}" for number in range(20)]
    start, ahead = int(time.time()) - 60, 8 * 3600
    emitted, signed, received = {}, {}, {}
    for number in range(50):
        for session in sessions:
            # Stamped as LangBot does, on its host's clock and without an offset.
            at = start + number / 10
            stamp = utc(at + ahead).removesuffix("Z")
            fields = {"sequence": number % 7, "is_final": number == 49, "timestamp": stamp}
            raw = body(talk, session_id=session, **fields)
            emitted[raw], signed[raw] = at, headers(raw, timestamp=str(int(at)))
    parts = list(emitted)
    again = parts[::40]

    def deliver(raw):
        before = time.time()
        status = post(talk, raw, signed[raw]).status_code
        received.setdefault(raw, (utc(before), utc(time.time())))
        return status

    with ThreadPoolExecutor(4) as threads:
        with without(talk.deployed, "dynamodb:PutItem"):
            statuses = Counter(threads.map(deliver, parts))
            retries = Counter(threads.map(deliver, again))
            assert all(talk.conversation(session).parts() == [] for session in sessions)
        retries += Counter(threads.map(deliver, again))
    assert (statuses, retries) == ({200: 1000}, {200: 50})

    def stored():
        found = {session: talk.conversation(session).parts() for session in sessions}
        return found if sum(map(len, found.values())) >= 1000 else None

    found = eventually(stored, within=60)
    for session in sessions:
        own = [raw for raw in parts if json.loads(raw)["session_id"] == session]
        assert [part["digest"] for part in found[session]] == [hashlib.sha256(raw).hexdigest() for raw in own]
        for part, raw in zip(found[session], own, strict=True):
            assert part["created_at"] == utc(emitted[raw])
            assert part["sent_at"] == utc(float(signed[raw]["X-LB-Timestamp"]))
            # Of a part that came more than once any reception can be the first to be stored.
            if raw not in again:
                assert received[raw][0] <= part["received_at"] <= received[raw][1]


def test_a_large_part_outlives_an_outage(talk):
    raw = body(talk, message=[{"type": "Image", "base64": "A" * 2_000_000}])
    with without(talk.deployed, "dynamodb:PutItem"):
        assert post(talk, raw).status_code == 200
        assert objects(talk.deployed, f"spill/{talk.name}/") == [raw]
    (part,) = eventually(talk.conversation().parts)
    assert part["message"] == json.loads(raw)["message"]
    assert part["digest"] == hashlib.sha256(raw).hexdigest()


def test_a_part_that_the_queue_refuses_as_well_is_answered_503_and_taken_when_it_comes_again(talk):
    raw = body(talk)
    signed = headers(raw)
    with without(talk.deployed, "dynamodb:PutItem", "sqs:SendMessage"):
        answer = post(talk, raw, signed)
    assert (answer.status_code, answer.json()) == (503, {"message": "could not be kept, try again"})
    assert post(talk, raw, signed).status_code == 200
    assert len(talk.conversation().parts()) == 1


def test_a_spilled_part_has_the_key_of_its_reception_though_the_bot_has_gone_meanwhile(talk):
    secret = talk.deployed.local.outputs["BotSecretPrefix"] + talk.name
    manager = talk.deployed.client("secretsmanager")
    fields = {"inbound_secret": IN, "outbound_secret": OUT, "timezone": "Asia/Shanghai"}
    manager.put_secret_value(SecretId=secret, SecretString=json.dumps(fields))
    raw = body(talk, timestamp="2026-11-22T21:00:00.000001")
    with without(talk.deployed, "dynamodb:PutItem"):
        assert post(talk, raw).status_code == 200
        manager.delete_secret(SecretId=secret, ForceDeleteWithoutRecovery=True)
    (part,) = eventually(talk.conversation().parts)
    assert part["part"].startswith("2026-11-22T13:00:00.000001#")
    assert part["created_at"] == "2026-11-22T13:00:00.000001Z"


def test_the_last_good_secret_serves_while_secrets_manager_refuses(talk):
    assert post(talk, body(talk)).status_code == 200
    with without(talk.deployed, "secretsmanager:GetSecretValue"):
        raw = body(talk, sequence=2)
        # A wrong signature makes callback ask, which is refused: it cannot tell, and LangBot tries again.
        assert post(talk, raw, headers(raw, secret="wrong")).status_code == 503
        assert post(talk, raw).status_code == 200
    assert len(talk.conversation().parts()) == 2
