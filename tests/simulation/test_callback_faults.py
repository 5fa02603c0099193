"""Scenarios: no part is lost, taken twice or told of while AWS fails, or callback dies."""

import hashlib
import json

import pytest

from relay.adapters.bot_cache import CACHE_TTL
from relay.domain.timestamps import unix_seconds, utc_text
from relay.metrics import Metric
from simulation.faults import Fault, Trouble
from simulation.model_langbot import Turn
from simulation.planned_world import BOT, PlannedWorld, When, deaths, part_body, planned_world
from simulation.template_facts import properties

PUT, SEND, SECRET = "dynamodb.put_item", "sqs.send_message", "secretsmanager"

either = pytest.mark.parametrize("when", ["before", "after"])
any_way = pytest.mark.parametrize(
    "fault", [Fault.THROTTLED, Fault.BROKEN, Fault.DENIED, Fault.UNREACHABLE, Fault.HANGS]
)


def spilled(world: PlannedWorld) -> int:
    """Return how many parts callback has put on SpillQueue."""
    return world.calls("callback", SEND)


# ---------------------------------------------------------------- AWS fails


@any_way
def test_a_part_is_answered_200_and_stored_later_if_the_table_fails(fault: Fault) -> None:
    with planned_world() as world:
        world.fails(fault, PUT, by="callback")
        raw, now = part_body(world), world.world.now
        assert world.post(raw, signed_at=now - 7) == 200
        assert spilled(world) == 1
        assert world.metrics(Metric.SPILLED) == [({"bot": BOT}, 1)]
        (line,) = world.logged("spill queue")
        assert f"'bot': '{BOT}'" in line
        world.works()
        world.end()
        (stored,) = world.parts()
        assert stored["digest"] == hashlib.sha256(raw).hexdigest()
        assert (stored["sent_at"], stored["verified_with"]) == (utc_text(int(now) - 7), 0)
        assert now <= unix_seconds(stored["received_at"]) <= now + 0.5


def test_a_part_that_is_stored_does_not_touch_the_spill_queue() -> None:
    with planned_world() as world:
        assert world.post(part_body(world)) == 200
        assert (spilled(world), world.calls("callback", "s3")) == (0, 0)
        assert len(world.parts()) == 1


@any_way
def test_a_part_that_cannot_be_spilled_either_is_answered_503_and_kept_next_time(fault: Fault) -> None:
    with planned_world() as world:
        world.fails(fault, PUT, by="callback")
        world.fails(fault, SEND, by="callback")
        raw, now = part_body(world), world.world.now
        assert world.post(raw) == 503
        assert world.world.now < now + properties("CallbackFunction")["Timeout"]
        world.works()
        assert world.post(raw, signed_at=now) == 200
        assert len(world.parts()) == 1


def test_a_forged_part_is_answered_401_and_not_spilled() -> None:
    with planned_world() as world:
        world.fails(Fault.DENIED, PUT, by="callback")
        assert world.post(part_body(world, "FORGED"), secret="forged") == 401
        assert spilled(world) == 0
        assert world.metrics(Metric.SIGNATURE_REFUSED) == [({"reason": "signature_mismatch"}, 1)]


@pytest.mark.parametrize("raw", [b"{}", b"\xff\x00\xfe not text"])
def test_a_signed_body_that_is_no_part_is_spilled_and_quarantined(raw: bytes) -> None:
    with planned_world() as world:
        world.fails(Fault.DENIED, "s3", by="callback")
        assert world.post(raw) == 400
        world.works()
        world.end()
        assert world.objects(f"quarantine/{BOT}/") == [raw]


def test_a_signed_body_that_cannot_be_kept_or_spilled_is_answered_503() -> None:
    with planned_world() as world:
        world.fails(Fault.DENIED, "s3", by="callback")
        world.fails(Fault.DENIED, SEND, by="callback")
        assert world.post(b"{}") == 503


# A message of the queue holds 1 MiB: 786,432 bytes as base64, less some 130 for the other fields.
@pytest.mark.parametrize(("size", "in_bucket"), [(786_000, False), (786_432, True), (5_000_000, True)])
def test_a_part_of_any_size_is_spilled(size: int, in_bucket: bool) -> None:
    with planned_world() as world:
        world.fails(Fault.DENIED, PUT, by="callback")
        text = "x" * (size - len(part_body(world, "")))
        raw = part_body(world, text)
        assert world.post(raw) == 200
        world.works()
        world.end()
        assert world.objects(f"spill/{BOT}/") == ([raw] if in_bucket else [])
        assert world.parts()[0]["text"] == text


def test_a_part_too_large_for_the_queue_needs_the_bucket_to_be_spilled() -> None:
    with planned_world() as world:
        world.fails(Fault.DENIED, PUT, by="callback")
        world.fails(Fault.DENIED, "s3", by="callback")
        assert world.post(part_body(world, "x" * 800_000)) == 503


def test_a_part_too_large_for_the_table_is_spilled_if_the_bucket_refuses() -> None:
    with planned_world() as world:
        world.fails(Fault.DENIED, "s3", by="callback", times=1)
        assert world.post(part_body(world, "x" * 500_000)) == 200
        world.end()
        assert world.parts()[0]["text"] == "x" * 500_000


