"""Scenarios: what becomes of messages when push dies, and when LangBot or AWS fails."""

import json
import re
from dataclasses import replace
from itertools import pairwise

import pytest

from relay.adapters.admission_control import AdmissionControl
from relay.adapters.bot_registry import BotRegistry
from relay.adapters.langbot import LangBotClient
from relay.domain.admission import LEASES
from relay.metrics import Metric
from simulation.faults import SHORT_RETENTION, Fault, Trouble
from simulation.model_dynamodb import MAX_ITEM_BYTES
from simulation.model_langbot import Turn
from simulation.planned_world import (
    BAD_GATEWAY,
    BOT,
    OVERLOADED,
    SILENCE,
    TOO_MANY,
    UNREADABLE,
    USUAL,
    Response,
    When,
    deaths,
    planned_world,
)
from simulation.template_facts import properties

WORDS = "PRIVATE words"
either = pytest.mark.parametrize("when", ["before", "after"])


# ---------------------------------------------------------------- push dies


@either
def test_a_message_is_delivered_once_wherever_push_dies(when: When) -> None:
    for world, die in deaths("push", when, effects=6):
        die()
        hello = world.say()
        world.end()
        assert world.state(hello) == "answered"
        assert world.statuses.count(202) == 1


@either
def test_a_message_that_fails_is_delivered_once_wherever_push_dies(when: When) -> None:
    for world, die in deaths("push", when, effects=8):
        die()
        world.responds(Response(502, takes="message"))
        hello = world.say()
        world.end()
        assert world.state(hello) == "answered"
        assert len(world.parts()) == 1


@either
def test_an_invalid_message_is_parked_wherever_push_dies(when: When) -> None:
    for world, die in deaths("push", when, effects=1):
        die()
        invalid = world.queue(f'{{"bot": "{BOT}", "session_id": "s"}}', BOT, "s")
        world.end()
        assert world.record(invalid)["reason"] == "give either message or text"


@either
def test_a_message_is_resent_once_wherever_push_dies(when: When) -> None:
    for world, die in deaths("push", when, effects=6):
        world.responds(UNREADABLE)
        original = world.say()
        world.run(1)
        die()
        resend = world.resend(original)
        world.end()
        assert resend
        assert (world.state(original), world.state(resend)) == ("resent", "answered")
        assert world.statuses.count(202) == 1


def test_a_sync_reply_is_stored_once_if_push_dies_before_the_record() -> None:
    with planned_world() as world:
        world.dies("push", "before", "dynamodb.put_item", nth=2)
        hello = world.say(action="sync")
        world.end()
        assert len(world.parts()) == 1
        assert world.state(hello) == "answered"


def test_a_message_is_delivered_once_if_push_dies_after_a_refusal() -> None:
    with planned_world() as world:
        world.responds(TOO_MANY, USUAL, TOO_MANY)
        hello = world.say()
        world.run(1)
        world.dies("push", "after", "langbot.post")
        world.end()
        assert world.statuses.count(202) == 1
        assert world.state(hello) == "answered"


# ---------------------------------------------------------------- SQS delivers twice


def test_a_late_copy_of_a_message_that_was_refused_is_not_accepted_twice() -> None:
    with planned_world() as world:
        world.responds(TOO_MANY)
        hello = world.say()
        world.run(10)
        assert world.statuses == [429, 202]
        world.deliver_copy(hello)
        world.end()
        assert world.statuses == [429, 202, 409]


@pytest.mark.parametrize("late", [0, 1])
def test_a_late_copy_of_a_message_does_not_give_back_a_key_that_was_used_up(late: float) -> None:
    with planned_world() as world:
        world.responds(replace(OVERLOADED, late=0.8), replace(USUAL, late=late))
        hello = world.say()
        world.run(0.5)
        stays = world.deliver_copy(hello)
        world.run(1.5)
        assert stays()
        world.end()
        assert world.statuses == [503, 409, 202]
        assert world.state(hello) == "answered"


def test_two_deliveries_of_a_refused_message_do_not_make_it_delivered() -> None:
    with planned_world() as world:
        world.responds(replace(OVERLOADED, late=0.8), replace(USUAL, late=1))
        hello = world.say()
        world.run(0.5)
        # It has read that there is no record, before the other delivery writes it.
        world.deliver_copy(hello, receives=2)
        world.end()
        assert world.statuses == [503, 409, 202]
        assert world.state(hello) == "answered"


@pytest.mark.parametrize(("receives", "statuses"), [(1, [202, 409]), (2, [202])])
def test_a_copy_of_a_delivered_message_changes_nothing(receives: int, statuses: list[int]) -> None:
    with planned_world() as world:
        hello = world.say(turn=SILENCE)
        world.run(1)
        before = world.record(hello)
        stays = world.deliver_copy(hello, receives)
        world.run(1)
        assert not stays()
        assert world.record(hello) == before
        assert world.statuses == statuses


# ---------------------------------------------------------------- LangBot fails


