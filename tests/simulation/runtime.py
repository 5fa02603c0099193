"""Puts the code of the relay into a world: its environment, clients and connections are the world's."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import relay.adapters.aws
import relay.cold_start
import relay_cli.both_sides
import relay_cli.commands.bots.rotate
import relay_cli.finding
import relay_cli.langbot_api
from relay import environment
from relay.adapters import langbot
from relay.domain import message, timestamps
from relay.environment import Environment
from relay.metrics import Metric, Metrics
from simulation.faults import Scenario
from simulation.world import World

relay.cold_start.end()

LOGGERS = ("relay", "push", "callback", "settle", "publish")


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


def _environment_of(world: World) -> Environment:
    return Environment(
        clock=world.clock,
        monotonic=world.monotonic,
        sleep=world.sleep,
        random_bytes=world.chance("the relay's own").randbytes,
        submit=lambda call: world.spawn(world.current.process, call),
    )


@contextmanager
def relay_in(
    world: World, client: Callable[..., Any], session: Callable[[], Any], scenario: Scenario
) -> Iterator[LogKeeper]:
    """Let the code of the relay run in `world`, with the boto3 clients and HTTP sessions that these make.

    Limits of AWS that the relay knows are those of the scenario.
    """
    chance, keeper = world.chance("secrets"), LogKeeper(world)
    replaced: list[tuple[Any, str, Any]] = [
        (environment, "current", _environment_of(world)),
        (langbot, "HttpSession", session),
        (relay.adapters.aws, "client", client),
        (relay_cli.langbot_api, "from_options", lambda options: options.api),
        (relay_cli.commands.bots.rotate, "new_secret", lambda: f"SECRET-{chance.getrandbits(64):016x}"),
        (relay_cli.commands.bots.pause, "say", lambda text, _=None: world.note("relay bots", text)),
        (relay_cli.both_sides, "say", lambda text: world.note("relay bots rotate", text)),
        (relay_cli.finding, "say", lambda text: world.note("relay bots rotate", text)),
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
