"""The examples of the documents run."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from relay import Conversation, PushQueue
from support.callbacks import reply
from support.deployed import Talk
from support.examples import environment_of
from support.second_stack import physical_ids, processed_template, stack_of

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(
    r"```(bash|python)\n(.*?)```", (ROOT / "docs/querying.md").read_text("utf-8"), re.DOTALL
)
OPERATING = (ROOT / "docs/operating.md").read_text("utf-8")


@pytest.fixture(scope="module")
def example_environment(deployed, default_bot):
    """The environment of the examples, with a session that has a reply and the beginning of another."""
    outputs = deployed.local.outputs
    sent = PushQueue(deployed.stack).push("ticket-1", "hello")
    Conversation(deployed.stack, "ticket-1").wait(sent)
    reply(Talk(deployed, default_bot, "default", "ticket-1"), "in_2", final=False, text="hello ag")
    return {
        **environment_of(deployed),
        "PYTHONPATH": str(ROOT / "functions"),
        "STACK": "relay-local",
        "REPLIES": outputs["RepliesTableName"],
        "MESSAGES": outputs["MessagesTableName"],
        "OVERFLOW": outputs["OverflowBucketName"],
    }


@pytest.mark.parametrize(("language", "example"), EXAMPLES)
def test_an_example_runs_and_shows_the_conversation(example_environment, language, example):
    command = (
        ["bash", "-euo", "pipefail", "-c", example] if language == "bash" else [sys.executable, "-c", example]
    )
    done = subprocess.run(command, env=example_environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "hello" in done.stdout


def test_every_way_of_reading_has_its_example():
    text = "".join(example for _, example in EXAMPLES)
    assert all(way in text for way in ("aws dynamodb query", "execute-statement", "boto3.resource", "wait("))


def test_samconfig_answers_what_sam_deploy_needs_to_know():
    config = tomllib.loads((ROOT / "samconfig.toml").read_text("utf-8"))
    for environment in ("default", "prod"):
        deploy = config[environment]["deploy"]["parameters"]
        # The template is too large for a call, so it goes by S3.
        assert deploy["resolve_s3"]
        assert deploy["capabilities"] == "CAPABILITY_IAM"
        assert config[environment]["global"]["parameters"]["stack_name"]


def test_the_guide_to_operating_names_each_saved_query_and_log_group(deployed):
    template = processed_template(deployed)
    queries = [
        one["Properties"]["Name"]["Fn::Sub"].partition("/")[2]
        for one in template["Resources"].values()
        if one["Type"] == "AWS::Logs::QueryDefinition"
    ]
    assert [name for name in queries if f"| *{name}* |" not in OPERATING] == []
    log_groups = [name for name in template["Outputs"] if name.endswith("LogGroupName")]
    assert len(log_groups) == 4
    assert [name for name in log_groups if f"`{name}`" not in OPERATING] == []


def test_the_template_of_a_custom_domain_leads_to_the_api(deployed):
    (template,) = re.findall(r"```yaml\n(.*?)```", OPERATING, re.DOTALL)
    route53 = deployed.client("route53")
    zone = route53.create_hosted_zone(Name="example.com", CallerReference="1")["HostedZone"]["Id"]
    parameters = {
        "Name": "relay.example.com",
        "CertificateArn": f"arn:aws:acm:{deployed.stack.region}:000000000000:certificate/1",
        "HostedZoneId": zone.removeprefix("/hostedzone/"),
        "ApiId": deployed.physical_id("CallbackApi"),
    }
    with stack_of(deployed, "custom-domain", {"TemplateBody": template}, parameters):
        assert len(physical_ids(deployed, "custom-domain")) == 3
        mappings = deployed.client("apigatewayv2").get_api_mappings(DomainName="relay.example.com")
        assert [(one["ApiId"], one["Stage"]) for one in mappings["Items"]] == [
            (parameters["ApiId"], "$default")
        ]
