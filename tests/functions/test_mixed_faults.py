"""1,000 messages among all faults at once: each comes to an end, and each end has its reason.

The couriers run in this process, in front of a queue whose time jumps to where something happens next, and
die now and then; the bots, the tables, callback and settle are real. `pytest -s` shows the figures.
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
from batches import again, deliver, queued
from test_push_dies import Died
from test_settle_dies import Life

from conftest import IN, OUT, eventually, new_bot
from local.sample_bot import OVERLOADED, Answer, SampleBot
from relay.edge.gate import Gate
from relay.edge.table import from_item
from relay.rules.ledger import key
from relay.rules.message import InvalidMessage, parse
from relay.rules.part import utc
from relay.rules.settling import SECOND_LOOKS, Final
from relay.settle import Settler
from relay.sweep import Sweeper

SEED = 20261123
MESSAGES, SESSIONS, BOTS = 1000, 120, 4
DEATHS = 0.1
"""Of so many batches the function dies."""
VISIBILITY = 480

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
# What a message asks for: how many of a hundred do, its text, and why it is parked if it is.
KINDS = {
    "a reply": (42, "hello", None),
    "three replies": (7, "MULTI", None),
    "a streamed reply": (7, "LONG:3:5", None),
    "silence": (11, "SILENT", None),
    "a reply that breaks off": (7, "LONG:4:5 MIDFAIL", None),
    "silence, and expects no reply": (7, "SILENT", None),
    "to be refused": (8, "hello", "answered 400: failed to parse message: x"),
    "nothing, it is invalid": (5, None, "text must be string"),
    "a bot that there is not": (5, "hello", "no bot 'nobody'"),
    "a bot that is down": (1, "hello", "tried for "),
}


@dataclass
class Plan:
    kind: str
    answers: deque
    queued: object = None
    taken: list = field(default_factory=list)
    """The ids that a bot accepted it under: one at most, or it was sent twice."""


class Bot(SampleBot):
    """Does with each message what its plan says."""

    plans: dict[str, Plan]

    def told(self, request):
        answers = self.plans[json.loads(request.body)["message"][0]["text"][:3]].answers
        return answers.popleft() if answers else Answer(takes="message")

    def take(self, turn):
        self.plans[turn.text[:3]].taken.append(turn.id)
        super().take(turn)


class Clock:
    ahead = 0.0

    def __call__(self):
        return time.time() + self.ahead


class Deliveries:
    """The ledger, where a message is delivered at the bots' time, which does not jump."""

    def __init__(self, ledger):
        self._ledger = ledger

    def write(self, item):
        self._ledger.write(item | ({"delivered_at": utc(time.time())} if "delivered_at" in item else {}))

    def __getattr__(self, name):
        return getattr(self._ledger, name)


class Line:
    """What push does to the queues, noted."""

    def __init__(self):
        self.delays, self.parked = {}, set()

    def show_after(self, queued, delay):
        self.delays[queued.message_id] = delay

    def park(self, queued, _item):
        self.parked.add(queued.message_id)


def plan_all(draw, talks):
    """The plans by the number that each text begins with, each with its message."""
    kinds = draw.choices(list(KINDS), [weight for weight, *_ in KINDS.values()], k=MESSAGES)
    plans = {}
    for n, kind in enumerate(kinds):
        faults = draw.choices(FAULTS, k=draw.choice([1, 1, 2])) if draw.random() < 0.3 else []
        plan = Plan(kind, deque(faults + [REFUSED] * 9 if kind == "to be refused" else faults))
        session = draw.randrange(SESSIONS)
        talk = replace(talks[session % BOTS], session=f"mixed-{session}")
        text = KINDS[kind][1]
        more = {
            "silence, and expects no reply": {"expect_reply": False},
            "a bot that there is not": {"bot": "nobody"},
            "a bot that is down": {"bot": "down"},
        }.get(kind, {})
        plan.queued = queued(talk, text and f"{n:03} {text}", **more)
        plans[f"{n:03}"] = plan
    return plans


