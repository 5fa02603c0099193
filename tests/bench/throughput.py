"""How many messages a second push's own rules allow, in virtual time: line 4, and what waiting costs.

The code of push runs on the simulator's models of SQS, DynamoDB and Lambda, without faults, until a backlog
is delivered. Ten invocations run at a time. A call of AWS takes 0 to 10 ms. These take no time: push's CPU,
the way to the bot, and the hand-over of a message from SQS to an invocation. The same seed gives the same.

`python -m bench.throughput` prints which share of its bound one bot gets, and how often a message looks.
That takes a quarter of an hour.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from bench.table import Line
from local.http_bot import Accepted, Request, Response, Said, SyncCall
from relay.domain.admission import LEASES
from simulation.deployed_relay import PREFIX
from simulation.faults import Latencies
from simulation.model_langbot import LangBot
from simulation.planned_world import CALM, secret_of
from simulation.simulation import opened
from simulation.world import START, Process

FUNCTIONS = 10
"""PushMaximumConcurrency by default."""

SEEDS = 5

_LATENCIES = Latencies(call=0.01, handover=0, network=0)


class SteadyBot(LangBot):
    """Takes `seconds` for each response, and replies at once."""

    seconds = 0.0

    def receive(self, path: str, headers: dict[str, str], raw: bytes) -> Response:
        if refused := self.start_reading():
            return refused
        self.world.sleep(self.seconds)
        lower_case = {name.lower(): value for name, value in headers.items()}
        given = self.answer(Request("POST", self.path + path, lower_case, raw), self.world.now)
        assert not isinstance(given, SyncCall)
        self._attend()
        return given

    def accept(self, message: Accepted) -> None:
        self.take(message)

    def script(self, message: Accepted) -> Iterator[Said]:
        yield Said(0, [{"type": "Plain", "text": "On its way."}])


@dataclass(frozen=True)
class Drained:
    """Messages a second; and how often, for each of them, one looked in vain whether it may go."""

    rate: float
    looks: float


def drain(seed: int, bots: int, seconds: float, messages: int) -> Drained:
    """Deliver a backlog to bots that take so many seconds each. Each message has a session of its own."""
    scenario = replace(CALM, seed=seed, releases=("4.11.2",) * bots, latencies=_LATENCIES)
    with opened(scenario, SteadyBot) as outcome:
        world, deployment = outcome.world, outcome.deployment
        queue = deployment.queues["PushQueue"]
        for name, bot in outcome.langbots.items():
            bot.seconds = seconds  # type: ignore[attr-defined]
            deployment.secrets.put(PREFIX + name, secret_of(bot))
        for number in range(messages):
            queue.send(_message(f"bot{number % bots}", f"s-{number}"))

        def stop_when_empty() -> None:
            while queue.messages:
                world.sleep(1)
            world.stopped = True

        world.spawn(Process("observer"), stop_when_empty)
        world.run(START + 86_400)
        if len(outcome.posts) != messages or queue.messages:
            raise SystemExit("the backlog was not delivered by one attempt a message")
        took = max(post.ended for post in outcome.posts) - START
        looks = sum(call == "sqs.change_message_visibility" for _, call in outcome.faults.calls)
        return Drained(messages / took, looks / messages)


def _message(bot: str, session: str) -> dict[str, Any]:
    body = json.dumps({"bot": bot, "session_id": session, "text": "Where is my order?"})
    return {"MessageBody": body, "MessageGroupId": f"{bot}#{session}", "MessageDeduplicationId": session}


def throughput_lines() -> Iterator[Line]:
    """Measure line 4: ten bots of 50 ms, and one bot of a second."""

    def line(line_id: str, what: str, bots: int, seconds: float, messages: int, bound: float) -> Line:
        ratios = [drain(seed, bots, seconds, messages).rate / bound for seed in range(SEEDS)]
        middle, spread = median(ratios), (min(ratios), max(ratios))
        what = f"messages a second, {what}"
        return Line(line_id, what, middle * bound, bound, middle, 0.8, spread, at_least=True)

    yield line("4a", "ten bots of 50 ms", 10, 0.05, 1000, FUNCTIONS / 0.05)
    yield line("4b", "one bot of 1 s", 1, 1, 200, LEASES / 1)


def main() -> None:
    """Print what waiting costs."""
    print("messages  seconds  of bound           looks a message")
    for messages in (8, 40, 200, 1000):
        for seconds in (0.3, 1, 5):
            drained = [drain(seed, 1, seconds, messages) for seed in range(SEEDS)]
            shares = [one.rate * seconds / LEASES for one in drained]
            share = f"{median(shares):.2f} ({min(shares):.2f}-{max(shares):.2f})"
            looks = median(one.looks for one in drained)
            print(f"{messages:8}  {seconds:7}  {share:17}  {looks:15.2f}", flush=True)


if __name__ == "__main__":
    main()
