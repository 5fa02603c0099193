"""400 messages among all faults at once: each comes to an end, and each end has its reason.

The dispatchers run in this process, in front of a queue whose time jumps to where something happens next, and
die now and then. The bots, the tables, callback and settle are real. `pytest -s` shows the figures.
"""

import json
import random
import time
from collections import Counter, defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice

import pytest

from local.sample_bot import OVERLOADED, Answer, SampleBot
from relay.adapters.messages_table import MessagesTable
from relay.domain.message import QueuedMessage
from relay.domain.record import MessageRecord
from relay.domain.retry import Policy
from relay.domain.settlement import RECHECK_DELAYS, FinalPart
from relay.domain.timestamps import utc_text
from support.deaths import Died, Life
from support.deployed import IN, OUT, new_bot
from support.queued_messages import again, deliver, queued
from support.tables import scan
from support.waiting import eventually

SEED = 20261123
MESSAGES, SESSIONS, BOTS = 400, 48, 4
DEATHS = 0.1
"""The share of batches whose function dies."""
VISIBILITY_TIMEOUT = 480
GROUPS_PER_BATCH = 5
BATCHING_WINDOW = 2
"""Seconds of the queue's time for which a batch waits until it is full."""
POLICY = Policy(retry_for=60, answer_deadline=60, keep_days=1)

REFUSED = Answer(400, {"code": 40001, "msg": "failed to parse message: x"}, takes="key")
FAULTS = [
    OVERLOADED,
    Answer(429),
    Answer(502),
    Answer(502, takes="message"),
    Answer(drop=True),
    Answer(drop=True, takes="message"),
    Answer(202, "not JSON", takes="message"),
]
KINDS = {
    "a reply": (42, "hello", None),
    "three replies": (7, "MULTI", None),
    "a streamed reply": (7, "LONG:3:5", None),
    "silence": (11, "SILENT", None),
    "a reply that breaks off": (7, "LONG:4:5 MIDFAIL", None),
    "silence, and expects no reply": (7, "SILENT", None),
    "to be refused": (8, "hello", "answered 400: failed to parse message: x"),
    "nothing, since it is invalid": (5, None, "give either message or text"),
    "an unknown bot": (5, "hello", "no bot 'unknown'"),
    "a bot that is down": (1, "hello", "tried for "),
}
"""What a message asks for: how many of a hundred do, its text, and the reason if it is parked."""

FIELDS = {
    "silence, and expects no reply": {"expect_reply": False},
    "an unknown bot": {"bot": "unknown"},
    "a bot that is down": {"bot": "down"},
}
"""The further fields of a message of a kind."""


@dataclass
class Plan:
    """What one message meets."""

    kind: str
    answers: deque[Answer]
    queued: QueuedMessage
    accepted_ids: list[str] = field(default_factory=list)
    """The ids that a bot accepted it under: one at most, or it was sent twice."""


class PlannedBot(SampleBot):
    """Does with each message what its plan says."""

    plans: dict[str, Plan]

    def choose_answer(self, request):
        answers = self.plans[json.loads(request.body)["message"][0]["text"][:3]].answers
        return answers.popleft() if answers else Answer(takes="message")

    def accept(self, turn):
        self.plans[turn.text[:3]].accepted_ids.append(turn.id)
        super().accept(turn)


class JumpingClock:
    ahead = 0.0

    def __call__(self):
        return time.time() + self.ahead

    def jump_to(self, moment):
        self.ahead += max(0.0, moment - self())


class DeliveredOnBotsClock:
    """MessagesTable, but a message is delivered at the time of the bots, which does not jump."""

    def __init__(self, messages_table):
        self.messages_table = messages_table

    def write(self, record, if_new=False):
        if "delivered_at" in record:
            record = record | {"delivered_at": utc_text(time.time())}
        return self.messages_table.write(record, if_new)

    def __getattr__(self, name):
        return getattr(self.messages_table, name)


class RecordingQueues:
    """In place of PushQueue's visibility and ParkedQueue: what push does to them."""

    def __init__(self):
        self.delays, self.parked = {}, set()

    def set_visibility(self, queued, seconds):
        self.delays[queued.message_id] = seconds

    def put(self, queued, _record):
        self.parked.add(queued.message_id)


