"""AWS clients as the functions need them.

They are botocore's, as those of boto3 are. With boto3 a cold start takes 11% more CPU, for resources and
transfers that no function uses.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

import botocore.session
from botocore.config import Config

from relay.adapters.dynamodb import with_fast_reads

# At each cold start it would log how it has found its credentials.
logging.getLogger("botocore").setLevel(logging.WARNING)

_making = threading.Lock()  # a session is not safe to share between threads
_session = botocore.session.get_session()


def client(service: str, connect: float = 2, read: float = 3, tries: int = 2) -> Any:
    """Make a client of an AWS service with short time-outs, in seconds; threads may share it.

    A call ends within `tries` times `connect` plus `read`, and up to 1 s between two tries.
    """
    config = Config(
        connect_timeout=connect,
        read_timeout=read,
        retries={"total_max_attempts": tries, "mode": "standard"},
        max_pool_connections=16,
        tcp_keepalive=True,
        # botocore would make its own again for each call, which is 0.26 ms of 1.6 ms of CPU.
        user_agent="langbot-relay",
        # It is 0.37 ms of CPU. The clients of the tests validate.
        parameter_validation=False,
    )
    with _making:
        return with_fast_reads(_session.create_client(service, config=config))


def lazy_client(make: Callable[[], Any]) -> Any:
    """Return a client that is made at its first use: what the happy path never uses costs no cold start."""
    return _LazyClient(make)


class _LazyClient:
    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._client: Any = None

    def __getattr__(self, name: str) -> Any:
        # Two threads may both make one here, of which the later stays: that does no harm.
        self._client = self._client or self._make()
        return getattr(self._client, name)
