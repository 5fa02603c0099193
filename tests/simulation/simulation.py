"""One world from its beginning until it is quiet, and what is left of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from relay import Conversation, SentMessage
from simulation.connections import HttpSession, Post
from simulation.deployed_relay import Deployment
from simulation.faults import Faults, Scenario
from simulation.model_langbot import LangBot
from simulation.people import Diary, People
from simulation.runtime import LogKeeper, relay_in
from simulation.world import START, Process, World

QUIET_CHECK = 30
"""Seconds between two checks whether the world is quiet."""


@dataclass(eq=False)
class Outcome:
    """A world, and all that is in it; once it is quiet, what is left of it."""

    world: World
    faults: Faults
    deployment: Deployment
    langbots: dict[str, LangBot]
    people: People
    kept: LogKeeper
    posts: list[Post]
    waits: dict[str, str] = field(default_factory=dict)
    """What `Conversation.wait` comes to at last, by the SQS id of a message: the text of a reply, or how the
    error begins that it raises."""
    quiet: bool = False

    @property
    def scenario(self) -> Scenario:
        return self.faults.scenario

    @property
    def diary(self) -> Diary:
        return self.people.diary

    @property
    def log(self) -> list[str]:
        return self.kept.lines

    @property
    def simulated_seconds(self) -> float:
        return self.world.now - START

    def run_until_quiet(self, seconds: float) -> None:
        """Run until nothing is under way, for so many seconds at the most; then read what is left."""
        self.world.spawn(Process("observer"), self._stop_when_quiet)
        self.world.run(self.world.now + seconds)
        self.quiet = self.world.stopped

    def _stop_when_quiet(self) -> None:
        self.world.sleep(self.scenario.active)
        quiet_before = False
        while True:
            self.world.sleep(QUIET_CHECK)
            busy = self.deployment.busy or self.people.busy or any(bot.busy for bot in self.langbots.values())
            if not busy and quiet_before:
                break
            quiet_before = not busy
        for said in self.diary.said:
            self.waits[said.sent.message_id] = self._wait_for(said.sent)
        self.world.stopped = True

    def _wait_for(self, sent: SentMessage) -> str:
        try:
            stack = self.deployment.stack
            return "says " + Conversation(stack, sent.session_id, sent.bot).wait(sent, timeout=0).text
        except Exception as error:
            return f"{type(error).__name__}: {error}"


def bound(scenario: Scenario) -> float:
    """Return the seconds after all troubles within which the world must be quiet.

    A function that died leaves its message invisible for 120 s. A session's sync calls, and the messages of a
    bot that replies by pushes, go one by one, each after the deadline of the one before, with its resends.
    """
    deadline = max(scenario.answer_deadline, 900) + 120
    return 3600 + (scenario.messages + 1) * deadline * (2 + scenario.max_resends)


@contextmanager
def opened(scenario: Scenario, langbot: type[LangBot] = LangBot) -> Iterator[Outcome]:
    """Put the code of the relay into a new world, in which nobody has done anything yet."""
    world = World(scenario.seed)
    faults = Faults(world, scenario)
    langbots: dict[str, LangBot] = {}
    posts: list[Post] = []
    deployment_of: list[Deployment] = []

    def client(*arguments: Any, **named: Any) -> Any:
        return deployment_of[0].client(*arguments, **named)

    with relay_in(world, client, lambda: HttpSession(world, faults, langbots, posts), scenario) as kept:
        deployment = Deployment(world, faults)
        deployment_of.append(deployment)
        for n, release in enumerate(scenario.releases):
            name = f"bot{n}"
            langbots[name] = langbot(world, faults, name, release, deployment.post)
        people = People(world, faults, deployment, langbots)
        try:
            yield Outcome(world, faults, deployment, langbots, people, kept, posts)
        finally:
            world.close()


def simulate(scenario: Scenario) -> Outcome:
    """Run the world of a scenario until it is quiet, or its bound is over."""
    with opened(scenario) as outcome:
        if len(outcome.langbots) == 3:
            outcome.langbots["bot2"].healthy = True
        outcome.people.begin()
        outcome.run_until_quiet(scenario.active + bound(scenario))
        return outcome
