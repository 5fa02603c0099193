"""A world without chance: a scenario says what happens in it, and each promise is checked at its end."""

import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from math import inf
from typing import Any, Literal, cast

from local import http_bot
from relay import BotAdmin, Conversation, Messages, PushQueue, SentMessage
from relay.adapters.admission_control import AdmissionControl
from relay.adapters.dynamodb import Table, from_item
from relay.domain.keys import message_key, session_key
from relay.domain.message import QUEUE_RETENTION
from relay.domain.record import MessageRecord
from relay.domain.signing import sign
from relay.domain.timestamps import DAY, utc_text
from relay.metrics import Metric
from simulation.checker import check
from simulation.connections import Post
from simulation.deployed_relay import PREFIX
from simulation.faults import IN_FLIGHT_LIMIT, PAGE_BYTES, Fault, PlannedFault, Scenario, Trouble
from simulation.model_lambda import InvocationFailed
from simulation.model_langbot import Accepted, LangBot, Turn
from simulation.people import Said
from simulation.planned_stops import Stop
from simulation.simulation import Outcome, bound, opened
from simulation.world import Crash, Killed, Process

When = Literal["before", "after"]
ECHO, SILENCE = Turn(), Turn(replies=())
BREAKS_OFF = Turn(replies=(4,), kind="breaks", pauses=1)

BOT = "bot0"
SESSION = "s"
WORDS = "REPLY private words"


@dataclass(frozen=True)
class Response:
    """What LangBot responds to a message in place of what it would: no status breaks the connection.

    It `takes` the message as well, only its idempotency key, or nothing. It responds `late` by some seconds.
    """

    status: int | None = None
    fields: dict[str, Any] | str = ""
    takes: Literal["message", "key"] | None = None
    late: float = 0


USUAL = Response(0)
"""What LangBot responds if nothing else is planned."""

OVERLOADED = Response(503, {"code": 50301, "msg": "too many inbound messages are being processed"}, "key")
UNREADABLE = Response(400, {"code": 40001, "msg": "failed to parse message: x"}, "key")
BAD_GATEWAY = Response(502)
TOO_MANY = Response(429)
LOST = Response(takes="message")


