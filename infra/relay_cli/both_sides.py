"""A bot of the relay and its bot in LangBot, as the commands that change both see them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import relay
from relay.domain.admission import MAX_PAUSE, SLOT_TIMEOUT
from relay.domain.bot import weakness
from relay.domain.diagnosis import pluralize
from relay.domain.keys import RecordKey
from relay_cli import langbot_api
from relay_cli.bot_secret import changed_meanwhile
from relay_cli.connection import LABELS, RelayBot, find_bot, fits, without_query
from relay_cli.connection_test import run_test
from relay_cli.finding import show
from relay_cli.langbot_api import Json
from relay_cli.open_turns import until_drained
from relay_cli.routes import read_routes
from relay_cli.terminal import CommandFailed, confirmed, one_line, say, say_json

PAUSE = 8
"""Seconds for which a bot is paused at a time, while its open turns are waited for."""


class BothSides:
    """One bot on both sides. All methods raise CommandFailed and botocore's errors."""

    def __init__(self, stack: relay.Stack, name: str, options: argparse.Namespace) -> None:
        if options.json and not options.yes:
            raise CommandFailed(2, "--json needs --yes: a program answers no question")
        self.stack = stack
        self.name = name
        self.name_in_langbot = f"{stack.name}-{name}"
        self.api = langbot_api.from_options(options)
        self.admin = relay.BotAdmin(stack)
        self._options = options

    def read(self) -> tuple[RelayBot, Json | None]:
        """Return the bot as the relay knows it, and LangBot's HTTP bot if it has one."""
        self.report(f"LangBot {self.api.version()} at {self.api.url}")
        bot = self._relay_bot()
        return bot, find_bot(self.api.http_bots(), bot, self.name_in_langbot)

    def relay_bot(self) -> RelayBot:
        """Return the bot as the relay knows it now. It must have secrets."""
        known = self._relay_bot()
        if not (known.bot.inbound_secrets and known.bot.outbound_secrets):
            raise changed_meanwhile(self.name)
        return known

    def _relay_bot(self) -> RelayBot:
        return RelayBot(self.name, self.admin.secret(self.name), self.stack.callback_url(self.name))

    def ask(self, changes: Sequence[str], secret: str | None) -> None:
        """Show changes; go on only if the operator says yes, and the bot's secret is still `secret`."""
        for change in changes:
            self.report(f"  {one_line(change)}")
        if not confirmed("Make these changes?", self._options.yes):
            raise CommandFailed(1, "nothing was changed")
        if self.admin.secret(self.name) != secret:
            raise changed_meanwhile(self.name)

    def save_in_langbot(self, found: Json, adapter_config: Json) -> list[RecordKey]:
        """Save LangBot's bot when no turn is open; return the messages whose turns still were.

        Only the fields that the relay sets are taken from `adapter_config`, as far as LangBot has the others.
        """
        try:
            left = self._wait_for_turns()
            now = self.api.bot(found["uuid"])["adapter_config"]
            ours = {field: adapter_config[field] for field in LABELS if field in adapter_config}
            after = {**adapter_config, **now, **ours}
            if not fits(self.relay_bot().bot, after):
                raise changed_meanwhile(self.name)
            self.admin.pause_for(self.name, MAX_PAUSE)
            self.api.save_bot(found["uuid"], after)
            kept = self.api.bot(found["uuid"])["adapter_config"]
            if any(kept.get(field) != value for field, value in ours.items()):
                raise CommandFailed(1, "LangBot did not keep what it was given: look at the bot there")
        finally:
            # If the command dies before, the messages go out when the last pause has ended.
            self.admin.end_pause(self.name)
        return left

    def _wait_for_turns(self) -> list[RecordKey]:
        """Keep the bot's messages on the queue until its open turns have ended.

        Return the messages whose turns are open after SLOT_TIMEOUT seconds: most likely they get no reply.
        """
        self.admin.pause_for(self.name, PAUSE)
        for left, waited in until_drained(self.admin, self.name):
            if waited > SLOT_TIMEOUT:
                return left
            if left:
                waiting = pluralize(len(left), "message")
                self.report(f"waiting for the replies to {waiting}, {waited:.0f} s so far")
            self.admin.pause_for(self.name, PAUSE)
        return []

    def test_both_ways(self, found: Json) -> bool:
        """Read the routes of LangBot's bot and test both directions; return whether both work."""
        bot = self.relay_bot().bot
        self.report(f"messages go to {without_query(bot)}")
        if weak := weakness(bot):
            self.report(f"warning: {weak}; `relay bots rotate {self.name}` renews it")
        show(read_routes(self.api, found, self.name), self._options)
        if self.admin.state(self.name).probe_at:
            self.admin.retry(self.name)
        return show(run_test(self.stack, bot, self._options.timeout), self._options)

    def report(self, text: str) -> None:
        """Print a line, or for programs its JSON."""
        say_json({"text": text.strip()}) if self._options.json else say(text)
