"""boto3 clients as the functions need them."""

from typing import Any

import boto3
from botocore.config import Config

# Everything must end well before LangBot's 15 s for a callback: two tries, 2 + 3 s each.
_CONFIG = Config(
    connect_timeout=2,
    read_timeout=3,
    retries={"total_max_attempts": 2, "mode": "standard"},
    max_pool_connections=16,
    tcp_keepalive=True,
)


def client(service: str) -> Any:
    """A client of an AWS service with short time-outs; safe to share between threads."""
    return boto3.client(service, config=_CONFIG)  # type: ignore[call-overload]
