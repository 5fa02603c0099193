"""The deployed relay in a world: its resources as template.yaml has them."""

import base64
import json
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from relay import Stack
from relay.domain.keys import OPERATOR, UNANSWERED
from relay.domain.timestamps import DAY
from simulation.faults import IN_FLIGHT_LIMIT, Faults, Trouble
from simulation.model_aws import Client, Service
from simulation.model_dynamodb import Dynamodb, DynamoTable, View
from simulation.model_lambda import STREAM_RETENTION, InvocationFailed, Lambda, QueueMapping, StreamMapping
from simulation.model_sqs import Sqs, SqsQueue
from simulation.model_stores import S3, EventBridge, SecretsManager, StepFunctions
from simulation.template_facts import default_of, event_sources, properties
from simulation.world import Process, World
from support.environment_variables import VARIABLES

PREFIX = VARIABLES["BOT_SECRET_PREFIX"]
_QUEUES = {
    "PushQueue": "relay-push.fifo",
    "SpillQueue": "relay-spill",
}
_TABLES = {"MessagesTable": "messages", "RepliesTable": "replies"}
GATEWAY_TIMEOUT = 15
"""Seconds that LangBot waits for a response to a callback."""


@dataclass(frozen=True)
class Received:
    """A request to the callback URL: what callback answered, and what its client saw; None is nothing.

    It came at `at`, and the response was sent at `until`.
    """

    at: float
    until: float
    bot: str
    headers: dict[str, str]
    raw: bytes
    answered: int | None
    seen: int | None


class Deployment:
    """The relay's resources, and the functions behind them."""

    def __init__(self, world: World, faults: Faults) -> None:
        self.world, self.faults = world, faults
        self.queues = {name: queue_of(world, name, faults.scenario.queue_limit) for name in _QUEUES}
        self.queues["PushQueue"].retention = faults.scenario.queue_retention
        self.tables = {name: table_of(world, name) for name in _TABLES}
        if faults.has(Trouble.UPGRADE):
            for table in self.tables.values():
                table.upgraded_at = world.now + world.chance("upgrade").random() * faults.scenario.storm
        self.secrets, self.s3, self.events = SecretsManager(world), S3(world), EventBridge(faults)
        self.tasks = StepFunctions(world)
        self.dynamodb = Dynamodb(list(self.tables.values()), faults.scenario.page_bytes)
        services: list[Service] = [
            Sqs(list(self.queues.values())),
            self.dynamodb,
            self.secrets,
            self.s3,
            self.events,
            self.tasks,
            _Logs(),
            _Triggers(),
            _Sts(world),
        ]
        self._services = {service.name: service for service in services}
        self.functions = Lambda(world, faults, VARIABLES | _settings(self, faults))
        self.received: list[Received] = []
        self._aws = Process("aws")
        self.mappings: list[QueueMapping] = []
        self.stream_mappings: list[StreamMapping] = []
        for function in ("push", "callback", "settle", "publish"):
            for source, mapping in event_sources(f"{function.title()}Function"):
                self._map(function, source, mapping)
        world.spawn(self._aws, self._each_minute, world.chance("schedule").random() * 60)
        if faults.scenario.day < DAY:
            world.spawn(self._aws, self._expire)

    def client(self, service: str, connect: float = 2, read: float = 3, tries: int = 2) -> Client:
        """Make a client, as relay.adapters.aws does."""
        return Client(self.world, self.faults, self._services[service], tries, connect, read)

    @property
    def stack(self) -> Stack:
        """The stack, for people."""
        return _Stack(
            deployment=self,
            push_queue_url=self.queues["PushQueue"].url,
            messages_table="messages",
            replies_table="replies",
            overflow_bucket="bucket",
            bot_secret_prefix=PREFIX,
            default_callback_url="https://callbacks/default",
            log_groups={"callback": "callback"},
        )

    def post(self, bot: str, headers: dict[str, str], raw: bytes) -> int | None:
        """Post to the callback URL of a bot; return the status, or None if nothing came back."""
        task = self.world.spawn(self._aws, lambda: self._receive(bot, headers, raw))
        return task.result() if task.wait(GATEWAY_TIMEOUT) else None

    @property
    def busy(self) -> bool:
        """Tell whether anything is still under way."""
        return (
            any(mapping.busy or mapping.queue.messages for mapping in self.mappings)
            or any(lane for mapping in self.stream_mappings for lane in mapping.lanes)
            or any(
                "awaiting" in item and item["awaiting"]["S"] not in (OPERATOR, UNANSWERED)
                for item in self.tables["MessagesTable"].items.values()
            )
        )

    def _receive(self, bot: str, headers: dict[str, str], raw: bytes) -> int | None:
        chance = self.world.chance("gateway")
        self.world.sleep(chance.random() * 0.05)
        came_at = self.world.now
        failure = chance.choice([429, 500, 503, None]) if self.faults.strikes(Trouble.GATEWAY, 0.05) else 0
        answered = None
        if failure == 0 or (failure != 429 and chance.random() < 0.5):
            answered = self._invoke(bot, headers, raw)
        seen = answered if failure == 0 else failure
        if seen is None and failure == 0:
            seen = chance.choice([500, 503])
        if failure is None:
            self.world.sleep(GATEWAY_TIMEOUT)
        self.received.append(Received(came_at, self.world.now, bot, headers, raw, answered, seen))
        return seen

    def _invoke(self, bot: str, headers: dict[str, str], raw: bytes) -> int | None:
        try:
            text, encoded = raw.decode(), False
        except UnicodeDecodeError:
            text, encoded = base64.b64encode(raw).decode(), True
        event = {
            "version": "2.0",
            "headers": {name.lower(): value for name, value in headers.items()},
            "pathParameters": {"bot": bot},
            "body": text,
            "isBase64Encoded": encoded,
        }
        try:
            status: int = self.functions.invoke("callback", event)["statusCode"]
        except InvocationFailed:
            return None
        return status

    def _map(self, function: str, source: str, mapping: dict[str, Any]) -> None:
        if source in self.queues:
            concurrency = mapping["ScalingConfig"]["MaximumConcurrency"]
            most = default_of(concurrency["Ref"]) if isinstance(concurrency, dict) else concurrency
            of_queue = QueueMapping(self.functions, function, self.queues[source], mapping["BatchSize"], most)
            of_queue.start(self._aws)
            self.mappings.append(of_queue)
        else:
            of_stream = StreamMapping(
                self.functions,
                function,
                self.tables[source],
                mapping["BatchSize"],
                mapping.get("MaximumRecordAgeInSeconds", STREAM_RETENTION),
                [json.loads(one["Pattern"]) for one in mapping["FilterCriteria"]["Filters"]],
            )
            of_stream.start(self._aws, mapping["ParallelizationFactor"])
            self.stream_mappings.append(of_stream)

    def _each_minute(self) -> None:
        while True:
            self.world.spawn(self._aws, self._run_due)
            self.world.sleep(60)

    def _expire(self) -> None:
        while True:
            self.world.sleep(60)
            for table in self.tables.values():
                table.expire()

    def _run_due(self) -> None:
        try:
            self.functions.invoke("settle", {})
        except InvocationFailed:
            self.world.note("settle", "failed")


