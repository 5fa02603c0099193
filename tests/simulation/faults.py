"""What goes wrong in a world, and when: the scenario of a seed."""

import random
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from math import inf

from relay.domain.message import QUEUE_RETENTION, RETENTION_MARGIN
from relay.domain.timestamps import DAY
from simulation.world import START, Crash, World

IN_FLIGHT_LIMIT = 120_000
"""Messages of a FIFO queue of SQS that can be in flight."""

SHORT_DAY = 15
"""Seconds: KeepDays ends after 1,350 s, longer than any AnswerDeadlineSeconds of a world."""

PAGE_BYTES, SMALL_PAGE_BYTES = 1 << 20, 4096
"""Bytes of a page of a query of DynamoDB. The items of a world fill several pages only if these are small."""

SHORT_RETENTION, SHORT_MARGIN = 6_000, 2_400
"""Seconds, in place of 14 days and of half a day before their end. RetryForSeconds still ends before that."""


MAX_EFFECTS = 14
"""The side effect at which an instance dies is one of the first so many of an invocation."""


class Fault(Enum):
    """How a call of a service fails. After RESPONSE_LOST it has taken effect."""

    THROTTLED = auto()
    BROKEN = auto()
    DENIED = auto()
    UNREACHABLE = auto()
    HANGS = auto()
    RESPONSE_LOST = auto()


class Trouble(StrEnum):
    """The kinds of trouble that a world can have; each can be switched off, to shrink a failing seed."""

    SERVICES = "services fail now and then"
    OUTAGES = "a service is down for a while"
    DEATHS = "functions die"
    DUPLICATES = "batches are delivered twice"
    THROTTLES = "functions are throttled and late"
    GARBLED = "a function's response is malformed"
    GATEWAY = "API Gateway fails"
    NETWORK = "connections to LangBot break"
    PROXY = "a proxy answers for LangBot"
    LANGBOT = "LangBot refuses"
    RESTARTS = "LangBot restarts"
    DOWN = "a LangBot is down for hours"
    SAVES = "a bot is saved"
    SILENCE = "LangBot accepts and stays silent"
    ODD_TURNS = "turns merge, are steered, break off, end twice or not at all"
    SMALL_QUEUES = "LangBot's queues overflow"
    CLOCKS = "clocks are off"
    SECRETS = "secrets are missing or scheduled for deletion"
    ROTATIONS = "secrets are rotated"
    ACTIONS = "producers sync and reset"
    INVALID = "producers send what no bot takes"
    OPERATORS = "operators resend, drop and cancel"
    DEPLOYS = "the stack is updated"
    UPGRADE = "the stack is upgraded from earlier code"
    ATTACKERS = "others post to the callback URL"
    PUSHES = "a bot pushes"
    ERASURES = "operators erase sessions"
    STOPS = "a bot is paused, drained and resumed"


@dataclass(frozen=True)
class Latencies:
    """Seconds that each takes at the most, as long as nothing fails."""

    call: float = 0.04
    """A call of AWS."""
    handover: float = 0.1
    """From the receive of a message to its invocation."""
    network: float = 0.06
    """A request's way to LangBot. It takes a sixth of that at the least."""


@dataclass(frozen=True)
class Scenario:
    """What a seed is about. Times in seconds."""

    seed: int
    troubles: frozenset[Trouble]
    messages: int
    burst: bool
    """Whether all messages come at once."""
    sessions: int
    bots: int
    storm: float
    retry_for: int
    answer_deadline: int
    max_in_flight: int
    max_resends: int
    queue_retention: int
    """Seconds for which PushQueue keeps a message."""
    queue_limit: int
    """Messages of a FIFO queue that can be in flight."""
    day: int
    """Seconds of a day of KeepDays, which is 90."""
    page_bytes: int
    """Bytes of a page of a query of DynamoDB."""
    releases: tuple[str, ...]
    latencies: Latencies = Latencies()

    @property
    def active(self) -> float:
        """Seconds for which people do something: operators have to wait for what is unanswered."""
        return self.storm + (self.answer_deadline + 120 if Trouble.OPERATORS in self.troubles else 0)

    @property
    def retention_margin(self) -> int:
        """Seconds before the end of its retention at which a message must be off PushQueue."""
        return RETENTION_MARGIN if self.queue_retention == QUEUE_RETENTION else SHORT_MARGIN

    @classmethod
    def of(cls, seed: int) -> "Scenario":
        """Return the scenario of a seed."""
        chance = random.Random(f"{seed} scenario")  # noqa: S311 - no secret
        bots = chance.choice([1, 2, 2, 3])
        share = chance.choice([0.08, 0.35, 0.6])
        return cls(
            seed=seed,
            troubles=frozenset(trouble for trouble in Trouble if chance.random() < share),
            messages=chance.choice([4, 8, 12, 16, 24]),
            burst=chance.random() < 0.3,
            sessions=chance.choice([1, 2, 3, 5, 12]),
            bots=bots,
            storm=chance.choice([60, 180, 400, 900]),
            retry_for=chance.choice([60, 300, 900, 3600]),
            answer_deadline=chance.choice([60, 240, 600, 900]),
            max_in_flight=chance.choice([0, 2, 3, 12, 50]),
            max_resends=chance.choice([0, 0, 1, 2]),
            queue_retention=chance.choice([QUEUE_RETENTION, SHORT_RETENTION]),
            day=chance.choice([DAY, SHORT_DAY]),
            page_bytes=chance.choice([PAGE_BYTES, SMALL_PAGE_BYTES]),
            queue_limit=chance.choice([IN_FLIGHT_LIMIT, IN_FLIGHT_LIMIT, 12, 6]),
            releases=tuple(chance.choice(["4.10.6", "4.11.0", "4.11.2"]) for _ in range(bots)),
        )