def test_a_key_that_is_used_up_is_remembered_from_one_attempt_to_the_next() -> None:
    with planned_world() as world:
        world.responds(OVERLOADED)
        hello = world.say()
        world.end()
        assert len(world.keys) == 2
        assert world.record(hello)["accepted_message_id"] == world.accepted()[0].id


def test_a_message_is_parked_once_its_time_is_up_and_not_before() -> None:
    with planned_world(retry_for=3600) as world:
        world.responds(*[BAD_GATEWAY] * 100)
        hello = world.say()
        world.run(3590)
        assert world.state(hello) == "retrying"
        assert world.metrics(Metric.PARKED) == []
        world.run(80)
        record = world.record(hello)
        assert record["state"] == "parked"
        tried = re.fullmatch(r"tried for (36\d\d) s, (\d+) times; at last answered 502", record["reason"])
        assert tried
        assert int(tried[2]) == record["attempts"]
        assert world.metrics(Metric.PARKED) == [({"bot": BOT}, 1)]
        assert len(world.posts) == record["attempts"]


def test_a_bot_that_fails_is_probed_at_growing_intervals() -> None:
    with planned_world() as world:
        world.responds(*[BAD_GATEWAY] * 9)
        for n in range(6):
            world.say(session=f"s{n}")
        world.end()
        began = [post.began for post in world.posts]
        at_once = sum(moment - began[0] < 1.5 for moment in began)
        waits = [round(later - earlier) for earlier, later in pairwise(began[at_once - 1 :])]
        assert at_once <= 4
        assert waits[:5] == sorted(waits[:5])


def test_a_bot_that_is_down_does_not_hold_up_another_bot() -> None:
    with planned_world(releases=("4.11.2", "4.11.2")) as world:
        world.responds(*[BAD_GATEWAY] * 20)
        for n in range(10):
            world.say(session=f"s{n}")
        world.run(2)
        others = [world.say(session=f"o{n}", bot="bot1") for n in range(10)]
        world.run(5)
        assert {world.state(other) for other in others} == {"answered"}


def test_a_full_bot_gets_all_in_order_and_does_not_hold_up_another_bot() -> None:
    with planned_world(releases=("4.11.2", "4.11.2"), max_in_flight=5) as world:
        for n in range(40):
            world.say(f"{n:02}", session=f"s{n % 10}", turn=Turn(thinks=20 + n % 7))
        world.run(10)
        assert 5 <= len(world.accepted()) <= 5 + LEASES
        other = world.say(session="other", bot="bot1")
        world.run(5)
        assert world.state(other) == "answered"
        world.end()
        assert world.statuses == [202] * 40
        in_order = sorted(world.texts, key=lambda text: int(text) % 10)
        assert in_order == [f"{n:02}" for last in range(10) for n in range(last, 40, 10)]


def test_a_message_that_merely_waited_is_not_parked() -> None:
    with planned_world(retry_for=300) as world:
        world.responds(*[BAD_GATEWAY] * 12)
        first, second = world.say(), world.say()
        world.end()
        assert world.state(first) == "parked"
        assert world.state(second) == "answered"


def test_an_old_message_is_parked_before_the_queue_deletes_it() -> None:
    with planned_world(retry_for=14 * 86_400, queue_retention=SHORT_RETENTION) as world:
        world.responds(*[BAD_GATEWAY] * 100)
        first = world.say(session="first")
        world.run(1)
        second = world.say(session="second")
        world.end()
        assert (world.state(first), world.state(second)) == ("parked", "parked")
        reasons = {world.record(first)["reason"][:9], world.record(second)["reason"][:9]}
        assert reasons <= {"tried for", "it could "}


def test_the_messages_behind_a_failed_one_stay_with_it() -> None:
    with planned_world() as world:
        world.responds(BAD_GATEWAY)
        for text in ("first", "second", "third"):
            world.say(text)
        world.end()
        assert world.texts == ["first", "first", "second", "third"]


def test_a_parked_message_does_not_hold_up_the_next() -> None:
    with planned_world() as world:
        world.responds(UNREADABLE)
        first, second = world.say(), world.say()
        world.run(5)
        assert (world.state(first), world.state(second)) == ("parked", "answered")


def test_a_session_that_hangs_does_not_hold_up_the_others() -> None:
    with planned_world() as world:
        world.responds(Response(502, late=60))
        world.say(session="hangs")
        world.run(0.5)
        other = world.say(session="other")
        world.run(5)
        assert world.state(other) == "answered"


# ---------------------------------------------------------------- AWS fails


@either
def test_a_message_whose_record_cannot_be_written_is_tried_again(when: When) -> None:
    fault = Fault.DENIED if when == "before" else Fault.RESPONSE_LOST
    with planned_world() as world:
        world.fails(fault, "dynamodb.put_item", by="push", times=1)
        hello = world.say()
        world.run(25)
        assert world.state(hello) in ("delivered", "answered")
        world.end()
        assert world.state(hello) == "answered"
        assert world.statuses.count(202) == 1


