"""`make verify-aws` works on the local stack, and finds what is broken there."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from local.local_stack import NAME, ROOT, local_stack
from relay import Stack
from support.deployed import Deployed
from support.second_stack import physical_ids
from verify.verify_aws import deployed_bot, exists, run_tests

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A stack whose messages are unanswered after a minute, and the path of its outputs."""
    folder = tmp_path_factory.mktemp("verify") / ".local"
    with local_stack(parameters={"AnswerDeadlineSeconds": "60"}, folder=folder) as local:
        outputs = str(folder / "outputs.json")
        yield Deployed(local, Stack.from_file(outputs)), outputs


def test_a_stack_is_verified_and_what_was_made_for_it_deleted(local):
    deployed, outputs = local
    command = [sys.executable, "-m", "verify.verify_aws", "--outputs", outputs, "--seconds", "3"]
    environment = os.environ | {"PYTHONPATH": "functions:infra:tests"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "0 failed; 0 faults in the traffic" in ran.stdout
    assert not exists(deployed.client("cloudformation"), f"{NAME}-bot")


def results(deployed, outputs, words):
    """Return what becomes of the scenarios whose names have these words, by name."""
    with deployed_bot(deployed.stack, f"{NAME}-bot", outputs) as verified:
        checks = run_tests(replace(verified, within=15), ["tests/verify/outside.py", "-k", words])
    return {check.name: check.result for check in checks}


def test_a_lost_permission_is_found(local):
    deployed, outputs = local
    iam, role = deployed.client("iam"), physical_ids(deployed, NAME)["PublishRole"]
    (policy,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    iam.delete_role_policy(RoleName=role, PolicyName=policy)
    try:
        found = results(deployed, outputs, "events_of_a_reply or message_is_answered")
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))
    assert found == {
        "test_message_is_answered": "passed",
        "test_events_of_a_reply_reach_a_rule": "failed",
    }


def test_a_disabled_trigger_is_found(local):
    deployed, outputs = local
    mappings = physical_ids(deployed, NAME, "AWS::Lambda::EventSourceMapping")
    lambda_ = deployed.client("lambda")
    lambda_.update_event_source_mapping(UUID=mappings["PublishFunctionState"], Enabled=False)
    try:
        assert results(deployed, outputs, "doctor") == {"test_doctor_finds_nothing_wrong": "failed"}
    finally:
        lambda_.update_event_source_mapping(UUID=mappings["PublishFunctionState"], Enabled=True)