@any_way
def test_the_last_good_secret_stays_in_use_if_secrets_manager_fails(fault: Fault) -> None:
    with planned_world() as world:
        assert world.post(part_body(world)) == 200
        world.run(CACHE_TTL)
        before = world.calls("callback", SECRET)
        world.fails(fault, SECRET, by="callback")
        assert world.post(part_body(world, sequence=2)) == 200
        assert world.calls("callback", SECRET) > before
        for _ in range(2):
            # It cannot be told now whether the secret is a new one; LangBot tries again after a 503.
            assert world.post(part_body(world, "FORGED"), secret="forged") == 503
        assert len(world.parts()) == 2


def test_a_part_is_spilled_in_time_if_secrets_manager_and_the_table_hang() -> None:
    with planned_world() as world:
        assert world.post(part_body(world)) == 200
        world.run(CACHE_TTL)
        world.fails(Fault.HANGS, SECRET, by="callback")
        world.fails(Fault.HANGS, "dynamodb", by="callback")
        assert world.post(part_body(world, sequence=2)) == 200
        world.works()
        world.end()
        assert len(world.parts()) == 2


def test_the_parts_of_an_outage_are_stored_once_and_in_order() -> None:
    with planned_world() as world:
        sessions = [f"s{n}" for n in range(5)]
        sent = [world.say(session=session, turn=Turn(replies=(10,))) for session in sessions]
        world.fails(Fault.DENIED, PUT, by="callback")
        world.run(300)
        assert not any(map(world.parts, sessions))
        world.works()
        world.end()
        assert spilled(world) == 50
        assert [len(world.parts(session)) for session in sessions] == [10] * 5
        assert {world.state(one) for one in sent} == {"answered"}


def test_a_part_that_was_spilled_hours_ago_is_stored_with_its_own_times() -> None:
    with planned_world() as world:
        world.change_secret(timezone="Asia/Shanghai")
        emitted = world.world.now
        world.fails(Fault.DENIED, PUT, by="callback")
        stamp = utc_text(emitted + 8 * 3600).removesuffix("Z")
        assert world.post(part_body(world, timestamp=stamp)) == 200
        # The zone counts that the bot had then, whatever becomes of its secret.
        world.set_secret(None)
        world.run(5 * 3600)
        world.works()
        world.end()
        (stored,) = world.parts()
        assert stored["created_at"] == utc_text(emitted)
        assert stored["part"].startswith(utc_text(emitted).removesuffix("Z") + "#")
        assert unix_seconds(stored["received_at"]) < emitted + 1
        assert stored["expires_at"] == int(unix_seconds(stored["received_at"])) + 90 * 86_400


# ---------------------------------------------------------------- callback dies, SQS delivers twice


@either
def test_a_reply_is_stored_once_wherever_callback_dies(when: When) -> None:
    for world, die in deaths("callback", when, effects=4):
        die()
        hello = world.say(turn=Turn(replies=(3,)))
        world.end()
        assert world.state(hello) == "answered"
        assert len(world.parts()) == 3


@either
def test_a_part_whose_function_died_while_spilling_is_stored_once(when: When) -> None:
    with planned_world() as world:
        world.fails(Fault.DENIED, PUT, by="callback")
        world.dies("callback", when, SEND)
        raw = part_body(world)
        status = world.post(raw)
        assert status is None or status >= 500
        assert world.post(raw) == 200  # LangBot tries again
        world.works()
        world.end()
        assert world.post(raw) == 200
        assert len(world.parts()) == 1


@either
def test_a_spilled_part_whose_function_died_while_storing_is_stored_once(when: When) -> None:
    with planned_world() as world:
        world.fails(Fault.DENIED, PUT, by="callback", times=1)
        world.dies("callback", when, PUT)
        assert world.post(part_body(world)) == 200
        world.end()
        assert len(world.parts()) == 1


def test_a_spilled_part_that_comes_twice_is_stored_once() -> None:
    with planned_world() as world:
        world.fails(Fault.DENIED, PUT, by="callback", times=1)
        world.always(Trouble.DUPLICATES)
        assert world.post(part_body(world)) == 200
        world.run(700)
        world.always()
        world.end()
        assert len(world.parts()) == 1
        assert world.metrics(Metric.DUPLICATES)


def test_what_cannot_be_stored_of_a_batch_stays_in_the_queue() -> None:
    with planned_world() as world:
        queue = world.deployment.queues["SpillQueue"]
        world.fails(Fault.DENIED, PUT, by="callback", times=3)
        for sequence in (1, 2):
            assert world.post(part_body(world, sequence=sequence)) == 200
        good, lost = (message.body for message in queue.messages.values())
        queue.messages.clear()
        fields = json.loads(lost)
        del fields["raw"]
        bodies = [json.dumps(fields | {"raw_at": "spill/no-bot/gone"}), good, "not ours"]
        world.works()
        records = [{"messageId": str(n), "body": body} for n, body in enumerate(bodies)]
        response = world.invoke("callback", {"Records": records})
        assert [one["itemIdentifier"] for one in response["batchItemFailures"]] == ["0", "2"]
        assert [stored["sequence"] for stored in world.parts()] == [1]


def test_spilled_parts_stay_in_the_queue_while_the_table_refuses() -> None:
    with planned_world() as world:
        world.fails(Fault.DENIED, PUT, by="callback")
        for sequence in range(3):
            assert world.post(part_body(world, sequence=sequence)) == 200
        world.run(1000)
        assert (spilled(world), len(world.deployment.queues["SpillQueue"].messages)) == (3, 3)
        world.works()
        world.end()
        assert len(world.parts()) == 3
