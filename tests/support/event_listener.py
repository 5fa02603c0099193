"""What a consumer receives from the event bus."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from support.deployed import Talk
from support.waiting import eventually


@dataclass(frozen=True)
class EventListener:
    """A queue that receives the events of one bot, by a rule as users write it."""

    sqs: Any
    queue_url: str
    events: list[dict[str, Any]] = field(default_factory=list)

    def all(self, count: int, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the events so far, of one kind or all, once they are `count`."""

        def look() -> list[dict[str, Any]] | None:
            received = self.sqs.receive_message(
                QueueUrl=self.queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=0
            )
            self.events.extend(json.loads(message["Body"]) for message in received.get("Messages", []))
            found = [event for event in self.events if kind in (None, event["detail-type"])]
            return found if len(found) >= count else None

        return eventually(look, 60, f"event {count} of {kind or 'any'} kind") if count else look() or []

    def one(self, kind: str) -> dict[str, Any]:
        """Return the data of the first event of a kind."""
        data: dict[str, Any] = self.all(1, kind)[0]["detail"]["data"]
        return data


@contextmanager
def listen(talk: Talk) -> Iterator[EventListener]:
    """Listen to the events of the test's bot."""
    events, sqs = talk.deployed.client("events"), talk.deployed.client("sqs")
    queue_url = sqs.create_queue(QueueName=f"events-{talk.name}")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]
    pattern = {"source": ["langbot-relay"], "detail": {"data": {"bot": [talk.name]}}}
    events.put_rule(Name=talk.name, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=talk.name, Targets=[{"Id": "listener", "Arn": attributes["QueueArn"]}])
    yield EventListener(sqs, queue_url)
    events.remove_targets(Rule=talk.name, Ids=["listener"])
    events.delete_rule(Name=talk.name)
    sqs.delete_queue(QueueUrl=queue_url)
