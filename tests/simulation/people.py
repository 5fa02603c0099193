"""Users, operators, and others who can reach the callback URL."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from relay import InvalidMessage, InvalidState, Messages, PushQueue, SentMessage, SessionEraser
from relay.domain.keys import RecordKey, message_key, record_key, session_key
from relay.domain.message import REDELIVERED_WITHIN
from relay.domain.record import MessageRecord
from relay.domain.selection import Selection
from relay.domain.signing import sign
from relay.domain.states import AWAITING_OPERATOR
from relay.domain.timestamps import unix_seconds
from simulation.deployed_relay import PREFIX, Deployment
from simulation.dynamodb_expressions import Item
from simulation.faults import Faults, Trouble
from simulation.model_dynamodb import MAX_ITEM_BYTES
from simulation.model_langbot import LangBot
from simulation.planned_stops import Stop
from simulation.rotation import Drill
from simulation.world import Crash, Process, ProcessDied, World

WITH_TASK = 0.3
"""The share of messages whose reply a workflow waits for."""

WITH_CONTEXT = 0.5
"""The share of messages that carry a context."""

LARGE = 0.04
"""The share of messages that no record can hold."""


MAX_ERASURES, MAX_EFFECTS = 5, 6
"""How often an operator runs a command that breaks off, and the side effects at which it can."""


@dataclass(frozen=True)
class Erasure:
    """A session that an operator has erased to the end, and what there was of it when that began."""

    session: str
    items: list[tuple[str, tuple[str, str], Item]]
    """Of each its table, its key and the item itself. A message that push can get again is not among them."""
    bodies: dict[str, bytes]


@dataclass(frozen=True)
class Said:
    """A message that a user sent, and what the queue answered."""

    sent: SentMessage
    text: str
    at: float
    fields: dict[str, Any]


@dataclass
class Diary:
    """What people did, for the checker."""

    said: list[Said] = field(default_factory=list)
    tried: set[tuple[str, str, str]] = field(default_factory=set)
    """What users sent, also if no response came: bot, session, text."""
    resent: dict[str, int] = field(default_factory=dict)
    """How often operators asked to resend a message, by its SQS id."""
    resent_together: list[list[tuple[str, str, str]]] = field(default_factory=list)
    """Of each run that resent many: session, the message's key, and the key of its resend, in order."""
    dropped: set[str] = field(default_factory=set)
    cancelled: dict[str, float] = field(default_factory=dict)
    """When the relay confirmed that a message is cancelled, by its SQS id."""
    secret_gone: list[str] = field(default_factory=list)
    """Bots whose secret was away for a while."""
    drills: list[Drill] = field(default_factory=list)
    erasing: set[str] = field(default_factory=set)
    """The sessions that operators have begun to erase."""
    erased: list[Erasure] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    deployed: list[dict[str, str]] = field(default_factory=list)


