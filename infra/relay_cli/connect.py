"""relay connect: connect a bot of the relay with its HTTP bot in LangBot, and rotate their secrets."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import relay
from relay.domain.admission import MAX_PAUSE, SLOT_COUNT_TTL, SLOT_TIMEOUT
from relay.domain.bot import BOT_NAME, secret_fields, weakness
from relay.domain.diagnosis import pluralize
from relay.domain.keys import RecordKey
from relay_cli import langbot_api
from relay_cli.arguments import BOT, TIMEOUT
from relay_cli.bot_secret import differing, new_secret
from relay_cli.bots_command import without_query, write_secret
from relay_cli.connection import (
    LABELS,
    Wanted,
    address_warnings,
    find_bot,
    may_sign_with_old,
    plan,
    rotation_has_begun,
    secret_with,
)
from relay_cli.finding import show
from relay_cli.langbot_api import Json, LangBotApi
from relay_cli.routes import read_routes
from relay_cli.terminal import CommandFailed, confirmed, say, say_json

HOLD = 8
"""Seconds for which a bot's messages are held on the queue at a time, while its open turns are waited for."""

STEPS = (
    "the bot's secret: new signing secrets before the old ones",
    "LangBot: the new signing secrets, when no turn is open; it reloads the bot",
    "the bot's secret: the old signing secrets are taken out, when LangBot has ended the turns that it began "
    f"with them, in {SLOT_TIMEOUT // 60} minutes or more",
)
"""What the operator is told of each step of a rotation."""

IN_DOUBT = SLOT_COUNT_TTL + 2
"""Seconds until a message that was admitted before a hold is in the index of the open messages."""


def add_commands(commands: Any) -> None:
    """Add the command to the command line."""
    connect = commands.add_parser(
        "connect",
        parents=[BOT, TIMEOUT],
        help="connect a bot with LangBot, or rotate its secrets; ask before a change",
    )
    langbot_api.add_options(connect, required=True)
    connect.add_argument(
        "--rotate",
        action="store_true",
        help="give both sides new secrets, without a gap; it takes 3 minutes or more",
    )
    connect.add_argument("--yes", action="store_true", help="do not ask")
    connect.set_defaults(run=run)


def run(stack: relay.Stack, options: argparse.Namespace) -> int:
    """Connect a bot, or rotate its secrets, and test both directions. Raise CommandFailed."""
    if not BOT_NAME.fullmatch(options.bot):
        raise CommandFailed(2, f"not a bot's name: {options.bot!r}; a name has a-z, 0-9 and -")
    if options.json and not options.yes:
        raise CommandFailed(2, "--json needs --yes: there is nobody to ask")
    return _Connecting(stack, langbot_api.from_options(options), options).run()


