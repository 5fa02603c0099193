"""Admission control on the deployed table; several of them are as many functions."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from local.sample_bot import OVERLOADED, Answer
from relay import BotAdmin, environment
from relay.adapters.dynamodb import Table
from relay.domain.admission import LEASES, MAX_CANCELLED, MAX_PAUSE, SLOT_TIMEOUT, Deferred
from relay.domain.attempt import Outcome, Verdict
from relay.domain.keys import BOTS
from relay.domain.timestamps import utc_text
from relay.errors import InvalidState
from support.api_calls import counted_calls
from support.queued_messages import deliver, queued

ACCEPTED = Outcome(Verdict.ACCEPTED)
SLOW = Outcome(Verdict.ACCEPTED, seconds=2)
FAILED = Outcome(Verdict.REFUSED, "answered 502")


class SteppedClock:
    def __init__(self):
        self.now = time.time() // 1  # the item has microseconds

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return SteppedClock()


@pytest.fixture
def new_control(workers, clock):
    """Makes admission control as each function has it, with so many slots."""
    return replace(workers, clock=clock).admission_control


@pytest.fixture
def table(deployed):
    return Table(deployed.client("dynamodb"), deployed.stack.messages_table)


def bot_item(table, talk):
    return table.get({"session": BOTS, "message": talk.name}) or {}


def put_awaiting(table, talk, number, delivered_at):
    """Put the record of a message that was delivered and waits for its reply."""
    due_at = utc_text(delivered_at + 900)
    key = {"session": f"{talk.name}#s", "message": str(number)}
    table.put(key | {"awaiting": talk.name, "due_at": due_at})


def admit(control, talk, needs_slot=True, is_sync=False, message_id="id"):
    return control.acquire(talk.name, message_id, needs_slot, max_duration=15, is_sync=is_sync)


def end(control, permit, outcome=ACCEPTED):
    """End the attempt of a permit, if it is one."""
    if not isinstance(permit, Deferred):
        control.release(permit, outcome)
    return permit


def admit_one(control, talk, needs_slot=True, outcome=ACCEPTED):
    """Admit a message and end its attempt."""
    return end(control, admit(control, talk, needs_slot), outcome)


def admitted(*results):
    return sum(not isinstance(result, Deferred) for result in results)


def test_functions_together_admit_no_more_than_there_are_slots(talk, new_control):
    controls = [new_control(5) for _ in range(4)]
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda n: admit_one(controls[n % 4], talk, outcome=SLOW), range(24)))
    assert admitted(*results) == 5
    assert {(r.full, r.seconds <= 1) for r in results if isinstance(r, Deferred)} == {(True, True)}


def test_the_only_slot_is_given_once(talk, new_control):
    assert admitted(*(admit_one(new_control(1), talk) for _ in range(2))) == 1


def test_messages_that_wait_for_a_reply_take_slots(talk, new_control, clock, table):
    for number in range(3):
        put_awaiting(table, talk, number, clock.now)
    assert admitted(*(admit(new_control(5), talk) for _ in range(5))) == 2


def test_a_slot_is_free_again_when_its_message_is_answered(talk, new_control, clock, table):
    put_awaiting(table, talk, 1, clock.now)
    control = new_control(1)
    assert admitted(admit(control, talk)) == 0
    table.update({"session": f"{talk.name}#s", "message": "1"}, "REMOVE awaiting, due_at", "", {})
    clock.now += 1
    assert admitted(admit(control, talk)) == 1


def test_an_unanswered_message_gives_its_slot_back_before_its_deadline(talk, new_control, clock, table):
    put_awaiting(table, talk, 1, clock.now - (SLOT_TIMEOUT - 1))
    assert admitted(admit(new_control(1), talk)) == 0
    clock.now += 2
    assert admitted(admit(new_control(1), talk)) == 1


def test_a_deadline_from_a_larger_parameter_takes_no_slot(talk, new_control, clock, table):
    put_awaiting(table, talk, 1, clock.now + 3600)
    assert admitted(admit(new_control(1), talk)) == 1


def test_messages_admitted_just_before_count_though_the_index_lags(talk, new_control, clock):
    control = new_control(3)
    assert admitted(admit(control, talk), admit(control, talk)) == 2
    clock.now += 1
    assert admitted(*(admit(control, talk) for _ in range(3))) == 1


def test_a_count_subtracts_what_another_function_has_just_admitted(talk, new_control, clock):
    control, other = new_control(3), new_control(3)
    assert admitted(admit_one(control, talk)) == 1
    clock.now += 0.5
    assert admitted(admit_one(control, talk)) == 1
    clock.now += 0.1
    assert admitted(admit_one(other, talk)) == 1
    clock.now += 0.5
    assert admit(control, talk).full


def test_a_slot_whose_function_died_is_free_two_counts_later(talk, new_control, clock):
    assert admitted(admit(new_control(1), talk)) == 1
    clock.now += 2
    assert admitted(admit(new_control(1), talk)) == 1


def test_a_message_that_expects_no_reply_takes_no_slot(talk, new_control):
    control = new_control(1)
    assert admitted(*(admit_one(control, talk, needs_slot=False) for _ in range(5))) == 5
    assert admitted(admit(control, talk)) == 1


def test_without_a_limit_all_are_admitted(talk, new_control):
    control = new_control(0)
    assert admitted(*(admit_one(control, talk) for _ in range(20))) == 20


@pytest.mark.parametrize(
    "fields",
    [
        {"slots_expire_at": utc_text(time.time() + 10**8), "slots": 0, "slots_taken": 0},
        {"slots_expire_at": "never", "slots": "none", "slots_taken": "all"},
        {"probe_at": utc_text(time.time() + 10**8), "failures": 3},
        {"probe_at": "never", "failures": "many", "probing": True},
        {"slots": -5, "slots_taken": 10**9},
    ],
)
def test_a_bot_whose_item_makes_no_sense_is_not_stuck(talk, new_control, table, fields):
    table.put({"session": BOTS, "message": talk.name} | fields)
    assert admitted(admit(new_control(1), talk)) == 1


def test_no_function_sends_to_a_bot_that_failed_until_one_probes_it(talk, new_control, clock):
    control, other = new_control(5), new_control(5)
    control.release(admit(control, talk), FAILED)
    clock.now += 1
    assert admit(other, talk) == Deferred(pytest.approx(1, abs=0.01))
    clock.now += 1.1
    probe = admit(other, talk)
    assert admitted(probe) == 1
    clock.now += 1
    assert admit(control, talk) == Deferred(2)
    other.release(probe, FAILED)
    clock.now += 1
    assert admit(control, talk) == Deferred(pytest.approx(3, abs=0.01))


def test_a_bot_that_is_reloaded_is_probed_again_within_seconds(talk, new_control, clock):
    control = new_control(5)
    for _ in range(8):
        permit = admit(control, talk)
        assert admitted(permit) == 1
        control.release(permit, replace(FAILED, max_wait=10))
        clock.now += 10.1


def test_attempts_that_fail_side_by_side_count_as_one(talk, new_control, table):
    control = new_control(5)
    for permit in [admit(control, talk) for _ in range(4)]:
        control.release(permit, FAILED)
    assert bot_item(table, talk)["failures"] == 1


def test_all_functions_send_again_after_a_probe_succeeded(talk, new_control, clock, table):
    control, other = new_control(5), new_control(5)
    control.release(admit(control, talk), FAILED)
    clock.now += 3
    control.release(admit(control, talk), ACCEPTED)
    failing = {"failures", "probe_at", "probing", "failing_since", "last_error"}
    assert not failing & bot_item(table, talk).keys()
    assert admitted(admit(control, talk), admit(other, talk)) == 2


def test_a_bot_is_unreachable_from_its_fifth_failure_since_its_first(talk, new_control, clock, table):
    control, first = new_control(5), utc_text(clock.now)
    for failures in range(1, 7):
        control.release(admit(control, talk), FAILED)
        assert ("unreachable_since" in bot_item(table, talk)) == (failures >= 5)
        clock.now += 61
    assert bot_item(table, talk)["unreachable_since"] == first
    control.release(admit(control, talk), ACCEPTED)
    assert "unreachable_since" not in bot_item(table, talk)


def test_last_error_of_a_failing_bot_is_kept_without_its_end(talk, new_control, table):
    control = new_control(5)
    control.release(admit(control, talk), replace(FAILED, reason="x" * 2000))
    assert bot_item(table, talk)["last_error"] == "x" * 1024


def test_operator_ends_the_pause_of_a_failing_bot(talk, new_control, clock):
    control = new_control(5)
    for _ in range(6):
        control.release(admit(control, talk), FAILED)
        clock.now += 61
    control.release(admit(control, talk), FAILED)
    clock.now += 2
    assert admit(control, talk) == Deferred(pytest.approx(58, abs=0.01))

    new_control(5).probe_next(talk.name, clock.now)

    clock.now += 2
    control.release(admit(control, talk), ACCEPTED)
    assert admitted(admit(control, talk), admit(new_control(5), talk)) == 2


def test_a_pause_holds_the_messages_of_a_bot_that_works_until_its_end(talk, new_control, clock):
    control = new_control(5)
    assert admitted(admit(control, talk)) == 1
    new_control(5).pause_until(talk.name, clock.now + 5)
    clock.now += 2
    assert admit(control, talk) == Deferred(pytest.approx(3, abs=0.01), paused=True)
    clock.now += 4
    assert admitted(admit(control, talk), admit(new_control(5), talk)) == 2


@pytest.mark.parametrize("needs_slot", [True, False])
def test_a_pause_takes_effect_on_functions_that_have_just_read_the_bot(talk, new_control, clock, needs_slot):
    control, operator = new_control(5), new_control(5)
    assert admitted(admit(control, talk, needs_slot)) == 1
    operator.pause(talk.name, clock.now)
    assert admit(control, talk, needs_slot) == Deferred(MAX_PAUSE, paused=True)


def test_a_probe_is_not_made_at_a_bot_that_was_just_paused(talk, new_control, clock):
    control, operator = new_control(5), new_control(5)
    control.release(admit(control, talk), FAILED)
    clock.now += 2
    control.state(talk.name)
    operator.pause(talk.name, clock.now)
    assert admit(control, talk) == Deferred(MAX_PAUSE, paused=True)


def test_an_operators_pause_outlasts_that_of_a_command_and_all_attempts(talk, new_control, clock, table):
    control, operator = new_control(5), new_control(5)
    under_way = admit(control, talk)
    operator.pause(talk.name, clock.now)
    operator.pause_until(talk.name, clock.now + 5)
    operator.pause(talk.name, clock.now + 1)
    control.release(under_way, FAILED)
    operator.pause_until(talk.name, clock.now)
    clock.now += 100
    assert admit(control, talk) == Deferred(MAX_PAUSE, paused=True)
    assert bot_item(table, talk)["paused_since"] == utc_text(clock.now - 100)
    assert operator.resume(talk.name, clock.now)
    clock.now += 1
    assert admitted(admit(control, talk)) == 1


def test_a_bot_that_is_not_paused_is_not_resumed(talk, new_control, clock, table):
    before = bot_item(table, talk)
    assert not new_control(5).resume(talk.name, clock.now)
    assert bot_item(table, talk) == before


def test_a_pause_ends_by_the_clock_of_aws_not_by_the_operators(talk, monkeypatch):
    for skew in (-60, 60):
        behind = environment.Environment(clock=lambda skew=skew: time.time() + skew)
        monkeypatch.setattr(environment, "current", behind)
        admin = BotAdmin(talk.deployed.stack)
        admin.pause_for(talk.name, 30)
        began = talk.deployed.stack.now()
        assert 25 < admin.state(talk.name).paused_until - began <= 30


def test_a_probe_whose_function_died_is_made_again(talk, new_control, clock):
    control = new_control(5)
    control.release(admit(control, talk), FAILED)
    clock.now += 3
    assert admitted(admit(new_control(5), talk)) == 1
    clock.now += 14
    assert admitted(admit(new_control(5), talk)) == 0
    clock.now += 2
    assert admitted(admit(new_control(5), talk)) == 1


# ---------------------------------------------------------------- leases


def leases_taken(table, talk):
    return sorted(name for name in bot_item(table, talk) if name.startswith("lease_"))


@pytest.mark.parametrize("max_in_flight", [50, 0], ids=["with slots", "without slots"])
def test_four_attempts_are_made_at_a_bot_and_a_fifth_waits_for_a_lease(talk, new_control, max_in_flight):
    controls = [new_control(max_in_flight) for _ in range(LEASES)]
    permits = [admit(control, talk) for control in controls]
    assert admitted(*permits) == 4
    assert admit(new_control(max_in_flight), talk).full
    end(controls[0], permits[0], replace(ACCEPTED, seconds=2))
    assert admitted(admit(new_control(max_in_flight), talk)) == 1


def test_a_bot_gets_one_sync_call_at_a_time_and_other_messages_beside_it(talk, new_control):
    control = new_control(50)
    call = admit(control, talk, is_sync=True)
    assert admitted(call) == 1
    assert admit(new_control(50), talk, is_sync=True).full
    assert admitted(*(admit(new_control(50), talk) for _ in range(LEASES))) == LEASES - 1
    end(control, call)
    assert admitted(admit(new_control(50), talk, is_sync=True)) == 1


def test_an_attempt_releases_no_lease_but_its_own(talk, new_control, clock, table):
    control = new_control(50)
    late = admit(control, talk)
    clock.now += 16
    admit(new_control(50), talk)
    before = bot_item(table, talk)
    end(control, late)
    assert bot_item(table, talk) == before


def test_a_lease_of_a_function_that_died_is_free_after_an_attempts_time(talk, new_control, clock):
    for _ in range(LEASES):
        admit(new_control(50), talk)
    clock.now += 16
    assert admitted(admit(new_control(50), talk)) == 1


def test_a_function_keeps_its_lease_for_its_next_attempt_at_a_quiet_bot(talk, new_control, table):
    control = new_control(50)
    for _ in range(3):
        admit_one(control, talk)
        assert leases_taken(table, talk) == ["lease_4"]


def test_a_kept_lease_is_no_other_functions_until_its_time_is_over(talk, new_control, clock, table):
    control = new_control(50)
    admit_one(control, talk)
    assert admit(new_control(50), talk).lease == "lease_3"
    clock.now += 16
    assert admit(new_control(50), talk).lease == "lease_4"
    assert admit(control, talk).lease == "lease_3"


def test_half_of_a_bots_leases_are_never_kept(talk, new_control, table):
    controls = [new_control(50) for _ in range(LEASES)]
    for control, permit in [(control, admit(control, talk)) for control in controls]:
        end(control, permit)
    assert leases_taken(table, talk) == ["lease_3", "lease_4"]


def test_a_sync_call_never_keeps_the_lease_that_the_next_one_needs(talk, new_control, table):
    control = new_control(50)
    end(control, admit(control, talk, is_sync=True))
    assert leases_taken(table, talk) == []


@pytest.mark.parametrize(("answer", "kept"), [(Answer(), ["lease_4"]), (OVERLOADED, [])])
def test_push_keeps_no_lease_of_a_bot_that_fails(talk, dispatcher, table, answer, kept):
    talk.bot.answer_with(answer)
    deliver(dispatcher, queued(talk))
    assert leases_taken(table, talk) == kept


# ---------------------------------------------------------------- messages without a write


@pytest.fixture
def calls(talk, deployed):
    """Counts the calls to DynamoDB."""
    with counted_calls(deployed, "dynamodb") as counted:
        yield counted


def admit_many(control, talk, count, **how):
    return admitted(*(admit_one(control, talk, **how) for _ in range(count)))


def test_a_function_writes_once_for_many_messages_of_a_second(talk, new_control, calls):
    control = new_control(50)
    assert admit_many(control, talk, 14) == 14
    assert calls.calls["UpdateItem"] == 2  # the second takes 12 slots in advance
    admit_one(control, talk)
    assert calls.calls["UpdateItem"] == 3


def test_messages_that_need_no_slot_need_no_write_while_the_lease_lasts(talk, new_control, calls, clock):
    control = new_control(50)
    assert admit_many(control, talk, 20, needs_slot=False) == 20
    assert calls.calls["UpdateItem"] == 1
    clock.now += 1.1
    admit_one(control, talk, needs_slot=False)
    assert calls.calls["UpdateItem"] == 2


def test_slots_that_were_taken_in_advance_are_no_other_functions(talk, new_control, clock):
    control, other = new_control(12), new_control(12)
    admit_many(control, talk, 2)  # the second takes 2 of the 11 that are left in advance
    assert admit_many(other, talk, 20, outcome=SLOW) == 8
    assert admit_many(control, talk, 20) == 2


def test_slots_in_advance_that_nobody_used_are_free_again(talk, new_control, clock):
    control = new_control(12)
    admit_many(control, talk, 2)
    for _ in range(2):
        clock.now += 1
        admit_one(new_control(12), talk, outcome=SLOW)
    assert admit_many(new_control(12), talk, 20, outcome=SLOW) == 10


def test_a_message_without_a_write_finds_the_bot_paused_within_a_second(talk, new_control, clock):
    control = new_control(50)
    admit_many(control, talk, 3)
    new_control(50).pause(talk.name, clock.now)
    clock.now += 1
    assert admit_one(control, talk).paused


def test_the_lease_of_a_message_without_a_write_lasts_as_long_as_its_attempt(talk, new_control, clock):
    control = new_control(50)
    admit_many(control, talk, 3)
    clock.now += 0.9
    admit(control, talk)
    clock.now += 14.9  # an attempt takes 15 s at the most
    assert admit(new_control(50), talk).lease == "lease_3"


def test_a_failure_ends_what_was_taken_in_advance(talk, new_control):
    control = new_control(50)
    admit_many(control, talk, 3)
    admit_one(control, talk, outcome=FAILED)
    assert admit_one(control, talk).seconds > 0
    assert not admit_one(control, talk).full


# ---------------------------------------------------------------- cancelled messages


def test_a_cancelled_message_is_not_admitted_and_others_are(talk, new_control, clock):
    new_control(5).cancel(talk.name, "mine", clock.now, clock.now + 60)
    with pytest.raises(InvalidState, match="cancelled"):
        admit(new_control(5), talk, message_id="mine")
    assert admitted(admit(new_control(5), talk, message_id="other")) == 1


def test_a_message_is_not_admitted_by_what_was_read_before_it_was_cancelled(talk, new_control, clock):
    control = new_control(5)
    admit_one(control, talk)
    new_control(5).cancel(talk.name, "mine", clock.now, clock.now + 60)
    with pytest.raises(InvalidState, match="cancelled"):
        admit(control, talk, message_id="mine")


def test_a_cancelled_message_is_dropped_though_its_bot_fails(talk, new_control, clock):
    control = new_control(5)
    end(control, admit(control, talk), FAILED)
    control.cancel(talk.name, "mine", clock.now, clock.now + 60)
    with pytest.raises(InvalidState, match="cancelled"):
        admit(control, talk, message_id="mine")


def test_the_next_admission_removes_what_is_not_cancelled_any_more(talk, new_control, clock, table):
    new_control(5).cancel(talk.name, "mine", clock.now, clock.now + 60)
    clock.now += 61
    assert admitted(admit(new_control(5), talk, message_id="mine")) == 1
    assert "cancelled" not in bot_item(table, talk)


@pytest.mark.parametrize("rubbish", ["mine", 5, ["mine"], [5], {"mine": 1}])
def test_cancelled_messages_that_make_no_sense_are_removed(talk, new_control, table, rubbish):
    table.put({"session": BOTS, "message": talk.name, "cancelled": rubbish})
    assert admitted(admit(new_control(5), talk, message_id="mine")) == 1
    assert "cancelled" not in bot_item(table, talk)


def test_messages_are_cancelled_at_the_same_time_up_to_a_bound(talk, new_control, clock, table):
    controls = [new_control(5) for _ in range(MAX_CANCELLED)]
    for number, control in enumerate(controls):
        control.cancel(talk.name, f"id-{number}", clock.now, clock.now + 60)
    assert len(bot_item(table, talk)["cancelled"]) == MAX_CANCELLED
    with pytest.raises(InvalidState, match="are cancelled already"):
        controls[0].cancel(talk.name, "one more", clock.now, clock.now + 60)
    clock.now += 61
    controls[0].cancel(talk.name, "one more", clock.now, clock.now + 60)
    assert len(bot_item(table, talk)["cancelled"]) == 1