class _Logs:
    """CloudWatch Logs, in which people find nothing: what they look for comes minutes later."""

    name, throttled = "logs", "ThrottlingException"

    def filter_log_events(self, **_: Any) -> dict[str, Any]:
        return {"events": []}


class _Triggers:
    """Lambda's list of event source mappings, all of which work."""

    name, throttled = "lambda", "TooManyRequestsException"

    def list_event_source_mappings(self, **_: Any) -> dict[str, Any]:
        return {"EventSourceMappings": [{"State": "Enabled"}]}


class _Sts:
    """The service whose one call needs no permission; people learn from it what time it is."""

    name, throttled = "sts", "Throttling"

    def __init__(self, world: World) -> None:
        self._world = world

    def get_caller_identity(self) -> dict[str, Any]:
        date = formatdate(self._world.now, usegmt=True)
        return {"ResponseMetadata": {"HTTPHeaders": {"date": date}}}


@dataclass(frozen=True, kw_only=True)
class _Stack(Stack):
    """A stack whose clients are the world's. People try five times, as boto3's default is."""

    deployment: Deployment = field(compare=False)

    def client(self, service: str) -> Any:  # type: ignore[override]
        return self.deployment.client(service, tries=5)


def queue_of(world: World, name: str, limit: int = IN_FLIGHT_LIMIT) -> SqsQueue:
    """Return a queue of the template, empty. If it is FIFO, `limit` messages of it can be in flight."""
    queue = properties(name)
    visibility, retention = queue.get("VisibilityTimeout", 30), queue["MessageRetentionPeriod"]
    return SqsQueue(world, _QUEUES[name], visibility, retention, limit)


def table_of(world: World, name: str) -> DynamoTable:
    """Return a table of the template, empty."""

    def key(schema: list[dict[str, str]]) -> tuple[str, str]:
        return schema[0]["AttributeName"], schema[1]["AttributeName"]

    table = properties(name)
    indexes = {
        index["IndexName"]: View(key(index["KeySchema"])) for index in table.get("GlobalSecondaryIndexes", [])
    }
    return DynamoTable(world, _TABLES[name], key(table["KeySchema"]), indexes)


def _settings(deployment: Deployment, faults: Faults) -> dict[str, str]:
    scenario, queues = faults.scenario, deployment.queues
    return {
        "PUSH_QUEUE_URL": queues["PushQueue"].url,
        "SPILL_QUEUE_URL": queues["SpillQueue"].url,
        "RETRY_FOR_SECONDS": str(scenario.retry_for),
        "ANSWER_DEADLINE_SECONDS": str(scenario.answer_deadline),
        "MAX_IN_FLIGHT": str(scenario.max_in_flight),
        "MAX_RESENDS": str(scenario.max_resends),
    }