class _Connecting:
    """One run of the command."""

    def __init__(self, stack: relay.Stack, api: LangBotApi, options: argparse.Namespace) -> None:
        self._stack = stack
        self._api = api
        self._options = options
        self._admin = relay.BotAdmin(stack)
        self._name: str = options.bot

    def run(self) -> int:
        """Do it; return the exit code."""
        self._tell(f"LangBot {self._api.version()} at {self._api.url}")
        wanted = self._wanted()
        found = find_bot(self._api.http_bots(), wanted, f"{self._stack.name}-{self._name}")
        if found and self._options.rotate:
            finished = self._rotate(found)
        elif self._options.rotate:
            raise CommandFailed(
                2, "LangBot has no HTTP bot for this one: give the command without --rotate first"
            )
        else:
            found = self._connect(wanted, found)
            finished = self._works(found)
        return 0 if finished else 4

    def _wanted(self) -> Wanted:
        return Wanted(self._name, self._admin.secret(self._name), self._stack.callback_url(self._name))

    def _known(self) -> Wanted:
        """Return the bot as the relay knows it now. Raise CommandFailed if its secret is gone."""
        known = self._wanted()
        if not (known.bot.inbound_secrets and known.bot.outbound_secrets):
            raise CommandFailed(1, f"the secret of bot {self._name!r} was taken away or changed meanwhile")
        return known

    # ---------------------------------------------------------------- connect

    def _connect(self, wanted: Wanted, found: Json | None) -> Json:
        """Make both sides fit together; return LangBot's bot."""
        if wanted.secret is not None and secret_fields(wanted.secret) is None:
            raise CommandFailed(2, f"{wanted.bot.unusable}; correct it in Secrets Manager")
        planned = plan(wanted, found)
        changes = list(planned.changes)
        # The operator may have given the bot another address of the same LangBot.
        url = wanted.bot.url if found and wanted.bot.url.rstrip("/").endswith(found["uuid"]) else ""
        if not url:
            changes.append("the bot's secret: url: the webhook URL of the bot in LangBot")
        if planned.secrets:
            changes.append("the bot's secret: new signing secrets")
        for warning in address_warnings(url or self._api.url, deployed=not self._stack.endpoint_url):
            self._tell(f"warning: {warning}")
        if found and not changes:
            self._tell(f"bot {self._name} is connected, nothing changes")
            return found
        self._ask(changes)
        saves_langbot = bool(found and planned.changes)
        found = found or self._api.create_bot(f"{self._stack.name}-{self._name}", planned.adapter_config)
        # The relay must know a secret before LangBot signs with it.
        secret = secret_with(wanted.secret, url or webhook_url(self._api, found), planned.secrets)
        if differing(wanted.secret, secret):
            write_secret(self._stack, self._name, wanted.secret, secret)
        if saves_langbot:
            self._save_in_langbot(found, planned.adapter_config)
        return found

    def _ask(self, changes: Sequence[str]) -> None:
        for change in changes:
            self._tell(f"  {change}")
        if not confirmed("Make these changes?", self._options.yes):
            raise CommandFailed(1, "nothing was changed")

    # ---------------------------------------------------------------- rotate

    def _rotate(self, found: Json) -> bool:
        """Take the steps of a rotation that are still to do; return whether all were taken."""
        has_begun = rotation_has_begun(self._wanted().bot, found["adapter_config"])
        if has_begun:
            self._tell("an earlier rotation was interrupted, and is finished now")
        self._ask(STEPS[has_begun:])
        if not has_begun:
            self._add_new(found["adapter_config"])
        inbound, outbound = newest = self._known().newest
        # Also if LangBot's form has them: it may not use what its form has.
        changes = {"inbound_secret": inbound, "outbound_secret": outbound}
        open_before = self._save_in_langbot(found, found["adapter_config"] | changes)
        if not self._works(found):
            self._tell("the relay still knows both secrets; give the command again when both directions work")
            return False
        self._tell(
            "the relay knows both secrets until the last step: if you stop here, give the command again"
        )
        self._wait_for_turns(open_before)
        known = self._known()
        if known.newest != newest:
            raise CommandFailed(1, f"the secret of bot {self._name!r} was changed meanwhile")
        self._admin.replace_secret(self._name, secret_with(known.secret, known.bot.url, newest))
        self._tell("the old secrets are taken out")
        return True

    def _add_new(self, adapter_config: Json) -> None:
        wanted = self._known()
        inbound = adapter_config["inbound_secret"]
        outbound = adapter_config.get("outbound_secret") or inbound
        both = ([new_secret(), inbound], [new_secret(), outbound])
        secret = secret_with(wanted.secret, wanted.bot.url, both)
        self._admin.replace_secret(self._name, secret)

    # ---------------------------------------------------------------- both

    def _save_in_langbot(self, found: Json, adapter_config: Json) -> list[RecordKey]:
        """Save a bot in LangBot when no turn is open; return the messages whose turns still were.

        Only the fields that the relay sets are taken from `adapter_config`, as far as LangBot has the others.
        """
        with self._held() as left:
            now = self._api.bot(found["uuid"])["adapter_config"]
            ours = {field: adapter_config[field] for field in LABELS if field in adapter_config}
            self._admin.pause(self._name, MAX_PAUSE)
            self._api.save_bot(found["uuid"], {**adapter_config, **now, **ours})
            kept = self._api.bot(found["uuid"])["adapter_config"]
            if any(kept.get(field) != value for field, value in ours.items()):
                raise CommandFailed(1, "LangBot did not keep what it was given: look at the bot there")
        return left

    @contextmanager
    def _held(self) -> Iterator[list[RecordKey]]:
        """Hold the bot's messages on the queue until its open turns have ended, and as long as this lasts.

        Return the messages whose turns are open after SLOT_TIMEOUT seconds: most likely they get no reply. If
        the command dies, the messages go out when the last hold has ended.
        """
        began = time.time()
        try:
            while True:
                self._admin.pause(self._name, HOLD)
                left = self._admin.open_messages(self._name)
                waited = time.time() - began
                if (not left and waited > IN_DOUBT) or waited > SLOT_TIMEOUT:
                    break
                if left:
                    self._tell(
                        f"waiting for the replies to {pluralize(len(left), 'message')}, {waited:.0f} s so far"
                    )
                time.sleep(2)
            yield left
        finally:
            self._admin.resume(self._name)

    def _wait_for_turns(self, messages: list[RecordKey]) -> None:
        """Wait until LangBot has ended the turns that it began with the old secrets.

        `messages` are those of them that wait for a reply.
        """
        began = time.time()
        while True:
            still_open = self._admin.open_messages(self._name)
            left = [message for message in messages if message in still_open]
            waited = time.time() - began
            if not may_sign_with_old(waited, len(left)):
                return
            seen = f"; {pluralize(len(left), 'message')} without a reply" if left else ""
            self._tell(f"waiting for the turns that LangBot began before, {waited:.0f} s so far{seen}")
            time.sleep(5)

    def _works(self, found: Json) -> bool:
        """Read the bot's routes and test both directions; return whether both work."""
        from relay_cli.trial import run_test

        bot = self._known().bot
        self._tell(f"messages go to {without_query(bot)}")
        if weak := weakness(bot):
            self._tell(f"warning: {weak}; `relay connect --rotate` renews it")
        show(read_routes(self._api, found), self._options)
        if self._admin.state(self._name).probe_at:
            self._admin.resume(self._name)
        return show(run_test(self._stack, bot, self._options.timeout), self._options)

    def _tell(self, text: str) -> None:
        say_json({"text": text.strip()}) if self._options.json else say(text)


def webhook_url(api: LangBotApi, found: Json) -> str:
    """Return the URL to which messages for LangBot's bot are posted.

    LangBot's `webhook_full_url` can name a port that it does not listen on, so only its path is used.
    """
    values = api.bot(found["uuid"]).get("adapter_runtime_values", {})
    return api.url + (values.get("webhook_url") or f"/bots/{found['uuid']}")