@dataclass(frozen=True)
class _Outage:
    service: str
    begins: float
    ends: float
    fault: Fault


@dataclass
class PlannedFault:
    """A service fails `times` times: in calls of `operation`, or of all, by the function `by`, or by all."""

    fault: Fault
    service: str
    operation: str = ""
    by: str = ""
    times: float = inf

    def strikes(self, caller: str, service: str, operation: str) -> bool:
        """Tell whether a call fails; each one that does counts."""
        strikes = (
            self.times > 0
            and service == self.service
            and operation.startswith(self.operation)
            and caller.startswith(self.by)
        )
        self.times -= strikes
        return strikes


@dataclass
class Faults:
    """Decides which call fails: during the storm by chance, and at any time as planned."""

    world: World
    scenario: Scenario
    counted: dict[str, int] = field(default_factory=dict)
    failed_calls: list[tuple[str, float]] = field(default_factory=list)
    """The service of each call that failed in the end, and when."""
    planned: list[PlannedFault] = field(default_factory=list)
    planned_crashes: dict[str, Crash] = field(default_factory=dict)
    """What a function dies of."""
    constant: set[Trouble] = field(default_factory=set)
    """Troubles that strike whenever they can, at any time."""
    calls: list[tuple[str, str]] = field(default_factory=list)
    """Who made each call, and which: `callback.1`, `sqs.send_message`."""

    def __post_init__(self) -> None:
        chance = self.world.chance("outages")
        self.storm_ends = START + self.scenario.storm
        self._rate = chance.choice([0.01, 0.03, 0.1])
        self._strength = {trouble: chance.choice([0.5, 1, 3]) for trouble in Trouble}
        self._outages: list[_Outage] = []
        if self.has(Trouble.OUTAGES):
            for _ in range(chance.choice([1, 2, 3])):
                service = chance.choice(["dynamodb", "sqs", "s3", "secretsmanager", "events"])
                begins = START + chance.random() * self.scenario.storm
                ends = min(begins + chance.choice([5, 30, 120, 600]), self.storm_ends)
                self._outages.append(_Outage(service, begins, ends, chance.choice(list(Fault))))

    @property
    def stormy(self) -> bool:
        """Tell whether anything may go wrong now."""
        return self.world.now < self.storm_ends

    def has(self, *troubles: Trouble) -> bool:
        """Tell whether the world has one of these troubles."""
        return not self.scenario.troubles.isdisjoint(troubles)

    def strikes(self, trouble: Trouble, rate: float) -> bool:
        """Tell whether a trouble strikes here and now, as it does in about `rate` of the cases."""
        by_chance = self.stormy and self.has(trouble) and self._draw(trouble, rate)
        if not by_chance and trouble not in self.constant:
            return False
        self.counted[trouble] = self.counted.get(trouble, 0) + 1
        return True

    def _draw(self, trouble: Trouble, rate: float) -> bool:
        return self.world.chance(trouble).random() < min(rate * self._strength[trouble], 0.6)

    def of_call(self, service: str, operation: str) -> Fault | None:
        """Return how a call of a service fails, if it does."""
        if not self.stormy:
            return None
        for outage in self._outages:
            if outage.service == service and outage.begins <= self.world.now < outage.ends:
                return _possible(outage.fault, operation)
        if self.strikes(Trouble.SERVICES, self._rate):
            return _possible(self.world.chance("fault").choice(list(Fault)), operation)
        return None

    def planned_of_call(self, caller: str, service: str, operation: str) -> Fault | None:
        """Return how a call fails as planned, if it does: each try of it."""
        self.calls.append((caller, f"{service}.{operation}"))
        struck = (one for one in self.planned if one.strikes(caller, service, operation))
        return next((_possible(one.fault, operation) for one in struck), None)

    def crash_of(self, function: str) -> Crash | None:
        """Return what an instance dies of that is invoked now, if it does."""
        if self.strikes(Trouble.DEATHS, 0.08):
            chance = self.world.chance("deaths")
            return Crash(chance.randint(1, MAX_EFFECTS), chance.random() < 0.5)
        return self.planned_crashes.get(function)


def _possible(fault: Fault, operation: str) -> Fault:
    # A read that has taken effect is one that has not.
    return Fault.HANGS if fault is Fault.RESPONSE_LOST and operation.startswith(("get", "query")) else fault