def run(draw, clock, line, couriers, messages):
    """Delivers all messages, each group in order, by two functions at a time; how many died."""
    groups, visible, deaths = defaultdict(deque), defaultdict(float), 0
    for message in messages:
        groups[message.group].append(message)

    def function(courier, batch, life):
        try:
            return deliver(life.of(courier) if life else courier, *batch), False
        except Died:
            return [message.message_id for message in batch], True

    with ThreadPoolExecutor(2) as threads:
        while groups:
            ready = sorted(group for group in groups if visible[group] <= clock())
            if not ready:
                clock.ahead += max(0.0, min(visible[group] for group in groups) - clock())
                continue
            draw.shuffle(ready)
            batches = [
                [message for group in some for message in islice(groups[group], 2)]
                for some in (ready[:5], ready[5:10])
                if some
            ]
            lives = [
                Life(draw.randint(1, 40), draw.choice(["before", "after"]))
                if draw.random() < DEATHS
                else None
                for _ in batches
            ]
            for batch, (kept, died) in zip(
                batches, threads.map(function, couriers, batches, lives), strict=False
            ):
                deaths += died
                put_back(groups, visible, clock, line, batch, kept, died)
    return deaths


def put_back(groups, visible, clock, line, batch, kept, died):
    """Takes off the queue what is done with, and hides what is not."""
    for group in {message.group for message in batch}:
        mine = [message for message in batch if message.group == group]
        for _ in mine:
            groups[group].popleft()
        left = [again(message) for message in mine if message.message_id in kept]
        groups[group].extendleft(reversed(left))
        if left:
            visible[group] = clock() + (VISIBILITY if died else line.delays[left[0].message_id])
        elif not groups[group]:
            del groups[group]


def scan(deployed, table):
    pages = deployed.client("dynamodb").get_paginator("scan").paginate(TableName=table)
    return [from_item(item) for page in pages for item in page["Items"]]


def ledger_key(message):
    try:
        return key(message, parse(message.body))
    except InvalidMessage:
        return key(message, None)


@dataclass
class Truth:
    """What really happened, as the bots saw it."""

    plans: dict[str, Plan]
    items: dict[str, dict]
    emitted: list
    posts: dict[str, list]
    """What was answered to each idempotency key, in order."""

    def __post_init__(self):
        self.owner = {turn: plan for plan in self.plans.values() for turn in plan.taken}
        self.finals = {part["reply_to"] for part in self.emitted if part["is_final"]}
        self.parts = Counter(part["reply_to"] for part in self.emitted)
        self.holders = {
            item["accepted_message_id"]: number
            for number, item in self.items.items()
            if "accepted_message_id" in item
        }

    def explain(self, number):
        """Why the message's state is what it is; an AssertionError where nothing explains it."""
        plan, item = self.plans[number], self.items[number]
        assert len(plan.taken) <= 1, "sent twice"
        own = plan.taken[0] if plan.taken else None
        known = item.get("accepted_message_id")
        match item["state"]:
            case "parked" if item["reason"].startswith("tried for "):
                return "its time was up" + (" while nobody knew that the bot had it" if own else "")
            case "parked":
                assert own is None
                assert KINDS[plan.kind][2] in item["reason"]
                return item["reason"].partition(":")[0]
            case "answered" if item.get("indirect"):
                assert known != own or own not in self.finals
                first = self.plans[self.holders[item["answered_by"]]].queued
                assert first.group == plan.queued.group
                assert first.sequence_number < plan.queued.sequence_number
                return "taken for merged into an earlier message's turn"
            case "answered":
                assert item["answered_by"] == known
                assert known in self.finals
                if known == own:
                    return "by its own reply"
                assert self.owner[known].queued.group == plan.queued.group
                return "by the reply of another message, for both ids were lost"
            case "delivered":
                assert plan.kind == "silence, and expects no reply"
                return "expects no reply"
            case "unanswered" if own is None:
                assert item["last_error"] == "no reply"
                assert any(
                    answered[0] in (400, 503) and 409 in answered
                    for used, answered in self.posts.items()
                    if used.startswith(plan.queued.message_id + ".")
                )
                return "refused, and its function died before that was written down"
            case "unanswered" if own in self.finals:
                assert known is None
                assert self.holders.get(own, number) != number
                return "another message whose id was lost took its reply"
            case "unanswered":
                parts = self.parts[own] if known else 0
                broke_off = f"the reply broke off after {parts} parts"
                assert item["last_error"] == (broke_off if parts else "no reply")
                return item["last_error"]
        raise AssertionError("it has not come to an end")