class People:
    """All who do something to the relay from outside."""

    def __init__(
        self, world: World, faults: Faults, deployment: Deployment, langbots: dict[str, LangBot]
    ) -> None:
        self.world, self.faults, self.deployment, self.langbots = world, faults, deployment, langbots
        self.diary = Diary()
        self._stack = deployment.stack
        self._to_erase = 0

    def begin(self) -> None:
        """Let everybody begin."""
        scenario, chance = self.faults.scenario, self.world.chance("producers")
        for name, bot in self.langbots.items():
            self.deployment.secrets.put(PREFIX + name, self._secret(bot))
        for n in range(scenario.messages):
            at = chance.random() * 5 if scenario.burst else chance.random() ** 2 * scenario.storm
            self._act("user", partial(self._say, n), at)
        self._sometimes(Trouble.OPERATORS, [4, 8, 16], "operator", self._operate)
        self._sometimes(Trouble.ATTACKERS, [2, 5], "attacker", self._forge)
        self._sometimes(Trouble.SECRETS, [1, 2], "operator", self._take_secret_away)
        self._sometimes(Trouble.ROTATIONS, [1, 2, 4], "operator", self._rotate)
        self._sometimes(Trouble.DEPLOYS, [1, 2], "operator", self._deploy)
        self._sometimes(Trouble.RESTARTS, [1, 2], "operator", self._restart)
        self._sometimes(Trouble.DOWN, [1], "operator", self._stop)
        self._sometimes(Trouble.SAVES, [1, 2], "operator", self._save)
        self._erase_sometimes()
        self._sometimes(Trouble.STOPS, [1, 2], "operator", self._pause)
        self._sometimes(Trouble.PUSHES, [1, 3], "plugin", self._push)

    @property
    def busy(self) -> bool:
        """Tell whether anybody has something to do yet."""
        drills_done = all(drill.done for drill in self.diary.drills)
        return self._to_erase > 0 or not drills_done or self._stopped()

    def _sometimes(self, trouble: Trouble, times: list[int], who: str, action: Callable[[], None]) -> None:
        if not self.faults.has(trouble):
            return
        chance = self.world.chance(f"times of {trouble}")
        for _ in range(chance.choice(times)):
            self._act(who, action, chance.random() * self.faults.scenario.active)

    def _act(self, who: str, action: Callable[[], None], at: float) -> None:
        def act() -> None:
            try:
                action()
            except (ClientError, BotoCoreError, InvalidState, InvalidMessage) as error:
                self.world.note(who, f"gives up: {error}")

        self.world.spawn(Process(who), act, at)

    @staticmethod
    def _secret(bot: LangBot) -> dict[str, Any]:
        secret = {
            "url": f"http://{bot.name}/bots/1",
            "inbound_secret": bot.inbound,
            "outbound_secret": bot.outbound,
        }
        return secret | ({"replies": "push"} if bot.replies_by_push else {})

    # ---------------------------------------------------------------- users

    def _say(self, n: int) -> None:
        chance, scenario = self.world.chance(f"message {n}"), self.faults.scenario
        bot = chance.choice(list(self.langbots))
        session_id = f"s{chance.randrange(scenario.sessions)}"
        text = f"PRIVATE{n:03} hello"
        if self.world.chance(f"size of message {n}").random() < LARGE:
            text += "x" * MAX_ITEM_BYTES
        fields: dict[str, Any] = {"bot": bot}
        if self.faults.has(Trouble.ACTIONS):
            fields["action"] = chance.choice(["push", "push", "push", "sync", "sync", "reset"])
            if chance.random() < 0.1:
                fields["expect_reply"] = False
        expects_reply = fields.get("action") != "reset" and fields.get("expect_reply", True)
        if expects_reply and self.world.chance(f"task of message {n}").random() < WITH_TASK:
            fields["reply_to_task"] = self.deployment.tasks.start(f"TOKEN{n:03}")
        if self.faults.has(Trouble.INVALID) and chance.random() < 0.25:
            self._say_wrong(session_id, text, fields)
            return
        if self.world.chance(f"context of message {n}").random() < WITH_CONTEXT:
            fields["context"] = {"of": f"CONTEXT{n:03}"}
        self.diary.tried.add((bot, session_id, text))
        sent = PushQueue(self._stack).push(session_id, text, **fields)
        self.diary.said.append(Said(sent, text, self.world.now, fields))
        self.world.note("user", f"says {text[:10]} to {bot} {session_id} {fields} as {sent.message_id}")
        if self.faults.has(Trouble.OPERATORS) and self.world.chance(f"cancel {n}").random() < 0.2:
            self._cancel(sent)

    def _say_wrong(self, session_id: str, text: str, fields: dict[str, Any]) -> None:
        """Send what no bot takes; a program without the library can."""
        chance = self.world.chance("invalid")
        bot = fields["bot"]
        kind = chance.choice(["refused", "unknown bot", "no text", "no JSON"])
        task = f', "reply_to_task": "{fields["reply_to_task"]}"' if "reply_to_task" in fields else ""
        if kind == "no JSON":
            fields.pop("reply_to_task", None)
        body = {
            "refused": f'{{"bot": "{bot}", "session_id": "{session_id}", "text": "REFUSE {text}"{task}}}',
            "unknown bot": f'{{"bot": "nobody", "session_id": "{session_id}", "text": "{text}"{task}}}',
            "no text": f'{{"bot": "{bot}", "session_id": "{session_id}"{task}}}',
            "no JSON": f"{text}",
        }[kind]
        group = f"{bot}#{session_id}"
        response = self._stack.client("sqs").send_message(
            QueueUrl=self._stack.push_queue_url,
            MessageBody=body,
            MessageGroupId=group,
            MessageDeduplicationId=text,
        )
        sent = SentMessage(
            "nobody" if kind == "unknown bot" else "" if kind == "no JSON" else bot,
            group if kind == "no JSON" else session_id,
            response["MessageId"],
            response["SequenceNumber"],
        )
        self.diary.said.append(Said(sent, text, self.world.now, {**fields, "kind": kind}))
        self.world.note("user", f"says {kind} {text[:10]} as {sent.message_id}")

    # ---------------------------------------------------------------- operators

    def _operate(self) -> None:
        """Resend or drop a parked or unanswered message, or all of them."""
        chance, messages = self.world.chance("operators"), Messages(self._stack)
        if chance.random() < 0.3:
            self._operate_on_many(messages)
            return
        found = list(messages.awaiting_operator())
        if not found:
            return
        record = chance.choice(found)
        if chance.random() < 0.7:
            self.diary.resent[record["message_id"]] = self.diary.resent.get(record["message_id"], 0) + 1
            self.world.note("operator", f"resends {record['message_id']}")
            messages.resend(record)
            if chance.random() < 0.3:  # another operator has the same list before them
                messages.resend(record)
        else:
            self.diary.dropped.add(record["message_id"])
            self.world.note("operator", f"drops {record['message_id']}")
            messages.drop(record, "no longer needed")

    def _cancel(self, sent: SentMessage) -> None:
        """Take back a message that was just sent, or a moment ago."""
        self.world.sleep(self.world.chance("cancels").choice([0, 0.1, 1, 10, 60]))
        self.diary.dropped.add(sent.message_id)
        self.world.note("operator", f"cancels {sent.message_id}")
        Messages(self._stack).cancel(sent.session_id, sent.message_id, sent.bot)
        self.diary.cancelled[sent.message_id] = self.world.now
        self.world.note("operator", f"has cancelled {sent.message_id}")

    def _operate_on_many(self, messages: Messages) -> None:
        """Resend or drop all that wait, as after an outage. A run can be interrupted and repeated."""
        chance = self.world.chance("operators of many")
        selection = Selection(state=chance.choice([None, None, *AWAITING_OPERATOR]))
        resent: list[tuple[str, str, str]] = []
        self.diary.resent_together.append(resent)

        def resend(record: MessageRecord) -> bool:
            self.diary.resent[record["message_id"]] = self.diary.resent.get(record["message_id"], 0) + 1
            sent = messages.resend(record)
            if sent:
                resent.append((record["session"], record["message"], message_key(sent.sequence_number)))
            return sent is not None

        def drop(record: MessageRecord) -> bool:
            self.diary.dropped.add(record["message_id"])
            return messages.drop(record, "dropped with others")

        action = chance.choice([resend, resend, drop])
        for handled_at_most in (chance.choice([1, 3, None]), None):
            selected = (_key_of(record) for record in messages.selected(selection))
            for handled in islice(messages.handle(selected, selection, action), handled_at_most):
                self.world.note("operator", f"handles {handled.key}, one of many: {handled.result}")

    def _erase(self) -> None:
        """Run the command until it says that it is done. It can be interrupted at any side effect."""
        chance = self.world.chance("erasures")
        bot, session_id = self._some_bot(chance).name, f"s{chance.randrange(self.faults.scenario.sessions)}"
        eraser = SessionEraser(self._stack, session_id, bot)
        session = session_key(bot, session_id)
        self.diary.erasing.add(session)
        before = self._what_there_is(session)
        self._to_erase -= 1
        for _ in range(MAX_ERASURES):
            process = Process("relay erase", runs_relay=True)
            if chance.random() < 0.5:
                process.crash = Crash(chance.randint(1, MAX_EFFECTS), chance.random() < 0.5)
            command = self.world.spawn(process, eraser.erase)
            command.wait()
            try:
                self.world.note("operator", f"erases {session}: {command.result()}")
                self.diary.erased.append(before)
                return
            except (ClientError, BotoCoreError, ProcessDied) as error:
                self.world.note("operator", f"sees {error!r}")
                self.world.sleep(5)

    def _erase_sometimes(self) -> None:
        """Erase sessions, also later than people do anything else: what has just ended cannot be erased."""
        if not self.faults.has(Trouble.ERASURES):
            return
        chance = self.world.chance("times of erasures")
        self._to_erase = chance.choice([1, 2, 4])
        for _ in range(self._to_erase):
            until = self.faults.scenario.active + REDELIVERED_WITHIN + 300
            self._act("operator", self._erase, chance.random() * until)

    def _has_ended(self, item: Item) -> bool:
        """Tell whether push can get a message no more, by its record."""
        ended_at = unix_seconds(item["updated_at"]["S"]) + REDELIVERED_WITHIN
        return item["state"] != {"S": "retrying"} and ended_at <= self.world.now

    def _what_there_is(self, session: str) -> Erasure:
        items = [
            (name, key, item)
            for name, table in self.deployment.tables.items()
            for key, item in table.items.items()
            if key[0] == session and ("state" not in item or self._has_ended(item))
        ]
        objects = self.deployment.s3.objects
        paths = [item["overflow"]["S"] for *_, item in items if "overflow" in item]
        return Erasure(session, items, {path: objects[path] for path in paths if path in objects})

    def _take_secret_away(self) -> None:
        chance = self.world.chance("secrets")
        name = self._some_bot(chance).name
        self.diary.secret_gone.append(name)
        secrets, path = self.deployment.secrets, PREFIX + name
        kept = secrets.secrets.get(path)
        if kept is None:
            return
        self.world.note("operator", f"takes the secret of {name} away")
        if chance.random() < 0.5:
            secrets.remove(path)
        else:
            secrets.put(path, None)
        self.world.sleep(chance.choice([1, 10, 100]))
        secrets.put(path, kept)

    def _rotate(self) -> None:
        chance = self.world.chance("rotations")
        name = self._some_bot(chance).name
        if any(drill.bot.name == name and not drill.done for drill in self.diary.drills):
            return
        drill = Drill(self.world, self.deployment.stack, self.langbots[name])
        self.diary.drills.append(drill)
        drill.by_command() if chance.random() < 0.4 else drill.by_hand()

    def _pause(self) -> None:
        bot = self._some_bot(self.world.chance("stops of bots"))
        if not self._stopped(bot):
            stop = Stop(self.world, self.deployment.stack, bot)
            self.diary.stops.append(stop)
            stop.make()

    def _stopped(self, bot: LangBot | None = None) -> bool:
        """Tell whether a planned stop is under way, of this bot or of any."""
        return any(not stop.done and bot in (None, stop.bot) for stop in self.diary.stops)

    def _deploy(self) -> None:
        chance = self.world.chance("deploys")
        settings = {
            "RETRY_FOR_SECONDS": str(chance.choice([60, 600, 3600])),
            "ANSWER_DEADLINE_SECONDS": str(chance.choice([60, 300, 900])),
            "MAX_RESENDS": str(chance.choice([0, 1])),
        }
        self.diary.deployed.append(settings)
        self.world.note("operator", f"deploys {settings}")
        self.deployment.functions.replace_instances(**settings)

    def _restart(self) -> None:
        chance = self.world.chance("restarts")
        self._some_bot(chance).restart(chance.choice([1, 10, 60]))

    def _stop(self) -> None:
        chance = self.world.chance("stops")
        self._some_bot(chance).restart(chance.choice([1_800, 4_000, 8_000]))

    def _save(self) -> None:
        chance = self.world.chance("saves")
        self._some_bot(chance).save(chance.choice([0.1, 1, 3]))

    def _push(self) -> None:
        chance = self.world.chance("pushes")
        self._some_bot(chance).push(f"s{chance.randrange(self.faults.scenario.sessions)}")

    def _some_bot(self, chance: Any) -> LangBot:
        bot: LangBot = chance.choice([bot for bot in self.langbots.values() if not bot.healthy])
        return bot

    # ---------------------------------------------------------------- others

    def _forge(self) -> None:
        """Post what LangBot did not sign."""
        chance = self.world.chance("attackers")
        bot = self._some_bot(chance)
        raw = chance.choice(
            [
                b'{"session_id": "s0", "is_final": true, "message": [{"type": "Plain", "text": "FORGED"}]}',
                b"FORGED no JSON",
                bot.parts[-1].raw.replace(b"{", b'{"more": "FORGED", ', 1) if bot.parts else b"FORGED",
            ]
        )
        timestamp = str(int(self.world.now) - chance.choice([0, 0, 400]))
        signature = chance.choice(["", "sha256=00", sign("FORGED", timestamp, raw), sign("", timestamp, raw)])
        self.deployment.post(bot.name, {"X-LB-Timestamp": timestamp, "X-LB-Signature": signature}, raw)


def _key_of(record: MessageRecord) -> RecordKey:
    return record_key(record["session"], record["message"])