class PlannedLangBot(LangBot):
    """Takes part in no chance: each message is echoed at once, if a scenario says nothing else."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.responses: deque[Response] = deque()
        self.turns: dict[str, Turn] = {}
        self.runner = self._planned_turn
        self.statuses: list[int | None] = []
        self.texts: list[str] = []

    def receive(self, path: str, headers: dict[str, str], raw: bytes) -> http_bot.Response:
        response = self.responses.popleft() if self.responses and self.found else USUAL
        self.texts.append(_text_of(raw))
        if response.status == USUAL.status:
            answer = super().receive(path, headers, raw)
            self.statuses.append(answer.status)
            self.world.sleep(response.late)
            return answer
        burned = None
        if response.takes == "message":
            super().receive(path, headers, raw)
        elif response.takes == "key":
            # A message that it cannot read uses up its key.
            unreadable = json.dumps(json.loads(raw) | {"message": "REFUSE"}).encode()
            signature = sign(self.inbound, headers["X-LB-Timestamp"], unreadable)
            burned = super().receive(path, headers | {"X-LB-Signature": signature}, unreadable).burned
            if response is not UNREADABLE:
                self.refused.discard(headers["X-LB-Idempotency-Key"])
        self.statuses.append(response.status)
        self.world.sleep(response.late)
        if response.status is None:
            raise Killed
        return http_bot.Response(response.status, response.fields, burned=burned)

    def _planned_turn(self, message: Accepted) -> Turn:
        return self.turns.get(message.text, ECHO)


class PlannedWorld:
    """A relay, with a bot for each of the releases in its settings, and what a scenario does to it."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.world, self.faults, self.deployment = outcome.world, outcome.faults, outcome.deployment
        self.langbots: dict[str, PlannedLangBot] = outcome.langbots  # type: ignore[assignment]
        self.langbot = self.langbots[BOT]
        self.queued: dict[str, Any] = {}
        """Each message as PushQueue had it, by its SQS id."""
        self._numbers = count()
        for name, langbot in self.langbots.items():
            self.set_secret(secret_of(langbot), name)

    # ---------------------------------------------------------------- what people do

    def say(
        self, text: str = "hello", session: str = SESSION, bot: str = BOT, turn: Turn = ECHO, **fields: Any
    ) -> SentMessage:
        """Send a message, whose text gets a number; `turn` is what LangBot does with it."""
        numbered = f"PRIVATE{next(self._numbers):03} {text}"
        self.langbots[bot].turns[numbered] = turn
        self.outcome.diary.tried.add((bot, session, numbered))
        queue = PushQueue(self.deployment.stack)
        sent: SentMessage = self.do(lambda: queue.push(session, numbered, bot=bot, **fields))
        self.outcome.diary.said.append(Said(sent, numbered, self.world.now, {"bot": bot, **fields}))
        self.queued[sent.message_id] = self.deployment.queues["PushQueue"].messages[sent.message_id]
        return sent

    def queue(self, body: str, bot: str = "", session: str = f"{BOT}#{SESSION}") -> SentMessage:
        """Put a body on PushQueue as a program without the library can; a bot "" cannot be read from it."""
        sent = self.do(
            lambda: self.deployment.stack.client("sqs").send_message(
                QueueUrl=self.deployment.stack.push_queue_url,
                MessageBody=body,
                MessageGroupId=session,
                MessageDeduplicationId=str(next(self._numbers)),
            )
        )
        message = SentMessage(bot, session, sent["MessageId"], sent["SequenceNumber"])
        self.outcome.diary.said.append(Said(message, body, self.world.now, {"kind": "no text", "bot": BOT}))
        return message

    def resend(self, sent: SentMessage) -> SentMessage | None:
        """Resend a message as an operator does."""
        self.expect(Trouble.OPERATORS)
        record = self.record(sent)
        self.outcome.diary.resent[record["message_id"]] = 1
        messages = Messages(self.deployment.stack)
        resend: SentMessage | None = self.do(lambda: messages.resend(cast(MessageRecord, record)))
        return resend

    def drop(self, sent: SentMessage, reason: str) -> None:
        """Drop a message as an operator does."""
        self.expect(Trouble.OPERATORS)
        record = self.record(sent)
        self.outcome.diary.dropped.add(record["message_id"])
        messages = Messages(self.deployment.stack)
        self.do(lambda: messages.drop(cast(MessageRecord, record), reason))

    def reply_to(self, sent: SentMessage, timeout: float = 0) -> str:
        """Return the text of the reply that `Conversation.wait` gives. Raise what it raises."""
        conversation = self.conversation(sent.session_id, sent.bot)
        text: str = self.do(lambda: conversation.wait(sent, timeout)).text
        return text

    def conversation(self, session: str = SESSION, bot: str = BOT) -> Conversation:
        return Conversation(self.deployment.stack, session, bot)

    def parts(self, session: str = SESSION) -> list[Any]:
        """Return the parts of a session as its readers get them."""
        parts: list[Any] = self.do(lambda: list(self.conversation(session).parts()))
        return parts

    def pause(self, bot: str = BOT) -> None:
        """Pause a bot as an operator does."""
        stop = Stop(self.world, self.deployment.stack, self.langbots[bot])
        self.do(lambda: BotAdmin(self.deployment.stack).pause(bot))
        stop.paused_at = self.world.now
        self.outcome.diary.stops.append(stop)

    def resume(self, bot: str = BOT) -> None:
        """Resume a bot as an operator does."""
        stop = self.outcome.diary.stops[-1]
        stop.resumes_at = self.world.now
        self.do(lambda: BotAdmin(self.deployment.stack).resume(bot))
        stop.resumed_at = self.world.now

    def set_secret(self, value: dict[str, Any] | None, bot: str = BOT) -> None:
        """Give a bot a secret, or schedule it for deletion."""
        self.deployment.secrets.put(PREFIX + bot, value)
        if value is None:
            self.outcome.diary.secret_gone.append(bot)
            self.expect(Trouble.SECRETS)

    def change_secret(self, bot: str = BOT, **fields: Any) -> None:
        """Change fields of a bot's secret."""
        self.set_secret(secret_of(self.langbots[bot]) | fields, bot)

    # ---------------------------------------------------------------- what goes wrong

    def responds(self, *responses: Response, bot: str = BOT) -> None:
        """Let LangBot respond so to the next requests."""
        self.expect(Trouble.LANGBOT, Trouble.NETWORK, Trouble.PROXY)
        self.langbots[bot].responses.extend(responses)

    def fails(self, fault: Fault, call: str, by: str = "", times: float = inf) -> None:
        """Let calls of a function fail, `service.operation` or all of a service, until it works again."""
        self.expect(Trouble.SERVICES)
        service, _, operation = call.partition(".")
        self.faults.planned.append(PlannedFault(fault, service, operation, by, times))

    def works(self) -> None:
        """Let all services work again."""
        self.faults.planned.clear()

    def dies(self, function: str, when: When, effect: str = "", nth: int = 1) -> Crash:
        """Let a function die before or after its nth effect of that name from now on."""
        self.expect(Trouble.DEATHS)
        crash = self.faults.planned_crashes[function] = Crash(nth, when == "before", effect)
        return crash

    def always(self, *troubles: Trouble) -> None:
        """Let these troubles strike whenever they can, from now on."""
        self.expect(*troubles)
        self.faults.constant = set(troubles)

    def deliver_copy(self, sent: SentMessage, receives: int = 1) -> Callable[[], bool]:
        """Let Lambda deliver a message once more, from now on; return whether this copy stays, later."""
        self.expect(Trouble.DUPLICATES)
        (mapping,) = (one for one in self.deployment.mappings if one.function == "push")
        copy = replace(self.queued[sent.message_id], receives=receives, receipt="gone")
        task = self.world.spawn(
            Process("mapping"),
            lambda: self.deployment.functions.invoke("push", {"Records": [mapping.record(copy)]}),
        )
        return lambda: bool(task.result()["batchItemFailures"])

    def post(self, raw: bytes, secret: str = "", signed_at: float = 0, bot: str = BOT) -> int | None:
        """Post a callback; return the status of the response."""
        timestamp = str(int(signed_at or self.world.now))
        signature = sign(secret or self.langbots[bot].outbound, timestamp, raw)
        headers = {"X-LB-Timestamp": timestamp, "X-LB-Signature": signature}
        status: int | None = self.do(lambda: self.deployment.post(bot, headers, raw))
        return status

    def invoke(self, function: str, event: Any) -> Any:
        """Invoke a function; return its response, None if it gave none."""

        def invoke() -> Any:
            try:
                return self.deployment.functions.invoke(function, event)
            except InvocationFailed:
                return None

        return self.do(invoke)

    # ---------------------------------------------------------------- time

    def do(self, action: Callable[[], Any]) -> Any:
        """Do what people do, and return what comes of it, or raise."""

        def act() -> Any:
            try:
                return action()
            finally:
                self.world.stopped = True

        task = self.world.spawn(Process("user", runs_relay=True), act)
        self.world.run(inf)
        self.world.stopped = False
        return task.result()

    def run(self, seconds: float) -> None:
        """Let so many seconds pass."""
        until = self.world.now + seconds
        self.world.run(until)
        self.world.now = until

    def end(self) -> None:
        """Run until nothing is under way; every promise must be kept then."""
        self.outcome.run_until_quiet(bound(replace(self.faults.scenario, messages=next(self._numbers))))
        broken, _ = check(self.outcome)
        assert not broken, "\n".join(broken)
        self.world.stopped = False

    # ---------------------------------------------------------------- what is left

    def record(self, sent: SentMessage) -> dict[str, Any]:
        """Return the record of a message, or {}."""
        key = session_key(sent.bot, sent.session_id), message_key(sent.sequence_number)
        return from_item(self.deployment.tables["MessagesTable"].items.get(key, {}))

    def state(self, sent: SentMessage) -> str:
        return str(self.record(sent).get("state", ""))

    def successor(self, sent: SentMessage) -> SentMessage:
        """Return the message that a message was resent as."""
        key = session_key(sent.bot, sent.session_id), self.record(sent)["resent_as"]
        item = from_item(self.deployment.tables["MessagesTable"].items.get(key, {}))
        return SentMessage(sent.bot, sent.session_id, item.get("message_id", ""), key[1].lstrip("0"))

    @property
    def statuses(self) -> list[int | None]:
        """What LangBot responded, in order."""
        return self.langbot.statuses

    @property
    def texts(self) -> list[str]:
        """The texts that LangBot got, in order, without their numbers."""
        return [text.partition(" ")[2] for text in self.langbot.texts]

    @property
    def keys(self) -> set[str]:
        """The idempotency keys that LangBot got."""
        return {post.key for post in self.posts}

    @property
    def posts(self) -> list[Post]:
        return self.outcome.posts

    def accepted(self, bot: str = BOT) -> list[Accepted]:
        return self.langbots[bot].accepted

    def calls(self, function: str, call: str) -> int:
        """Return how many calls of that name a function has made."""
        return sum(who.startswith(function) and what.startswith(call) for who, what in self.faults.calls)

    def metrics(self, metric: Metric) -> list[tuple[dict[str, str], float]]:
        """Return the values of a metric, each with its dimension."""
        return [(of, value) for of, name, value in self.outcome.kept.metrics if name == metric]

    def logged(self, text: str) -> list[str]:
        """Return the lines of the log that have a text."""
        return [line for line in self.outcome.log if text in line]

    def objects(self, prefix: str) -> list[bytes]:
        """Return what the bucket has at paths that begin so."""
        return [raw for path, raw in self.deployment.s3.objects.items() if path.startswith(prefix)]

    def in_flight(self) -> int:
        """Return how many slots of the bot are taken."""
        scenario = self.faults.scenario
        dynamodb: Any = self.deployment.client("dynamodb")
        table = Table(dynamodb, "messages")
        control = AdmissionControl(table, scenario.max_in_flight, scenario.answer_deadline)
        taken: int = self.do(lambda: control.in_flight(BOT, self.world.now))
        return taken

    def expect(self, *troubles: Trouble) -> None:
        """Let the checker know what this world has."""
        scenario = self.faults.scenario
        self.faults.scenario = replace(scenario, troubles=scenario.troubles.union(troubles))


