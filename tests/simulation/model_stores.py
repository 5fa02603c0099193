"""Secrets Manager, S3, EventBridge and Step Functions."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

from simulation.faults import Faults, Trouble
from simulation.model_aws import refusal
from simulation.world import World


@dataclass(eq=False)
class SecretsManager:
    """The service; a secret whose value is None is scheduled for deletion."""

    world: World
    secrets: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    history: dict[str, list[tuple[float, dict[str, Any]]]] = field(default_factory=dict)
    """The values that each secret has had, and since when; {} is none that can be read."""
    name: str = "secretsmanager"
    throttled: str = "ThrottlingException"

    def get_secret_value(self, SecretId: str) -> dict[str, Any]:
        return {"SecretString": json.dumps(self._value(SecretId, "GetSecretValue"))}

    def describe_secret(self, SecretId: str) -> dict[str, Any]:
        if SecretId not in self.secrets:
            raise refusal("ResourceNotFoundException", "DescribeSecret", "can't find the specified secret")
        return {} if self.secrets[SecretId] else {"DeletedDate": self.world.now}

    def list_secrets(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:
        (prefix,) = Filters[0]["Values"]
        named = (name for name, value in self.secrets.items() if value and name.startswith(prefix))
        return {"SecretList": [{"Name": name} for name in named]}

    def put_secret_value(self, SecretId: str, SecretString: str) -> dict[str, Any]:
        self._value(SecretId, "PutSecretValue")
        self.put(SecretId, json.loads(SecretString))
        return {}

    def put(self, name: str, value: dict[str, Any] | None) -> None:
        """Give a secret a value, or schedule it for deletion."""
        self.secrets[name] = value
        self._remember(name, value or {})

    def remove(self, name: str) -> None:
        """Delete a secret."""
        del self.secrets[name]
        self._remember(name, {})

    def _remember(self, name: str, value: dict[str, Any]) -> None:
        self.history.setdefault(name, []).append((self.world.now, value))

    def _value(self, name: str, operation: str) -> dict[str, Any]:
        if name not in self.secrets:
            raise refusal("ResourceNotFoundException", operation, "can't find the specified secret")
        value = self.secrets[name]
        if value is None:
            raise refusal("InvalidRequestException", operation, "it was marked for deletion")
        return value


@dataclass(eq=False)
class S3:
    """The service, with one bucket."""

    world: World
    objects: dict[str, bytes] = field(default_factory=dict)
    erased: dict[str, bytes] = field(default_factory=dict)
    """The objects that an operator has erased."""
    put_at: dict[str, float] = field(default_factory=dict)
    name: str = "s3"
    throttled: str = "SlowDown"

    def put_object(self, Bucket: str, Key: str, Body: bytes) -> dict[str, Any]:
        self.objects[Key] = Body
        self.put_at[Key] = self.world.now
        return {}

    def list_objects_v2(self, Bucket: str, Prefix: str) -> dict[str, Any]:
        paths = sorted(path for path in self.objects if path.startswith(Prefix))
        modified = {path: datetime.fromtimestamp(self.put_at[path], UTC) for path in paths}
        return {"Contents": [{"Key": path, "LastModified": modified[path]} for path in paths]}

    def delete_objects(self, Bucket: str, Delete: dict[str, Any]) -> dict[str, Any]:
        for path in (one["Key"] for one in Delete["Objects"]):
            if path in self.objects:
                self.erased[path] = self.objects.pop(path)
        return {}

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        # The roles may not list the bucket.
        if Key not in self.objects:
            raise refusal("AccessDenied", "GetObject", "Access Denied")
        return {"Body": BytesIO(self.objects[Key])}


@dataclass(eq=False)
class StepFunctions:
    """The service; the first outcome of a task ends it."""

    world: World
    outcomes: dict[str, list[tuple[float, str, dict[str, Any]]]] = field(default_factory=dict)
    """What each task was told, by its token: when, "success" or the error, and the output or the cause."""
    name: str = "stepfunctions"
    throttled: str = "ThrottlingException"

    def start(self, token: str) -> str:
        """Let a task wait; return its token."""
        self.outcomes[token] = []
        return token

    def send_task_success(self, taskToken: str, output: str) -> dict[str, Any]:
        return self._end("SendTaskSuccess", taskToken, "success", output)

    def send_task_failure(self, taskToken: str, error: str, cause: str) -> dict[str, Any]:
        return self._end("SendTaskFailure", taskToken, error, cause)

    def _end(self, operation: str, token: str, outcome: str, text: str) -> dict[str, Any]:
        told = self.outcomes[token]
        told.append((self.world.now, outcome, json.loads(text)))
        if len(told) > 1:
            raise refusal("TaskTimedOut", operation, "Task Timed Out")
        return {}


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
