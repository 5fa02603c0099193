"""How long a call to AWS may take that hangs: each function counts on it."""

from relay.adapters.aws import client


def test_a_call_to_aws_that_hangs_ends_within_11_seconds(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    config = client("dynamodb").meta.config
    tries = config.retries["total_max_attempts"]
    assert tries * (config.connect_timeout + config.read_timeout) + (tries - 1) == 11
