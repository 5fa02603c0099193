"""Scenarios: which messages settle marks, and which it resends, when it dies, and when LangBot is silent."""

from typing import Any

import pytest

from relay import MessageParked
from relay.domain.admission import MERGED_SLOT_TIMEOUT
from relay.domain.timestamps import unix_seconds
from relay.metrics import Metric
from simulation.faults import Fault, Trouble
from simulation.model_dynamodb import MAX_ITEM_BYTES
from simulation.model_langbot import Turn
from simulation.planned_world import (
    BAD_GATEWAY,
    BOT,
    BREAKS_OFF,
    LOST,
    OVERLOADED,
    SILENCE,
    UNREADABLE,
    PlannedWorld,
    When,
    deaths,
    part_body,
    planned_world,
)
from simulation.template_facts import properties

DEADLINE = 900
SLOW = Turn(thinks=5)
either = pytest.mark.parametrize("when", ["before", "after"])


# ---------------------------------------------------------------- settle dies


@either
def test_merged_messages_are_answered_wherever_settle_dies(when: When) -> None:
    for world, die in deaths("settle", when, effects=7):
        world.always(Trouble.ODD_TURNS)
        first, merged = world.say(turn=SLOW), world.say()
        world.run(3)
        world.always()
        begun = world.say(turn=Turn(replies=(3,), pauses=2))
        die()
        world.end()
        kinds = [world.record(sent).get("answer_kind") for sent in (first, merged, begun)]
        assert kinds == ["own", "merged", "own"]


@either
def test_a_message_without_an_id_is_identified_wherever_settle_dies(when: When) -> None:
    for world, die in deaths("settle", when, effects=10):
        world.responds(LOST)
        die()
        hello = world.say()
        world.end()
        assert world.record(hello)["answered_by"] == world.accepted()[0].id


@either
def test_a_reply_that_is_faster_than_its_record_is_found_wherever_settle_dies(when: When) -> None:
    for world, die in deaths("settle", when, effects=10):
        world.fails(Fault.DENIED, "dynamodb.put_item", by="push", times=2)
        die()
        hello = world.say()
        world.end()
        assert world.state(hello) == "answered"


@either
def test_overdue_messages_come_to_their_ends_wherever_settle_dies(when: When) -> None:
    for world, die in deaths("settle", when, effects=20):
        silent = world.say(session="silent", turn=SILENCE)
        broken = world.say(session="broken", turn=BREAKS_OFF)
        unmarked = world.say(session="unmarked", turn=Turn(replies=(2,), kind="unmarked"))
        world.run(DEADLINE + 3)
        die()
        world.end()
        assert (world.state(silent), world.record(silent)["last_error"]) == ("unanswered", "no reply")
        assert world.record(broken)["last_error"] == "the reply broke off after 4 parts"
        assert world.record(unmarked)["answer_kind"] == "unfinished"


@either
def test_a_silent_message_is_resent_once_wherever_settle_dies(when: When) -> None:
    for world, die in deaths("settle", when, effects=9, max_resends=1):
        hello = world.say(turn=SILENCE)
        world.run(DEADLINE + 3)
        die()
        world.end()
        assert world.state(hello) == "resent"
        assert world.state(world.successor(hello)) == "unanswered"
        assert world.statuses == [202, 202]


# ---------------------------------------------------------------- silent messages


def silent_once(world: PlannedWorld, text: str = "hello") -> Any:
    """Say something that LangBot ignores, and answers when it comes again."""
    sent = world.say(text, turn=SILENCE)
    world.run(5)
    world.langbot.turns.clear()
    return sent


def test_a_silent_message_is_resent_with_a_fresh_key_and_its_reader_gets_the_reply() -> None:
    with planned_world(max_resends=1) as world:
        hello = silent_once(world)
        world.end()
        assert world.state(hello) == "resent"
        resend = world.record(world.successor(hello))
        assert (resend["state"], resend["resends"]) == ("answered", 1)
        assert len(world.logged("resent")) == 1
        assert resend["original_message_id"] == hello.message_id
        assert len(world.keys) == 2
        assert world.reply_to(hello) == f"REPLY {resend['accepted_message_id']} 0: word0"


def test_a_silent_message_is_unanswered_after_max_resends() -> None:
    with planned_world(max_resends=2) as world:
        hello = world.say(turn=SILENCE)
        world.end()
        last = world.successor(world.successor(hello))
        assert world.state(last) == "unanswered"
        assert len(world.keys) == len(world.posts) == 3


def test_nothing_is_resent_by_default() -> None:
    with planned_world() as world:
        hello = world.say(turn=SILENCE)
        world.end()
        assert world.state(hello) == "unanswered"
        assert len(world.posts) == 1
        assert world.metrics(Metric.UNANSWERED) == [({"bot": BOT}, 1)]