def secret_of(bot: LangBot) -> dict[str, Any]:
    """Return the secret of a bot."""
    return {
        "url": f"http://{bot.name}/bots/1",
        "inbound_secret": bot.inbound,
        "outbound_secret": bot.outbound,
    }


@contextmanager
def planned_world(**settings: Any) -> Iterator[PlannedWorld]:
    """Open a world for a scenario, and bring it to its end. The settings are those of `Scenario`."""
    with opened(replace(CALM, **settings), PlannedLangBot) as outcome:
        world = PlannedWorld(outcome)
        yield world
        world.end()


def part_body(world: PlannedWorld, text: str = WORDS, **fields: Any) -> bytes:
    """Make the body of a final part, as LangBot emits it now."""
    body = {
        "session_id": "s",
        "reply_to": "in_1",
        "sequence": 1,
        "is_final": True,
        "stream": True,
        "message": [{"type": "Plain", "text": text}],
        "timestamp": utc_text(world.world.now).removesuffix("Z"),
    }
    return json.dumps(body | fields).encode()


def deaths(
    function: str, when: When, effects: int, **settings: Any
) -> Iterator[tuple[PlannedWorld, Callable[[], None]]]:
    """Yield worlds, each with what begins to count the effects of a function, and lets it die at one of them.

    It dies at the first in the first world, at the second in the second, and so on.
    """
    for nth in range(1, effects + 1):
        crashes: list[Crash] = []
        with planned_world(**settings) as world:
            yield world, lambda: crashes.append(world.dies(function, when, nth=nth))  # noqa: B023
        assert crashes[0].effects <= 0, f"{function} has only {nth - crashes[0].effects} effects"


CALM = Scenario(
    seed=0,
    troubles=frozenset(),
    messages=0,
    burst=False,
    sessions=1,
    bots=1,
    storm=0,
    retry_for=3600,
    answer_deadline=900,
    max_in_flight=50,
    max_resends=0,
    queue_retention=QUEUE_RETENTION,
    queue_limit=IN_FLIGHT_LIMIT,
    day=DAY,
    page_bytes=PAGE_BYTES,
    releases=("4.11.2",),
)


def _text_of(raw: bytes) -> str:
    segments = json.loads(raw).get("message") or []
    return "".join(segment.get("text", "") for segment in segments)