def make_plans(draw, talks):
    """Return the plans by the number with which each text begins."""
    kinds = draw.choices(list(KINDS), [weight for weight, *_ in KINDS.values()], k=MESSAGES)
    plans = {}
    for n, kind in enumerate(kinds):
        faults = draw.choices(FAULTS, k=draw.choice([1, 1, 2])) if draw.random() < 0.3 else []
        answers = deque(faults + [REFUSED] * 9 if kind == "to be refused" else faults)
        session = draw.randrange(SESSIONS)
        talk = replace(talks[session % BOTS], session=f"mixed-{session}")
        text = KINDS[kind][1]
        message = queued(talk, text and f"{n:03} {text}", **FIELDS.get(kind, {}))
        plans[f"{n:03}"] = Plan(kind, answers, message)
    return plans


@dataclass
class Queue:
    """A queue in front of two functions; `visible_at` says when a group's first message is visible."""

    draw: random.Random
    clock: JumpingClock
    delays: dict[str, int]
    groups: dict[str, deque[QueuedMessage]] = field(default_factory=lambda: defaultdict(deque))
    visible_at: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def deliver_all(self, dispatchers, messages):
        """Deliver all messages, each group in order; return how many functions died."""
        deaths = 0
        for message in messages:
            self.groups[message.group_id].append(message)
        with ThreadPoolExecutor(2) as threads:
            while self.groups:
                batches = self.receive()
                lives = [self.draw_life() for _ in batches]
                results = threads.map(deliver_batch, dispatchers, batches, lives)
                for batch, (kept, died) in zip(batches, results, strict=False):
                    deaths += died
                    self.put_back(batch, kept, died)
        return deaths

    def receive(self):
        """Return a batch or two, once enough groups are visible or BATCHING_WINDOW is over."""
        visible_at = sorted(self.visible_at[group] for group in self.groups)
        first_at = max(visible_at[0], self.clock())
        enough_at = visible_at[: 2 * GROUPS_PER_BATCH][-1]
        self.clock.jump_to(min(enough_at, first_at + BATCHING_WINDOW))
        visible = sorted(group for group in self.groups if self.visible_at[group] <= self.clock())
        self.draw.shuffle(visible)
        groups = [visible[:GROUPS_PER_BATCH], visible[GROUPS_PER_BATCH : 2 * GROUPS_PER_BATCH]]
        return [
            [message for group in some for message in islice(self.groups[group], 2)]
            for some in groups
            if some
        ]

    def draw_life(self):
        if self.draw.random() >= DEATHS:
            return None
        return Life(self.draw.randint(1, 40), self.draw.choice(["before", "after"]))

    def put_back(self, batch, kept, died):
        """Remove the messages of a batch that are done, and hide the others."""
        for group in {message.group_id for message in batch}:
            mine = [message for message in batch if message.group_id == group]
            for _ in mine:
                self.groups[group].popleft()
            left = [again(message) for message in mine if message.message_id in kept]
            self.groups[group].extendleft(reversed(left))
            if left:
                delay = VISIBILITY_TIMEOUT if died else self.delays[left[0].message_id]
                self.visible_at[group] = self.clock() + delay
            elif not self.groups[group]:
                del self.groups[group]


def deliver_batch(dispatcher, batch, life):
    """Return the ids of the messages that stay in the queue, and whether the function died."""
    try:
        return deliver(life.of(dispatcher) if life else dispatcher, *batch), False
    except Died:
        return [message.message_id for message in batch], True


