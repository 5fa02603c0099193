"""The probe: a function behind a queue, a stream and an API, on AWS or on the simulator's models."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from beliefs.probe_function import answer
from relay import Stack
from simulation.deployed_relay import queue_of, table_of
from simulation.faults import Faults, Scenario
from simulation.model_lambda import InvocationFailed, QueueMapping, StreamMapping
from simulation.world import Process, World
from support.waiting import eventually

HERE = Path(__file__).parent
Noted = list[tuple[int, int]]
"""The numbers of a test's jobs, each with its receive count, in the order in which the function got them."""


class Probe:
    """A deployed probe; `outputs` are those of its stack."""

    def __init__(self, stack: Stack, outputs: dict[str, str]) -> None:
        self.client: Callable[[str], Any] = stack.client
        self.outputs = outputs
        self.api_url = outputs["ApiUrl"]
        if stack.endpoint_url:
            # The host name of the output would need a resolver.
            self.api_url = f"{stack.endpoint_url}/_aws/execute-api/{outputs['Api']}"

    def send(self, group: str, *jobs: dict[str, Any]) -> None:
        """Send jobs on the queue."""
        for job in jobs:
            self.client("sqs").send_message(
                QueueUrl=self.outputs["QueueUrl"],
                MessageBody=json.dumps(job),
                MessageGroupId=group,
                MessageDeduplicationId=uuid4().hex,
            )

    def change(self, session: str, *items: dict[str, Any]) -> None:
        """Put items of a session into the table, whose stream has them."""
        for item in items:
            self.client("dynamodb").put_item(TableName=self.outputs["Changes"], Item=of_table(session, item))

    def noted(self, of: str, last: int) -> Noted:
        """Return what the function got for a test, once it got the job with the number `last`."""

        def look() -> Noted | None:
            found = self.client("dynamodb").query(
                TableName=self.outputs["Notes"],
                ConsistentRead=True,
                KeyConditionExpression="#of = :of",
                ExpressionAttributeNames={"#of": "of"},
                ExpressionAttributeValues={":of": {"S": of}},
            )["Items"]
            noted = [(int(one["n"]["N"]), int(one["receives"]["N"])) for one in found]
            return noted if last in dict(noted) else None

        return eventually(look, what=f"job {last} of {of}")


class ModelProbe:
    """The probe on the simulator's models."""

    def __init__(self) -> None:
        self.world, self.notes = World(0), list[tuple[str, int, int]]()
        scenario, process = Scenario.of(0), Process("aws")
        self.world.now += scenario.storm  # nothing fails by itself any more
        service: Any = SimpleNamespace(
            world=self.world, faults=Faults(self.world, scenario), invoke=self._invoke
        )
        self.queue, self.table = queue_of(self.world, "PushQueue"), table_of(self.world, "MessagesTable")
        QueueMapping(service, "probe", self.queue, batch_size=1, concurrency=2).start(process)
        filters = [{"dynamodb": {"NewImage": {"job": {"S": [{"exists": True}]}}}}]
        StreamMapping(service, "probe", self.table, 10, 3600, filters).start(process, 1)

    def _invoke(self, _: str, event: dict[str, Any]) -> dict[str, Any]:
        try:
            return answer(event, self._note)
        except RuntimeError:
            raise InvocationFailed from None

    def _note(self, of: str, number: int, receives: int) -> int:
        self.notes.append((of, number, receives))
        return sum(note[:2] == (of, number) for note in self.notes)

    def send(self, group: str, *jobs: dict[str, Any]) -> None:
        for job in jobs:
            fields = {"MessageGroupId": group, "MessageDeduplicationId": uuid4().hex}
            self.queue.send({"MessageBody": json.dumps(job), **fields})

    def change(self, session: str, *items: dict[str, Any]) -> None:
        for item in items:
            new = of_table(session, item)
            self.table.put(self.table.key_of(new), new)

    def noted(self, of: str, last: int) -> Noted:
        self.world.run(self.world.now + 3600)
        noted = [note[1:] for note in self.notes if note[0] == of]
        assert last in dict(noted)
        return noted


def of_table(session: str, item: dict[str, Any]) -> dict[str, Any]:
    """Return an item as the table has it. If it is a job, the function gets it."""
    fields = {"job": {"S": json.dumps(item)}} if "of" in item else {"other": {"S": json.dumps(item)}}
    return {"session": {"S": session}, "message": {"S": str(item["number"])}, **fields}


@contextmanager
def deployed_probe(stack: Stack) -> Iterator[Probe]:
    """Deploy the probe beside a stack, and delete it at the end."""
    cloudformation, name = stack.client("cloudformation"), f"belief-{uuid4().hex[:12]}"
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=(HERE / "probe.yaml").read_text(),
        Parameters=[{"ParameterKey": "Code", "ParameterValue": (HERE / "probe_function.py").read_text()}],
        Capabilities=["CAPABILITY_IAM"],
    )
    try:

        def outputs() -> dict[str, str] | None:
            found = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
            assert found["StackStatus"] in ("CREATE_IN_PROGRESS", "CREATE_COMPLETE"), found
            if found["StackStatus"] != "CREATE_COMPLETE":
                return None
            return {one["OutputKey"]: one["OutputValue"] for one in found["Outputs"]} | {"Stack": name}

        yield Probe(stack, eventually(outputs, 300, f"stack {name}"))
    finally:
        cloudformation.delete_stack(StackName=name)
