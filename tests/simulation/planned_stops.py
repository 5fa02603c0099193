"""Planned stops: an operator pauses a bot, drains it, restarts its LangBot, and resumes it."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from relay import Stack
from relay_cli.commands.bots.pause import run_pause, run_resume
from relay_cli.terminal import CommandFailed
from simulation.model_langbot import LangBot
from simulation.world import World

LENGTHS = (5, 60, 300, 2000, 5000)
"""Seconds for which an operator leaves a bot paused."""


@dataclass(eq=False)
class Stop:
    """A planned stop of a bot; its times are those at which the operator's commands began or had ended."""

    world: World
    stack: Stack
    bot: LangBot
    paused_at: float = inf
    drained_at: float = inf
    resumes_at: float = inf
    resumed_at: float = inf

    @property
    def done(self) -> bool:
        return self.resumed_at < inf

    def make(self) -> None:
        """Make the stop. A drained bot's LangBot is mostly restarted, as for an upgrade."""
        chance = self.world.chance(f"stop of {self.bot.name} at {self.world.now}")
        drains = chance.random() < 0.6
        self._insist(run_pause, drain=False)
        self.paused_at = self.world.now
        if drains:
            self._insist(run_pause, drain=True)
            self.drained_at = self.world.now
            if chance.random() < 0.7:
                self.bot.restart(chance.choice([1, 60]))
        self.world.sleep(chance.choice(LENGTHS))
        self.resumes_at = self.world.now
        self._insist(run_resume)
        self.resumed_at = self.world.now

    def _insist(self, command: Callable[[Stack, Namespace], Any], **given: Any) -> None:
        """Run a command until it says that it is done."""
        options = Namespace(name=self.bot.name, json=False, stack=None, **given)
        while True:
            self.world.note("operator", f"runs {command.__name__} for {self.bot.name} {given}")
            try:
                command(self.stack, options)
                return
            except (ClientError, BotoCoreError, CommandFailed) as error:
                self.world.note("operator", f"sees {error!r}")
            self.world.sleep(10)