@pytest.mark.timeout(400)
def test_each_of_1000_messages_comes_to_an_end_that_has_its_reason(deployed, request, monkeypatch):
    draw, clock, line = random.Random(SEED), Clock(), Line()
    with ExitStack() as ends:
        talks = [ends.enter_context(new_bot(deployed, Bot)) for _ in range(BOTS)]
        plans = plan_all(draw, talks)
        for talk in talks:
            talk.bot.plans = plans
        deployed.local.connect("http://127.0.0.1:9", IN, OUT, bot="down")
        bots = [talk.name for talk in talks]
        monkeypatch.setattr("relay.edge.ledger.Ledger.bots", lambda _: [*bots, "down"])

        def function():
            courier = request.getfixturevalue("courier")
            ledger = courier.ledger
            gate = Gate(ledger._dynamodb, ledger._table, 50, 60, clock)
            sender = replace(courier.sender, gate=gate, clock=clock)
            changes = {"queues": line, "retry_for": 60, "answer_deadline": 60, "clock": clock}
            return replace(courier, sender=sender, ledger=Deliveries(ledger), **changes)

        couriers = [function(), function()]
        ledger, replies = couriers[0].ledger, couriers[0].replies
        began = time.monotonic()
        deaths = run(draw, clock, line, couriers, [plan.queued for plan in plans.values()])
        print(f"\n{MESSAGES} messages off the queue within {time.monotonic() - began:.0f} s, {deaths} deaths")

        def all_kept():
            time.sleep(1)
            emitted = [part for talk in talks for part in talk.bot.emitted]
            kept = [part for part in scan(deployed, deployed.stack.replies_table) if part["bot"] in bots]
            return (emitted, kept) if len(emitted) == len(kept) else None

        emitted, kept = eventually(all_kept, within=90, what="all parts")
        for part in sorted(kept, key=lambda part: part["part"]):
            if part["is_final"]:  # as its last look would, ten minutes from now
                Settler(ledger, replies, None, 900).settle(Final.of(part), len(SECOND_LOOKS))
        clock.ahead += 3600
        Sweeper(ledger, replies, couriers[0].sender, 0, 60, clock).sweep(lambda: 60)

        posts = defaultdict(list)
        for talk in talks:
            assert talk.bot.dropped == []
            for post in talk.bot.received:
                posts[post.headers["x-lb-idempotency-key"]].append(post.status)
        items = {number: ledger.read(ledger_key(plan.queued)) for number, plan in plans.items()}

    truth = Truth(plans, items, emitted, posts)
    ends, unexplained = Counter(), {}
    for number, item in items.items():
        try:
            ends[item["state"], truth.explain(number)] += 1
        except AssertionError as error:
            unexplained[number] = (plans[number], item, str(error))
    for (state, why), messages in sorted(ends.items()):
        print(f"{messages:5}  {state}: {why}")
    assert unexplained == {}
    assert sum(ends.values()) == MESSAGES
    parked = {plans[n].queued.message_id for n, item in items.items() if item["state"] == "parked"}
    assert parked == line.parked
    assert deaths > 10
