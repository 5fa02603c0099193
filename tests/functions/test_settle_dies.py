"""A settle or sweep that dies at any of its calls leaves what the next run makes good."""

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import count
from uuid import uuid4

import pytest
from batches import again, at, deliver, queued
from test_callback import body, post
from test_push_dies import Died

from conftest import eventually
from local.sample_bot import Answer
from relay.rules.ledger import from_utc, key
from relay.rules.message import parse
from relay.rules.part import utc
from relay.rules.settling import Final
from relay.send import Sender
from relay.settle import Settler
from relay.sweep import Sweeper


class Life:
    """Ends before or after the `calls`-th call of all the things that live it."""

    def __init__(self, calls, when):
        self.calls, self.when = calls, when

    def of(self, worker):
        """`worker` with its parts living this life."""
        parts = {field.name: getattr(worker, field.name) for field in fields(worker)}
        return replace(
            worker,
            **{
                name: self.of(part) if isinstance(part, Sender) else Mortal(part, self)
                for name, part in parts.items()
                if not isinstance(part, int) and not callable(part)
            },
        )


class Mortal:
    def __init__(self, thing, life):
        self._thing, self._life = thing, life

    def __getattr__(self, name):
        def method(*arguments, **named):
            self._life.calls -= 1
            last = self._life.calls == 0
            if self._life.calls < 0 or (last and self._life.when == "before"):
                raise Died
            answer = getattr(self._thing, name)(*arguments, **named)
            if last:
                raise Died
            return answer

        return method


class Looks:
    """What is to be looked at again."""

    def __init__(self):
        self.entries = []

    def look_again(self, final, looks, delay):
        self.entries.append((final, looks))


@pytest.fixture(autouse=True)
def alone(talk, monkeypatch):
    """The sweep sees the test's own bot and no other."""
    monkeypatch.setattr("relay.edge.ledger.Ledger.bots", lambda _: [talk.name])


@dataclass
class Scene:
    """`run` does one run of settle or sweep; `items` are the messages in the ledger, in order."""

    worker: Settler | Sweeper
    run: Callable
    items: Callable


def settler(courier):
    return Settler(ledger=courier.ledger, replies=courier.replies, unsettled=Looks(), answer_deadline=900)


def swept(courier, *messages, times=0):
    """A sweep of a stack that sends messages again so many `times`."""
    sweeper = Sweeper(courier.ledger, courier.replies, courier.sender, times, 900)
    return Scene(sweeper, lambda sweep: sweep.sweep(lambda: 60), lambda: items_of(courier, *messages))


def delivered(courier, *messages):
    for message in messages:
        if deliver(at(courier, time.time()), message):
            assert deliver(at(courier, time.time() + 5), again(message)) == []
    return items_of(courier, *messages)


def items_of(courier, *messages):
    return [courier.ledger.read(key(message, parse(message.body))) for message in messages]


def final(talk, reply_to):
    """The final part of a turn, which nobody but the test settles: it is not in the table."""
    later = utc(time.time() + 2)
    return Final(f"{talk.name}#{talk.session}", reply_to, later.removesuffix("Z"), later, later)


def merged(talk, courier):
    messages = [queued(talk, "SILENT") for _ in range(3)]
    first, _, begun = delivered(courier, *messages)
    stamp = utc(from_utc(begun["delivered_at"]) + 1).removesuffix("Z")
    raw = body(talk, reply_to=begun["accepted_message_id"], is_final=False, timestamp=stamp)
    assert post(talk, raw).status_code == 200
    part = final(talk, first["accepted_message_id"])
    return Scene(settler(courier), lambda settle: settle.settle(part), lambda: items_of(courier, *messages))


def claimed(talk, courier):
    talk.bot.answer_with(Answer(drop=True, takes="message"))
    message = queued(talk, "SILENT")
    (item,) = delivered(courier, message)
    assert "accepted_message_id" not in item
    part = final(talk, "in_nobodys")
    return Scene(settler(courier), lambda settle: settle.settle(part, 1), lambda: items_of(courier, message))


def too_early(talk, courier):
    message, part = queued(talk, "SILENT"), final(talk, "in_early")
    scene = Scene(settler(courier), lambda settle: settle.settle(part), None)

    def items():
        talk.bot.answer_with(Answer(202, {"data": {"accepted_message_id": "in_early"}}))
        delivered(courier, message)
        for entry in scene.worker.unsettled.entries:
            scene.worker.settle(*entry)
        return items_of(courier, message)

    scene.items = items
    return scene


def make_overdue(courier, item):
    courier.ledger.write(item | {"due_at": utc(time.time() - 1)})


def overdue(talk, courier):
    messages = [queued(talk, "SILENT") for _ in range(2)]
    silent, begun = delivered(courier, *messages)
    assert post(talk, body(talk, reply_to=begun["accepted_message_id"], is_final=False)).status_code == 200
    for item in (silent, begun):
        make_overdue(courier, item)
    return swept(courier, *messages)


def missed(talk, courier):
    message = queued(talk)
    (before,) = delivered(courier, message)
    eventually(lambda: items_of(courier, message)[0]["state"] == "answered")
    for name in ("answered_at", "answered_by"):
        before.pop(name, None)
    make_overdue(courier, before | {"state": "delivered", "awaiting": talk.name})
    return swept(courier, message)


def sent_again(talk, courier):
    message = queued(talk, "SILENT")
    make_overdue(courier, *delivered(courier, message))
    scene = swept(courier, message, times=1)

    def items():
        posted = [request for request in talk.bot.received if talk.session.encode() in request.body]
        assert [request.status for request in posted].count(202) == 2
        return items_of(courier, message)

    scene.items = items
    return scene


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("scene", "calls", "outcome"),
    [
        (merged, 5, [("answered", None), ("answered", True), ("delivered", None)]),
        (claimed, 4, [("answered", None)]),
        (too_early, 2, [("answered", None)]),
        (overdue, 8, [("unanswered", "no reply"), ("unanswered", "the reply broke off after 1 parts")]),
        (missed, 5, [("answered", None)]),
        (sent_again, 7, [("delivered", None)]),
    ],
)
def test_what_a_dead_function_left_undone_the_next_one_does(talk, courier, scene, calls, outcome, when):
    for died_at in count(1):
        played = scene(replace(talk, session=f"s-{uuid4().hex[:8]}"), courier)
        died = False
        try:
            played.run(Life(died_at, when).of(played.worker))
        except Died:
            died = True
        played.run(played.worker)
        states = [(i["state"], i.get("indirect", i.get("last_error"))) for i in played.items()]
        assert states == outcome, f"died {when} call {died_at}"
        if not died:
            break
    assert died_at > calls
