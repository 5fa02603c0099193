"""If settle or sweep dies at any of its calls, the next run completes what is left."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from sweep.sweeper import Sweeper

from local.sample_bot import Answer
from relay.domain.timestamps import unix_seconds, utc_text
from settle.settler import Settler
from support.callbacks import reply
from support.deaths import Died, Life
from support.queued_messages import again, deliver, queued
from support.waiting import eventually
from support.workers import Rechecks, final_part

pytestmark = pytest.mark.usefixtures("only_this_bot")


@dataclass
class Scene:
    """`run` does one run of the worker; `records` gives the records of the messages, in order."""

    worker: Settler | Sweeper
    run: Callable[[Any], object]
    records: Callable[[], list[Any]]


def delivered(workers, *messages):
    """Deliver messages, those that fail once more a little later; return their records."""
    kept = deliver(workers.dispatcher(), *messages)
    if kept:
        left = [again(message) for message in messages if message.message_id in kept]
        assert deliver(workers.at(time.time() + 5).dispatcher(), *left) == []
    return workers.records(*messages)


def swept(workers, *messages, max_resends=0):
    return Scene(
        workers.sweeper(max_resends),
        lambda sweeper: sweeper.sweep(lambda: 60),
        lambda: workers.records(*messages),
    )


def merged(talk, workers):
    """Three messages: the first is answered, the second merged, the third has begun its own turn."""
    messages = [queued(talk, "SILENT") for _ in range(3)]
    first, _, begun = delivered(workers, *messages)
    stamp = utc_text(unix_seconds(begun["delivered_at"]) + 1).removesuffix("Z")
    reply(talk, begun["accepted_message_id"], final=False, timestamp=stamp)
    final = final_part(talk, first["accepted_message_id"], time.time() + 2)
    return Scene(workers.settler(), lambda settler: settler.settle(final), lambda: workers.records(*messages))


def claimed(talk, workers):
    """A message whose id is not known, and the final part of a turn that no known message began."""
    talk.bot.answer_with(Answer(drop=True, takes="message"))
    message = queued(talk, "SILENT")
    (record,) = delivered(workers, message)
    assert "accepted_message_id" not in record
    final = final_part(talk, "in_unknown", time.time() + 2)
    return Scene(
        workers.settler(), lambda settler: settler.settle(final, 1), lambda: workers.records(message)
    )


def too_early(talk, workers):
    """A final part that comes before the record of its message."""
    rechecks = Rechecks()
    settler = workers.settler(rechecks)
    message, final = queued(talk, "SILENT"), final_part(talk, "in_early", time.time() + 2)

    def records():
        talk.bot.answer_with(Answer(202, {"data": {"accepted_message_id": "in_early"}}))
        delivered(workers, message)
        for entry in rechecks.entries:
            settler.settle(*entry)
        return workers.records(message)

    return Scene(settler, lambda settler: settler.settle(final), records)


def make_overdue(workers, record):
    workers.overwrite(record | {"due_at": utc_text(time.time() - 1)})


def overdue(talk, workers):
    """Three overdue messages: without a reply, with one that broke off, with one that has no final part."""
    messages = [queued(talk, "SILENT") for _ in range(3)]
    silent, broken, unfinished = delivered(workers, *messages)
    reply(talk, broken["accepted_message_id"], final=False)
    reply(talk, broken["accepted_message_id"], final=False, text="Failed.", sequence=2)
    reply(talk, unfinished["accepted_message_id"], final=False)
    for record in (silent, broken, unfinished):
        make_overdue(workers, record)
    return swept(workers, *messages)


def missed(talk, workers):
    """An overdue message whose reply is complete."""
    message = queued(talk)
    (record,) = delivered(workers, message)
    eventually(lambda: workers.record(message)["state"] == "answered")
    for name in ("answered_at", "answered_by"):
        record.pop(name, None)
    make_overdue(workers, record | {"state": "delivered", "awaiting": talk.name})
    return swept(workers, message)


def resent(talk, workers):
    """An overdue message without a reply, which is sent again."""
    message = queued(talk, "SILENT")
    make_overdue(workers, *delivered(workers, message))
    scene = swept(workers, message, max_resends=1)

    def records():
        posted = [request for request in talk.bot.received if talk.session.encode() in request.body]
        assert [request.status for request in posted].count(202) == 2
        return workers.records(message)

    return replace(scene, records=records)


BROKE_OFF = "the reply broke off after 2 parts"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("scene", "calls", "outcome"),
    [
        (merged, 5, [("answered", None), ("answered", True), ("delivered", None)]),
        (claimed, 4, [("answered", None)]),
        (too_early, 2, [("answered", None)]),
        (overdue, 12, [("unanswered", "no reply"), ("unanswered", BROKE_OFF), ("answered", None)]),
        (missed, 5, [("answered", None)]),
        (resent, 7, [("delivered", None)]),
    ],
)
def test_the_next_run_completes_what_a_dead_function_left(talk, workers, scene, calls, outcome, when):
    for died_at in count(1):
        played = scene(replace(talk, session=f"s-{uuid4().hex[:8]}"), workers)
        died = False
        try:
            played.run(Life(died_at, when).of(played.worker))
        except Died:
            died = True
        played.run(played.worker)
        states = [
            (record["state"], record.get("indirect", record.get("last_error"))) for record in played.records()
        ]
        assert states == outcome, f"died {when} call {died_at}"
        if not died:
            break
    assert died_at > calls
