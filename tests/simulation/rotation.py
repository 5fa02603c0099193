"""Drills: an operator rotates the secrets of a bot, by hand or by `relay bots rotate`, under load."""

import json
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from relay import BotAdmin, BotRemoved, Stack
from relay.domain.admission import SLOT_TIMEOUT
from relay.domain.bot import parse_bot, secret_fields
from relay_cli.commands.bots.rotate import run_rotate
from relay_cli.langbot_api import Json
from relay_cli.terminal import CommandFailed
from simulation.model_langbot import LangBot
from simulation.world import Crash, Process, ProcessDied, World

PAUSES = (2, 5, 30, 70, 200)
"""Seconds between two steps by hand. docs/bots.md asks for more than one."""

MAX_RUNS = 10
"""How often an operator runs the command. A LangBot can be down for longer."""

MAX_EFFECTS = 12
"""The side effect at which the command is interrupted is one of the first so many."""

_FIELDS = {"inbound": "inbound_secret", "outbound": "outbound_secret"}
_WAYS = (("inbound",), ("outbound",), ("inbound", "outbound"))


class Drill:
    """The rotation of either secret of a bot, or of both."""

    def __init__(self, world: World, stack: Stack, bot: LangBot) -> None:
        self.bot = bot
        self.done = False
        self._world, self._stack, self._admin = world, stack, BotAdmin(stack)
        self._chance = world.chance(f"rotation of {bot.name} at {world.now}")

    def by_hand(self) -> None:
        """Take the steps of docs/bots.md. One operator in four takes the first two the wrong way round."""
        chance = self._chance
        new = {way: f"SECRET-{way}-{chance.getrandbits(64):016x}" for way in chance.choice(_WAYS)}
        steps = [partial(self._tell_relay, new), partial(self._tell_langbot, new)]
        if chance.random() < 0.25:
            steps.reverse()
        self._world.note("operator", f"rotates {'/'.join(new)} of {self.bot.name}")
        for step in steps:
            step()
            self._world.sleep(chance.choice(PAUSES))
        while self._insist(lambda: self._admin.open_messages(self.bot.name)):
            self._world.sleep(5)
        self._world.sleep(SLOT_TIMEOUT)
        self._write({_FIELDS[way]: secret for way, secret in new.items()})
        self._world.note("operator", f"takes the old secrets of {self.bot.name} out")
        self.done = True

    def by_command(self) -> None:
        """Run the command until it says that it is done. It can be interrupted at any side effect."""
        options = Namespace(name=self.bot.name, yes=True, json=False, timeout=90, stack=None)
        options.api = _Api(self._world, self.bot)
        process = Process("relay bots rotate", runs_relay=True)
        if self._chance.random() < 0.4:
            process.crash = Crash(self._chance.randint(1, MAX_EFFECTS), self._chance.random() < 0.5)
        for _ in range(MAX_RUNS):
            command = self._world.spawn(process, lambda: run_rotate(self._stack, options))
            command.wait()
            try:
                if command.result() == 0:
                    break
            except (ClientError, BotoCoreError, BotRemoved, CommandFailed, ProcessDied) as error:
                self._world.note("operator", f"sees {error!r}")
            process = Process("relay bots rotate", runs_relay=True)
            self._world.sleep(60)
        self.done = True

    def _tell_relay(self, new: dict[str, str]) -> None:
        # A rotation by the command that was given up has left two of each.
        old = parse_bot(self.bot.name, json.dumps(self._secret()))
        known = {"inbound": old.inbound_secrets, "outbound": old.outbound_secrets}
        self._write({_FIELDS[way]: [secret, *known[way]] for way, secret in new.items()})
        self._world.note("operator", f"tells the relay the new secrets of {self.bot.name}")

    def _tell_langbot(self, new: dict[str, str]) -> None:
        while not (self.bot.up and self.bot.save(1, **new)):
            self._world.sleep(1)

    def _secret(self) -> dict[str, Any]:
        while not (secret := secret_fields(self._insist(lambda: self._admin.secret(self.bot.name)) or "")):
            self._world.sleep(1)
        return secret

    def _write(self, changes: dict[str, Any]) -> None:
        written = False
        while not written:
            known = self._secret()
            replace = partial(self._admin.replace_secret, self.bot.name, json.dumps(known))
            written = self._insist(partial(replace, json.dumps(known | changes)))

    def _insist(self, action: Callable[[], Any]) -> Any:
        """Do something until AWS lets it."""
        while True:
            try:
                return action()
            except (ClientError, BotoCoreError, BotRemoved):
                self._world.sleep(1)


class _Api:
    """LangBot's HTTP API, as far as the command uses it to rotate."""

    def __init__(self, world: World, bot: LangBot) -> None:
        self.url = f"http://{bot.name}"
        self._world, self._bot = world, bot

    def version(self) -> str:
        return "v4.11.2"

    def http_bots(self) -> list[Json]:
        return [self.bot("1")]

    def bot(self, uuid: str) -> Json:
        self._world.sleep(0.1)
        if not self._bot.up:
            raise CommandFailed(1, f"LangBot at {self.url} cannot be reached")
        config = {
            "callback_url": f"https://callbacks/{self._bot.name}",
            **{field: self._bot.form[way] for way, field in _FIELDS.items()},
            "signature_required": True,
        }
        return {"uuid": uuid, "name": self._bot.name, "adapter_config": config, "use_pipeline_uuid": "p"}

    def save_bot(self, uuid: str, adapter_config: Json) -> None:
        self.bot(uuid)
        secrets = {way: adapter_config[field] for way, field in _FIELDS.items()}
        for _ in range(2):
            # LangBot completes what it has begun, also if the command is interrupted meanwhile.
            saving = self._world.effect(
                self._world.current.process,
                "langbot.save",
                lambda: self._world.spawn(Process("langbot's API"), lambda: self._bot.save(1, **secrets)),
            )
            if saving.result():
                return
        raise CommandFailed(1, "LangBot keeps the bot's new form but does not use it")

    def route(self, _uuid: str, _event: Json) -> Json | None:
        """A release before 4.11 has no routes."""
