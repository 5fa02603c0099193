"""The examples of the documents run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from local.sample_bot import SampleBot
from relay import Conversation, PushQueue
from support.deployed import IN, OUT

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(
    r"```(bash|python)\n(.*?)```", (ROOT / "docs/querying.md").read_text("utf-8"), re.DOTALL
)


@pytest.fixture(scope="module")
def example_environment(deployed):
    """The environment of the examples, with a session that has a reply."""
    outputs = deployed.local.outputs
    with SampleBot(outputs["CallbackUrl"], IN, OUT) as bot:
        deployed.local.connect(bot.url, IN, OUT)
        sent = PushQueue(deployed.stack).push("ticket-1", "hello")
        Conversation(deployed.stack, "ticket-1").wait(sent)
        yield {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "functions"),
            "STACK": "relay-local",
            "REPLIES": outputs["RepliesTableName"],
            "MESSAGES": outputs["MessagesTableName"],
            "OVERFLOW": outputs["OverflowBucketName"],
            "AWS_ENDPOINT_URL": outputs["EndpointUrl"],
            "AWS_DEFAULT_REGION": outputs["Region"],
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
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
