"""boto3 clients as the functions need them."""

from typing import Any

import boto3
from botocore.config import Config


def client(service: str, connect: float = 2, read: float = 3, tries: int = 2) -> Any:
    """A client of an AWS service with short time-outs, in seconds; safe to share between threads.

    A call ends within `tries` times `connect` plus `read`, and up to 1 s between two tries.
    """
    config = Config(
        connect_timeout=connect,
        read_timeout=read,
        retries={"total_max_attempts": tries, "mode": "standard"},
        max_pool_connections=16,
        tcp_keepalive=True,
    )
    return boto3.client(service, config=config)  # type: ignore[call-overload]