def test_a_message_whose_reply_broke_off_is_not_resent() -> None:
    with planned_world(max_resends=1) as world:
        hello = world.say(turn=BREAKS_OFF)
        world.end()
        assert world.state(hello) == "unanswered"
        assert len(world.posts) == 1


def test_the_silent_messages_of_a_session_are_resent_in_order() -> None:
    with planned_world(max_resends=1) as world:
        for text in ("first", "second", "third"):
            world.say(text, turn=SILENCE)
        world.end()
        assert world.texts == ["first", "second", "third"] * 2


def test_no_resend_overtakes_one_that_its_bot_refused() -> None:
    with planned_world(max_resends=1) as world:
        for text in ("first", "second"):
            world.say(text, turn=SILENCE)
        world.run(DEADLINE - 10)
        world.responds(OVERLOADED)
        world.end()
        assert world.texts[2:] == ["first", "first", "second"]
        # The key of the one that was refused is used up.
        assert len(world.keys) == 5


def test_a_late_reply_answers_a_message_that_was_resent() -> None:
    with planned_world(max_resends=1, answer_deadline=60) as world:
        hello = world.say(turn=Turn(thinks=150))
        world.end()
        record = world.record(hello)
        assert (record["state"], record["answered_by"]) == ("answered", world.accepted()[0].id)
        assert world.reply_to(hello).startswith(f"REPLY {world.accepted()[0].id}")


def test_a_late_reply_takes_a_resend_off_the_queue_that_was_not_sent_yet() -> None:
    with planned_world(max_resends=1, answer_deadline=60) as world:
        hello = world.say(turn=Turn(thinks=150))
        world.run(100)
        world.responds(*[BAD_GATEWAY] * 6)
        next_one = world.say()
        world.end()
        assert (world.state(hello), world.state(next_one)) == ("answered", "answered")
        assert world.record(world.successor(hello))["drop_reason"] == "the original message is answered"
        assert len(world.accepted()) == 2


def test_a_resend_that_its_bot_never_takes_is_parked() -> None:
    with planned_world(max_resends=1, retry_for=300) as world:
        hello = world.say(turn=SILENCE)
        world.run(DEADLINE - 10)
        world.responds(*[BAD_GATEWAY] * 20)
        world.end()
        assert world.state(world.successor(hello)) == "parked"
        with pytest.raises(MessageParked, match="at last answered 502"):
            world.reply_to(hello)


def test_a_resend_that_its_bot_refuses_for_good_is_parked() -> None:
    with planned_world(max_resends=1) as world:
        hello = world.say(turn=SILENCE)
        world.run(DEADLINE - 10)
        world.responds(UNREADABLE)
        world.end()
        assert world.record(world.successor(hello))["reason"] == "answered 400: failed to parse message: x"


def test_a_message_too_large_for_its_record_is_resent() -> None:
    with planned_world(max_resends=1) as world:
        hello = silent_once(world, "x" * MAX_ITEM_BYTES)
        world.end()
        assert world.state(world.successor(hello)) == "answered"
        assert len(set(world.texts)) == 1
        assert len(world.texts) == 2


def test_settle_begins_nothing_that_it_has_no_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with planned_world() as world:
        hello = world.say(turn=SILENCE)
        world.run(DEADLINE - 10)
        monkeypatch.setitem(properties("SettleFunction"), "Timeout", 10)
        world.run(130)
        assert world.state(hello) == "delivered"
        monkeypatch.undo()
        world.end()
        assert world.state(hello) == "unanswered"


def test_a_message_that_cannot_be_read_does_not_hold_up_the_others() -> None:
    with planned_world() as world:
        bad, good = (world.say(session=session, turn=SILENCE) for session in ("bad", "good"))
        world.run(DEADLINE - 10)
        world.fails(Fault.DENIED, "dynamodb.get_item", by="settle", times=1)
        world.run(70)
        assert sorted(map(world.state, (bad, good))) == ["delivered", "unanswered"]
        world.end()
        assert [world.state(bad), world.state(good)] == ["unanswered"] * 2


def test_a_silent_message_is_unanswered_in_a_session_that_had_a_reply_before() -> None:
    with planned_world() as world:
        world.say()
        world.run(3600)
        silent = world.say(turn=SILENCE)
        world.end()
        assert (world.state(silent), world.record(silent)["last_error"]) == ("unanswered", "no reply")


def test_a_turn_that_no_message_began_does_not_answer_a_message_with_an_id() -> None:
    with planned_world() as world:
        silent = world.say(turn=SILENCE)
        world.run(5)
        assert world.post(part_body(world, reply_to="in_test_console")) == 200
        world.end()
        assert world.state(silent) == "unanswered"


