"""Puts the code of the relay into a world: its clocks, threads, clients and connections are the world's."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID

import callback.receiver
import push.dispatcher
import relay.adapters.admission_control
import relay.adapters.aws
import relay.adapters.bot_registry
import relay.adapters.bounded_http
import relay.adapters.langbot
import relay.adapters.message_queue
import relay.client.bot_admin
import relay.client.conversation
import relay.client.messages
import relay.cold_start
import relay.sender
import relay_cli.both_sides
import relay_cli.commands.bots.rotate
import relay_cli.connection_test
import relay_cli.finding
import relay_cli.langbot_api
import settle.due
import settle.settler
from relay.adapters import admission_control, bot_registry, bounded_http, langbot
from relay.domain import message, timestamps
from relay.metrics import Metric, Metrics
from simulation.faults import Scenario
from simulation.simulated_threads import Threads
from simulation.world import World

relay.cold_start.end()

LOGGERS = ("relay", "push", "callback", "settle", "publish")

_WITH_A_CLOCK: tuple[tuple[Any, type], ...] = (
    (push.dispatcher, push.dispatcher.Dispatcher),
    (relay.sender, relay.sender.Sender),
    (admission_control, admission_control.AdmissionControl),
    (callback.receiver, callback.receiver.Receiver),
    (settle.due, settle.due.DueItems),
    (settle.settler, settle.settler.Settler),
)
_REGISTRY = bot_registry.BotRegistry


class LogKeeper(logging.Handler):
    """Keeps what the functions log, each line with all its fields, and the metrics that they emit."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.metrics: list[tuple[dict[str, str], Metric, float]] = []
        self._world = world
        self._usual = set(vars(logging.makeLogRecord({})))

    def keep_metrics(self, metrics: Metrics) -> None:
        """Keep the values of an invocation, and forget them there, in place of `Metrics.emit`."""
        self.metrics.extend(
            (dict(dimension), metric, value) for dimension, metric, _, value in metrics.take()
        )

    def emit(self, record: logging.LogRecord) -> None:
        fields = {name: value for name, value in vars(record).items() if name not in self._usual}
        self.lines.append(f"{record.getMessage()} {fields}")
        fields.pop("trace", None)
        self._world.note(self._world.current.process.name, f"logs: {record.getMessage()} {fields}")


@contextmanager
def relay_in(
    world: World, client: Callable[..., Any], session: Callable[[], Any], scenario: Scenario
) -> Iterator[LogKeeper]:
    """Let the code of the relay run in `world`, with the boto3 clients and HTTP sessions that these make.

    Limits of AWS that the relay knows are those of the scenario.
    """
    threads, chance, keeper = Threads(world), world.chance("the relay's own"), LogKeeper(world)
    replaced: list[tuple[Any, str, Any]] = [
        *((module, kind.__name__, partial(kind, clock=world.clock)) for module, kind in _WITH_A_CLOCK),
        (bot_registry, "BotRegistry", partial(_REGISTRY, clock=world.monotonic)),
        (bounded_http, "threads", threads.pool(32)),
        (langbot, "time", threads.time),
        (langbot, "HttpSession", session),
        (relay.adapters.aws, "client", client),
        (relay.adapters.message_queue, "uuid4", lambda: UUID(int=chance.getrandbits(128))),
        (admission_control, "uuid4", lambda: UUID(int=chance.getrandbits(128))),
        (relay.client.bot_admin, "time", threads.time),
        (relay.client.conversation, "time", threads.time),
        (relay.client.messages, "time", threads.time),
        (relay_cli.langbot_api, "from_options", lambda options: options.api),
        (relay_cli.both_sides, "time", threads.time),
        (relay_cli.commands.bots.rotate, "time", threads.time),
        (relay_cli.commands.bots.rotate, "new_secret", lambda: f"SECRET-{chance.getrandbits(64):016x}"),
        (relay_cli.both_sides, "say", lambda text: world.note("relay bots rotate", text)),
        (relay_cli.finding, "say", lambda text: world.note("relay bots rotate", text)),
        (relay_cli.connection_test, "time", threads.time),
        (relay_cli.connection_test, "token_hex", lambda _: f"{chance.getrandbits(32):08x}"),
        (message, "QUEUE_RETENTION", scenario.queue_retention),
        (message, "RETENTION_MARGIN", scenario.retention_margin),
        (timestamps, "DAY", scenario.day),
        (relay.cold_start, "end", lambda: None),
        (Metrics, "emit", lambda self: keeper.keep_metrics(self)),
    ]
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    loggers = [(logger, logger.level, logger.propagate) for logger in map(logging.getLogger, LOGGERS)]
    for logger, *_ in loggers:
        logger.addHandler(keeper)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    for owner, name, value in replaced:
        setattr(owner, name, value)
    try:
        yield keeper
    finally:
        for owner, name, value in originals:
            setattr(owner, name, value)
        for logger, level, propagate in loggers:
            logger.removeHandler(keeper)
            logger.setLevel(level)
            logger.propagate = propagate