@dataclass
class Truth:
    """What really happened, as the bots saw it."""

    plans: dict[str, Plan]
    records: dict[str, MessageRecord]
    emitted: list[dict]
    statuses: dict[str, list[int | None]]
    """What was answered to each idempotency key, in order."""

    def __post_init__(self):
        self.owner = {turn: plan for plan in self.plans.values() for turn in plan.accepted_ids}
        self.finals = {part["reply_to"] for part in self.emitted if part["is_final"]}
        self.parts = Counter(part["reply_to"] for part in self.emitted)
        self.holders = {
            record["accepted_message_id"]: number
            for number, record in self.records.items()
            if "accepted_message_id" in record
        }

    def explain(self, number):
        """Return why the message's state is what it is; raise AssertionError if nothing explains it."""
        plan, record = self.plans[number], self.records[number]
        assert len(plan.accepted_ids) <= 1, "sent twice"
        own = plan.accepted_ids[0] if plan.accepted_ids else None
        known = record.get("accepted_message_id")
        match record["state"]:
            case "parked" if record["reason"].startswith("tried for "):
                return "its time was up" + (", and nothing said that the bot had it" if own else "")
            case "parked":
                assert own is None
                assert KINDS[plan.kind][2] in record["reason"]
                return record["reason"].partition(":")[0]
            case "answered" if record.get("indirect"):
                assert known != own or own not in self.finals
                first = self.plans[self.holders[record["answered_by"]]].queued
                assert first.group_id == plan.queued.group_id
                assert first.sequence_number < plan.queued.sequence_number
                return "taken for merged into an earlier message's turn"
            case "answered":
                assert record["answered_by"] == known
                assert known in self.finals
                if known == own:
                    return "by its own reply"
                assert self.owner[known].queued.group_id == plan.queued.group_id
                return "by the reply of another message, for both ids were lost"
            case "delivered":
                assert plan.kind == "silence, and expects no reply"
                return "expects no reply"
            case "unanswered" if own is None:
                assert record["last_error"] == "no reply"
                assert any(
                    {400, 503} & set(statuses) and 409 in statuses
                    for key, statuses in self.statuses.items()
                    if key.startswith(plan.queued.message_id + ".")
                )
                return "refused, and its function died before it wrote that into the record"
            case "unanswered" if own in self.finals:
                assert known is None
                assert self.holders.get(own, number) != number
                return "another message whose id was lost took its reply"
            case "unanswered":
                parts = self.parts[own] if known else 0
                broke_off = f"the reply broke off after {parts} parts"
                assert record["last_error"] == (broke_off if parts else "no reply")
                return record["last_error"]
        raise AssertionError("it has not come to an end")


@pytest.mark.timeout(900)
def test_each_of_400_messages_comes_to_an_end_that_has_its_reason(deployed, workers, monkeypatch):
    stack = deployed.stack
    draw, clock, queues = random.Random(SEED), JumpingClock(), RecordingQueues()  # noqa: S311 - no secret
    workers = replace(workers, clock=clock, policy=POLICY)
    with ExitStack() as ends:
        talks = [ends.enter_context(new_bot(deployed, PlannedBot)) for _ in range(BOTS)]
        plans = make_plans(draw, talks)
        for talk in talks:
            talk.bot.plans = plans
        deployed.local.connect("http://127.0.0.1:9", IN, OUT, bot="down")
        bots = [talk.name for talk in talks]
        monkeypatch.setattr(MessagesTable, "bots", lambda _: [*bots, "down"])

        def new_dispatcher():
            dispatcher = workers.dispatcher()
            table = DeliveredOnBotsClock(dispatcher.messages_table)
            changed = {"message_visibility": queues, "parked_queue": queues, "messages_table": table}
            return replace(dispatcher, **changed)

        began = time.monotonic()
        deaths = Queue(draw, clock, queues.delays).deliver_all(
            [new_dispatcher(), new_dispatcher()], [plan.queued for plan in plans.values()]
        )
        print(f"\n{MESSAGES} messages off the queue within {time.monotonic() - began:.0f} s, {deaths} deaths")

        def all_stored():
            time.sleep(1)
            emitted = [part for talk in talks for part in talk.bot.emitted]
            stored = [part for part in scan(stack, stack.replies_table) if part["bot"] in bots]
            return (emitted, stored) if len(emitted) == len(stored) else None

        emitted, stored = eventually(all_stored, within=90, what="all parts")
        answered = {record.get("answered_by") for record in scan(stack, stack.messages_table)}
        for part in sorted(stored, key=lambda part: part["part"]):
            if part["is_final"] and part["reply_to"] not in answered:
                # As its last check would, ten minutes from now.
                workers.settler().settle(FinalPart.of(part), len(RECHECK_DELAYS))
        clock.ahead += 3600
        workers.sweeper().sweep(lambda: 60)

        statuses = defaultdict(list)
        for talk in talks:
            assert talk.bot.dropped == []
            for request in talk.bot.received:
                statuses[request.headers["x-lb-idempotency-key"]].append(request.status)
        by_id = {record.get("message_id"): record for record in scan(stack, stack.messages_table)}
        records = {number: by_id[plan.queued.message_id] for number, plan in plans.items()}

    truth = Truth(plans, records, emitted, statuses)
    reasons, unexplained = Counter(), {}
    for number, record in records.items():
        try:
            reasons[record["state"], truth.explain(number)] += 1
        except AssertionError as error:
            unexplained[number] = (plans[number], record, str(error))
    for (state, reason), messages in sorted(reasons.items()):
        print(f"{messages:5}  {state}: {reason}")
    assert unexplained == {}
    assert reasons.total() == MESSAGES
    parked = {plans[n].queued.message_id for n, record in records.items() if record["state"] == "parked"}
    assert parked == queues.parked
    assert deaths > 10