def test_a_message_that_is_identified_at_its_deadline_is_not_resent() -> None:
    with planned_world(max_resends=1) as world:
        world.responds(LOST)
        hello = world.say()
        world.fails(Fault.DENIED, "dynamodb", by="settle")
        world.run(DEADLINE + 20)
        world.works()
        world.end()
        assert world.record(hello)["answered_by"] == world.accepted()[0].id
        assert world.calls("settle", "sqs.send_message") == 0


# ---------------------------------------------------------------- merged messages


def test_a_message_that_looks_merged_keeps_its_slot_for_a_while() -> None:
    with planned_world() as world:
        world.always(Trouble.ODD_TURNS)
        sent = [world.say(turn=SLOW) for _ in range(3)]
        world.run(10)
        assert [world.state(one) for one in sent] == ["answered"] * 3
        assert world.in_flight() == 2
        world.run(MERGED_SLOT_TIMEOUT)
        assert world.in_flight() == 0
        world.end()
        for one in sent[1:]:
            record = world.record(one)
            assert (record["state"], record["answer_kind"]) == ("answered", "merged")
            assert not {"awaiting", "due_at"} & record.keys()
        assert len(world.posts) == 3


def test_a_message_that_looked_merged_is_answered_by_its_own_turn() -> None:
    with planned_world() as world:
        first = world.say(turn=SLOW)
        world.run(1)
        second = world.say(turn=Turn(thinks=20))
        world.run(14)
        assert world.record(second)["answer_kind"] == "merged"
        world.end()
        assert [world.record(sent)["answer_kind"] for sent in (first, second)] == ["own", "own"]


def test_a_merged_message_keeps_its_slot_from_the_end_of_the_last_turn_before_it() -> None:
    with planned_world() as world:
        first, second = world.say(turn=SLOW), world.say(turn=Turn(thinks=20))
        world.run(1)
        world.always(Trouble.ODD_TURNS)
        third = world.say()
        world.run(10)
        assert world.record(third)["answered_by"] == world.record(first)["answered_by"]
        world.run(20)
        record = world.record(third)
        assert (record["answered_by"], record["answer_kind"]) == (world.accepted()[1].id, "merged")
        ended = unix_seconds(world.record(second)["answered_at"])
        world.run(ended + MERGED_SLOT_TIMEOUT - 2 - world.world.now)
        assert world.in_flight() == 1
        world.run(4)
        assert world.in_flight() == 0


@pytest.mark.parametrize("turned", [False, True])
def test_turns_that_settle_in_another_order_give_the_same(turned: bool) -> None:
    with planned_world() as world:
        first, second = world.say(turn=SLOW), world.say(turn=Turn(thinks=5))
        world.run(1)
        world.always(Trouble.ODD_TURNS)
        third = world.say()
        if turned:
            # The first final part goes over SpillQueue, so it is stored last.
            world.fails(Fault.DENIED, "dynamodb.put_item", by="callback", times=1)
        world.end()
        assert world.calls("callback", "sqs.send_message") == turned
        kinds = [world.record(sent)["answer_kind"] for sent in (first, second, third)]
        assert kinds == ["own", "own", "merged"]
        assert world.record(third)["answered_by"] == world.accepted()[1].id


def test_a_reply_counts_that_came_long_before_its_message_was_delivered() -> None:
    with planned_world() as world:
        world.responds(LOST, *[BAD_GATEWAY] * 9)
        hello = world.say()
        world.end()
        record = world.record(hello)
        assert unix_seconds(record["delivered_at"]) - unix_seconds(record["answered_at"]) > 300
        assert record["answered_by"] == world.accepted()[0].id


# ---------------------------------------------------------------- settle cannot look at the triggers


def test_messages_come_to_their_ends_if_the_triggers_cannot_be_listed() -> None:
    with planned_world() as world:
        world.fails(Fault.DENIED, "lambda.list_event_source_mappings")
        silent = world.say(turn=SILENCE)
        world.end()
        assert world.state(silent) == "unanswered"
        assert world.logged("the triggers could not be looked at")
        assert {value for _, value in world.metrics(Metric.STOPPED_TRIGGERS)} == {1}


def test_each_minute_without_a_trouble_costs_no_metric() -> None:
    with planned_world() as world:
        world.say()
        world.end()
        assert world.metrics(Metric.DELIVERED)
        assert not world.metrics(Metric.PARKED_MESSAGES)
        assert not world.metrics(Metric.STOPPED_TRIGGERS)


# ---------------------------------------------------------------- publish cannot read


def test_an_event_whose_turn_cannot_be_read_for_a_while_is_logged_and_published() -> None:
    with planned_world() as world:
        world.fails(Fault.DENIED, "dynamodb.query", by="publish", times=1)
        world.say()
        world.end()
        assert len(world.logged("a change cannot be read and is tried again")) == 1