FIRST_CALLS: tuple[tuple[str, Fault, str], ...] = (
    ("secretsmanager", Fault.DENIED, "AccessDeniedException by get_secret_value"),
    ("secretsmanager", Fault.HANGS, "ReadTimeoutError"),
    ("dynamodb.get_item", Fault.DENIED, "AccessDeniedException by get_item"),
)


@pytest.mark.parametrize(("call", "fault", "error"), FIRST_CALLS)
def test_an_error_of_aws_is_recorded_and_the_message_tried_again(call: str, fault: Fault, error: str) -> None:
    with planned_world() as world:
        world.fails(fault, call, by="push", times=1)
        hello = world.say()
        world.run(15)
        (entry, *_) = world.record(hello)["last_attempts"]
        assert (entry["verdict"], entry["error"]) == ("unknown", error)
        world.end()
        assert world.state(hello) == "answered"


@pytest.mark.parametrize(
    ("of", "method", "error"),
    [
        (BotRegistry, "get", KeyError),
        (LangBotClient, "post", ValueError),
        (AdmissionControl, "release", MemoryError),
    ],
)
def test_an_unforeseen_error_is_recorded_without_its_text(
    of: type, method: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error(WORDS)

    with planned_world() as world:
        world.expect(Trouble.SERVICES)
        monkeypatch.setattr(of, method, fail)
        hello = world.say()
        world.run(1)
        monkeypatch.undo()
        record = world.record(hello)
        assert (record["state"], record["last_error"], record["attempts"]) == ("retrying", error.__name__, 1)
        world.end()
        assert world.state(hello) == "answered"


def test_an_unforeseen_error_parks_the_message_when_its_time_is_up() -> None:
    with planned_world(retry_for=300) as world:
        world.fails(Fault.DENIED, "secretsmanager", by="push")
        hello = world.say()
        world.run(290)
        assert world.state(hello) == "retrying"
        world.end()
        assert world.record(hello)["reason"].endswith("at last AccessDeniedException by get_secret_value")


def test_an_error_before_the_record_is_read_does_not_overwrite_it() -> None:
    with planned_world() as world:
        world.responds(BAD_GATEWAY)
        hello = world.say()
        world.run(1)
        before = world.record(hello)
        world.fails(Fault.DENIED, "dynamodb.get_item", by="push", times=1)
        world.run(2)
        assert world.record(hello) == before
        world.end()
        assert world.record(hello)["attempts"] == 2


def test_a_secret_that_is_scheduled_for_deletion_is_no_bot() -> None:
    with planned_world() as world:
        world.set_secret(None)
        hello = world.say()
        world.end()
        assert world.record(hello)["reason"].startswith("no bot '")


@pytest.mark.parametrize(
    "url", ["https://[your-langbot-host]/bots/1", "http://[::1:5300/bots/1", "http://h:99999/"]
)
def test_an_unusable_url_is_seen_and_callbacks_are_verified(url: str) -> None:
    with planned_world() as world:
        world.expect(Trouble.SERVICES)
        world.change_secret(url=url)
        hello = world.say()
        world.run(1)
        assert "url must be an address" in world.record(hello)["last_error"]
        assert world.post(b'{"session_id": "s", "reply_to": "", "is_final": true, "message": []}') == 200
        world.change_secret()
        world.end()
        assert world.state(hello) == "answered"


@pytest.mark.parametrize("call", ["dynamodb.update_item", "dynamodb.get_item", "s3.get_object"])
def test_a_resend_that_failed_before_it_had_its_body_is_sent_later(call: str) -> None:
    with planned_world() as world:
        world.responds(UNREADABLE)
        original = world.say("x" * MAX_ITEM_BYTES)
        world.run(1)
        resend = world.resend(original)
        assert resend
        world.fails(Fault.DENIED, call, by="push", times=1)
        world.end()
        assert world.state(resend) == "answered"
        assert len(set(world.texts)) == 1
        assert len(world.texts) == 2


@pytest.mark.parametrize("left", [600, 2_000, 10_000, 20_000])
def test_a_record_that_is_nearly_full_can_still_change(left: int) -> None:
    with planned_world() as world:
        answered = world.say("x" * (MAX_ITEM_BYTES - left))
        world.run(1)
        world.responds(UNREADABLE)
        parked = world.say("y" * (MAX_ITEM_BYTES - left))
        world.run(1)
        world.drop(parked, "é" * MAX_ITEM_BYTES)
        world.end()
        assert world.state(answered) == "answered"
        assert world.state(parked) == "dropped"


def test_a_key_as_large_as_a_record_is_parked_with_a_short_reason() -> None:
    with planned_world() as world:
        large = world.queue(json.dumps({"k" * 900_000: "\ud800"}))
        world.end()
        assert world.state(large) == "parked"
        assert len(world.record(large)["reason"]) < 100


def test_a_message_for_which_there_is_no_time_left_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with planned_world() as world:
        monkeypatch.setitem(properties("PushFunction"), "Timeout", 5)
        hello = world.say()
        world.run(3)
        assert (world.posts, world.record(hello)) == ([], {})
        monkeypatch.undo()
        world.end()
        assert world.state(hello) == "answered"
