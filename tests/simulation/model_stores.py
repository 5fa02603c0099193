"""Secrets Manager, S3 and EventBridge."""

import json
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from simulation.faults import Faults, Trouble
from simulation.model_aws import refusal


@dataclass(eq=False)
class SecretsManager:
    """The service; a secret whose value is None is scheduled for deletion."""

    secrets: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    name: str = "secretsmanager"
    throttled: str = "ThrottlingException"

    def get_secret_value(self, SecretId: str) -> dict[str, Any]:
        if SecretId not in self.secrets:
            raise refusal("ResourceNotFoundException", "GetSecretValue", "can't find the specified secret")
        value = self.secrets[SecretId]
        if value is None:
            raise refusal("InvalidRequestException", "GetSecretValue", "it was marked for deletion")
        return {"SecretString": json.dumps(value)}


@dataclass(eq=False)
class S3:
    """The service, with one bucket."""

    objects: dict[str, bytes] = field(default_factory=dict)
    name: str = "s3"
    throttled: str = "SlowDown"

    def put_object(self, Bucket: str, Key: str, Body: bytes) -> dict[str, Any]:
        self.objects[Key] = Body
        return {}

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        # The roles may not list the bucket.
        if Key not in self.objects:
            raise refusal("AccessDenied", "GetObject", "Access Denied")
        return {"Body": BytesIO(self.objects[Key])}


@dataclass(eq=False)
class EventBridge:
    """The service; it can refuse some entries of a call."""

    faults: Faults
    published: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    name: str = "events"
    throttled: str = "ThrottlingException"

    def put_events(self, Entries: list[dict[str, str]]) -> dict[str, Any]:
        results = []
        for entry in Entries:
            if self.faults.strikes(Trouble.SERVICES, 0.2):
                results.append({"ErrorCode": "InternalFailure"})
            else:
                detail = json.loads(entry["Detail"])
                self.published.append((self.faults.world.now, entry["DetailType"], detail))
                results.append({"EventId": "e"})
        return {"Entries": results}
