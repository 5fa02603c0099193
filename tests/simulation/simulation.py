"""One world from its beginning until it is quiet, and what is left of it."""

from dataclasses import dataclass
from typing import Any

from simulation.connections import HttpSession
from simulation.deployed_relay import Deployment
from simulation.faults import Faults, Scenario
from simulation.model_langbot import LangBot
from simulation.people import Diary, People
from simulation.runtime import relay_in
from simulation.world import START, Process, World

QUIET_CHECK = 30
"""Seconds between two checks whether the world is quiet."""


@dataclass(frozen=True)
class Outcome:
    """A world that has ended."""

    scenario: Scenario
    world: World
    faults: Faults
    deployment: Deployment
    langbots: dict[str, LangBot]
    diary: Diary
    log: list[str]
    quiet: bool

    @property
    def simulated_seconds(self) -> float:
        return self.world.now - START


def bound(scenario: Scenario) -> float:
    """Return the seconds after all troubles within which the world must be quiet.

    A function that died leaves its message invisible for 120 s. A session's sync calls, and the messages of a
    bot that replies by pushes, go one by one, each after the deadline of the one before, with its resends.
    """
    deadline = max(scenario.answer_deadline, 900) + 120
    return 3600 + (scenario.messages + 1) * deadline * (2 + scenario.max_resends)


def simulate(scenario: Scenario) -> Outcome:
    """Run the world of a scenario until it is quiet, or its bound is over."""
    world = World(scenario.seed)
    faults = Faults(world, scenario)
    langbots: dict[str, LangBot] = {}
    deployment_of: list[Deployment] = []

    def client(*arguments: Any, **named: Any) -> Any:
        return deployment_of[0].client(*arguments, **named)

    with relay_in(world, client, lambda: HttpSession(world, faults, langbots), scenario) as log:
        deployment = Deployment(world, faults)
        deployment_of.append(deployment)
        for n, release in enumerate(scenario.releases):
            name = f"bot{n}"
            langbots[name] = LangBot(world, faults, name, release, deployment.post)
        if len(langbots) == 3:
            langbots[name].healthy = True
        people = People(world, faults, deployment, langbots)
        people.begin()
        world.spawn(Process("observer"), lambda: _stop_when_quiet(world, people, deployment, langbots))
        world.run(START + scenario.active + bound(scenario))
        world.close()
        return Outcome(
            scenario, world, faults, deployment, langbots, people.diary, log.lines, quiet=world.stopped
        )


def _stop_when_quiet(
    world: World, people: People, deployment: Deployment, langbots: dict[str, LangBot]
) -> None:
    world.sleep(people.faults.scenario.active)
    quiet_before = False
    while True:
        world.sleep(QUIET_CHECK)
        quiet = not (deployment.busy or people.busy or any(bot.busy for bot in langbots.values()))
        if quiet and quiet_before:
            world.stopped = True
            return
        quiet_before = quiet
