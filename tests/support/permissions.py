"""The permissions of the deployed functions, taken away for a while."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.deployed import Deployed


@contextmanager
def without(deployed: Deployed, *actions: str, function: str = "callback") -> Iterator[None]:
    """Take from a function's role the statements that allow one of `actions`."""
    iam = deployed.client("iam")
    policy = {"RoleName": deployed.physical_id(f"{function.title()}Role"), "PolicyName": function}
    whole = iam.get_role_policy(**policy)["PolicyDocument"]
    left = [one for one in whole["Statement"] if not set(actions) & set(listed(one["Action"]))]
    assert len(left) == len(whole["Statement"]) - len(actions)
    iam.put_role_policy(**policy, PolicyDocument=json.dumps(whole | {"Statement": left}))
    try:
        yield
    finally:
        iam.put_role_policy(**policy, PolicyDocument=json.dumps(whole))


def listed(value: Any) -> list[Any]:
    """Return a value of a policy as a list: IAM allows one value instead of a list of one."""
    return value if isinstance(value, list) else [value]
