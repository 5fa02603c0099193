import pytest

from relay.adapters.langbot import max_attempt_seconds
from relay.domain.admission import (
    CLOCK_SKEW,
    LEASE_TTL,
    MAX_CANCELLED,
    MAX_PAUSE,
    SLOT_COUNT_TTL,
    SLOT_TIMEOUT,
    BotState,
    Decision,
    Deferred,
    KeptLease,
    cancelled_messages,
    decide,
    due_at,
    free_lease,
    free_slots,
    is_sending,
    is_under_way,
    lease_entry,
    leases_of,
    may_keep,
    probe_delay,
    slot_poll_delay,
    slots_in_advance,
    with_cancelled,
)
from relay.domain.timestamps import utc_text
from relay.errors import InvalidState
from support.samples import NOW


def state(**item):
    times = {"slots_expire_at", "probe_at", "paused_since", "paused_until", "resumed_at"} & item.keys()
    return BotState.of({"session": "bots"} | item | {name: utc_text(item[name]) for name in times})


def test_a_message_takes_one_of_the_slots_that_are_left():
    assert decide(state(slots_expire_at=NOW + 0.5, slots=2, slots_taken=1), NOW, True) is Decision.TAKE_SLOT


def test_a_message_waits_for_the_next_count_if_all_slots_are_taken():
    full = state(slots_expire_at=NOW + 0.5, slots=2, slots_taken=2)
    assert decide(full, NOW, True) == Deferred(0.5, full=True)


def test_a_message_that_needs_no_slot_goes_though_all_are_taken():
    assert decide(state(slots_expire_at=NOW + 0.5, slots=2, slots_taken=2), NOW, False) is Decision.GO


def test_a_bot_that_never_had_a_message_gets_its_item_first():
    assert decide(BotState.of({}), NOW, False) is Decision.COUNT_SLOTS


def test_a_message_goes_without_a_write_by_a_slot_that_was_taken_before():
    full = state(slots_expire_at=NOW + 0.5, slots=2, slots_taken=2)
    assert decide(full, NOW, True, reserved=1) is Decision.GO_RESERVED
    assert decide(full, NOW, True, reserved=0) == Deferred(0.5, full=True)
    assert decide(full, NOW, False, reserved=0) is Decision.GO_RESERVED


@pytest.mark.parametrize(
    "item",
    [
        {"paused_since": NOW - 5},
        {"failures": 1, "probe_at": NOW + 5},
        {"failures": 1, "probe_at": NOW - 5},
        {"slots_expire_at": NOW - 0.1},
    ],
)
def test_what_was_taken_before_passes_no_pause_no_probe_and_no_count(item):
    taken = state(**{"slots_expire_at": NOW + 0.5, "slots": 8, "slots_taken": 4} | item)
    assert decide(taken, NOW, True, reserved=3) == decide(taken, NOW, True)
    assert decide(taken, NOW, True, reserved=3) is not Decision.GO_RESERVED


PAUSED = {"paused_since": NOW - 1e6}


@pytest.mark.parametrize("needs_slot", [True, False])
def test_a_paused_bot_gets_nothing_also_if_it_fails(needs_slot):
    free = {"slots_expire_at": NOW + 0.5, "slots": 2, "slots_taken": 1}
    for item in (PAUSED, PAUSED | free, PAUSED | {"failures": 1, "probe_at": NOW - 1}):
        assert decide(state(**item), NOW, needs_slot) == Deferred(MAX_PAUSE, paused=True)


def test_a_test_of_the_connection_passes_the_pause_of_an_operator_only():
    assert decide(state(**PAUSED), NOW, False, is_test=True) is Decision.GO
    held = state(**PAUSED, paused_until=NOW + 5)
    assert decide(held, NOW, False, is_test=True) == Deferred(5, paused=True)


@pytest.mark.parametrize(
    ("ends_in", "left"), [(-1, 0), (0, 0), (5, 5), (MAX_PAUSE + CLOCK_SKEW, 61), (MAX_PAUSE + 2, 0)]
)
def test_a_pause_of_a_command_ends_by_itself(ends_in, left):
    assert state(paused_until=NOW + ends_in).pause_left(NOW) == left


@pytest.mark.parametrize(
    ("item", "excused"),
    [
        ({}, 0),
        (PAUSED, NOW),
        ({"paused_until": NOW + 5}, NOW),
        ({"resumed_at": NOW - 9}, NOW - 9),
        (PAUSED | {"resumed_at": NOW - 1e7}, NOW),
    ],
)
def test_a_pause_excuses_what_was_before_its_end(item, excused):
    assert state(**item).excused_until(NOW) == excused


@pytest.mark.parametrize(
    ("item", "sends"),
    [
        ({}, False),
        ({"lease_4": lease_entry("me", NOW + 12)}, True),
        ({"lease_1": lease_entry("me", NOW)}, False),
        ({"probe_at": NOW + 12}, False),
        ({"probe_at": NOW + 12, "probing": True}, True),
        ({"probe_at": NOW - 9, "probing": True}, True),
        ({"probe_at": NOW - 10, "probing": True}, False),
    ],
)
def test_push_may_be_sending_while_a_lease_is_taken_or_a_probe_lasts(item, sends):
    assert is_sending(state(**item), NOW) is sends


@pytest.mark.parametrize("expire_at", [NOW - 1, NOW, NOW + 3600])
def test_slots_are_counted_again_if_the_count_is_old_or_cannot_be_ours(expire_at):
    counted = state(slots_expire_at=expire_at, slots=0, slots_taken=0)
    assert decide(counted, NOW, True) is Decision.COUNT_SLOTS


@pytest.mark.parametrize("rubbish", ["", "soon", 5, None, [], True])
def test_slots_are_counted_again_if_the_item_makes_no_sense(rubbish):
    names = (
        *("slots_expire_at", "slots", "slots_taken", "failures", "probe_at", "probing"),
        *("paused_since", "paused_until", "resumed_at"),
    )
    assert decide(BotState.of(dict.fromkeys(names, rubbish)), NOW, True) is Decision.COUNT_SLOTS


def test_a_count_made_on_a_clock_that_is_ahead_is_ours():
    counted = state(slots_expire_at=NOW + SLOT_COUNT_TTL + CLOCK_SKEW, slots=2, slots_taken=1)
    assert decide(counted, NOW, True) is Decision.TAKE_SLOT


def test_a_bot_without_an_item_has_no_error():
    assert BotState.of({}).last_error == ""


def test_messages_in_the_index_and_those_admitted_just_before_take_slots():
    just_expired = state(slots_expire_at=NOW - 0.1, slots=20, slots_taken=12)
    assert free_slots(50, 30, just_expired, NOW) == 8
    assert free_slots(50, 45, just_expired, NOW) == 0


def test_messages_admitted_longer_ago_are_in_the_index():
    assert free_slots(50, 30, state(slots_expire_at=NOW - 1, slots=20, slots_taken=12), NOW) == 20


def test_no_message_goes_to_a_bot_that_failed_until_its_pause_is_over():
    assert decide(state(failures=3, probe_at=NOW + 8), NOW, True) == Deferred(8)
    assert decide(state(failures=3, probe_at=NOW + 8), NOW, False) == Deferred(8)


@pytest.mark.parametrize("wait", [0.5, MAX_PAUSE, MAX_PAUSE + CLOCK_SKEW])
def test_a_pause_lasts_to_its_end_also_on_a_clock_that_is_behind(wait):
    assert decide(state(failures=3, probe_at=NOW + wait), NOW, True) == Deferred(wait)


@pytest.mark.parametrize("probe_at", [NOW, NOW - 1])
def test_one_message_probes_whether_the_bot_works_again(probe_at):
    assert decide(state(failures=3, probe_at=probe_at), NOW, True) is Decision.PROBE


def test_the_other_messages_check_again_soon_while_one_probes():
    assert decide(state(failures=3, probe_at=NOW + 15, probing=True), NOW, True) == Deferred(2)


def test_a_probe_that_never_ended_is_made_again():
    assert decide(state(failures=3, probe_at=NOW - 1, probing=True), NOW, True) is Decision.PROBE


def test_a_pause_longer_than_the_longest_is_over():
    assert decide(state(failures=3, probe_at=NOW + MAX_PAUSE + 2), NOW, True) is Decision.PROBE


def test_the_delay_of_a_probe_doubles_up_to_a_minute_which_also_limits_retry_after():
    assert [probe_delay(n, 0) for n in (1, 2, 3, 5, 6, 10_000)] == [2, 4, 8, 32, 60, 60]
    assert [probe_delay(1, 30), probe_delay(1, 3600)] == [30, 60]


def test_the_delay_of_a_probe_of_a_bot_that_is_reloaded_has_a_limit_of_its_own():
    assert [probe_delay(n, 0, max_wait=10) for n in (1, 2, 3, 4, 10_000)] == [2, 4, 8, 10, 10]
    assert probe_delay(1, 3600, max_wait=10) == 10


def test_a_message_checks_the_less_often_the_longer_it_has_waited():
    assert [slot_poll_delay(n, 0.5) for n in (0, 1, 2, 10, 38, 500)] == [1, 1, 2, 6, 20, 20]


def test_messages_that_came_together_check_at_different_times():
    assert [slot_poll_delay(10, chance) for chance in (0, 0.25, 0.5, 0.75, 1)] == [3, 4, 6, 7, 9]
    assert slot_poll_delay(1, 0) == 1


@pytest.mark.parametrize(("answer_deadline", "held_for"), [(900, SLOT_TIMEOUT), (60, 60)])
def test_a_message_holds_its_slot_until_its_timeout_or_its_deadline(answer_deadline, held_for):
    assert due_at(NOW + held_for, answer_deadline) == NOW + answer_deadline


# ---------------------------------------------------------------- leases


def with_leases(**ends):
    """Return the state of a bot whose leases end at these times."""
    return BotState.of({"session": "bots"} | {name: lease_entry("a", until) for name, until in ends.items()})


def free(state, leases=4, is_sync=False):
    return free_lease(state, leases, NOW, is_sync)


def test_an_attempt_takes_the_last_free_lease_and_leaves_the_first_to_a_sync_call():
    assert free(with_leases()) == "lease_4"
    assert free(with_leases(lease_4=NOW + 5, lease_2=NOW + 5)) == "lease_3"
    assert free(with_leases(lease_4=NOW + 5, lease_3=NOW + 5, lease_2=NOW + 5)) == "lease_1"


def test_a_sync_call_takes_the_first_lease_or_none():
    assert free(with_leases(lease_4=NOW + 5), is_sync=True) == "lease_1"
    assert free(with_leases(lease_1=NOW + 5), is_sync=True) is None


def keeps(lease, leases=4, seconds=0.5, **ends):
    return may_keep(with_leases(**ends), lease, leases, NOW, seconds)


def test_a_lease_is_kept_only_if_at_least_half_of_them_stay_free():
    assert keeps("lease_4", lease_4=NOW + 5)
    assert keeps("lease_3", lease_4=NOW + 5, lease_3=NOW + 5)
    assert not keeps("lease_2", lease_4=NOW + 5, lease_3=NOW + 5, lease_2=NOW + 5)
    assert not keeps("lease_2", leases=3, lease_3=NOW + 5, lease_2=NOW + 5)
    assert keeps("lease_2", lease_4=NOW + 5, lease_3=NOW - 1, lease_2=NOW + 5)


def test_no_lease_of_a_slow_bot_is_kept():
    assert keeps("lease_4", lease_4=NOW + 5, seconds=1)
    assert not keeps("lease_4", lease_4=NOW + 5, seconds=1.01)


def test_the_first_lease_is_never_kept():
    assert not keeps("lease_1", lease_1=NOW + 5)


def kept_lease(ends_at=NOW + 13, counted_until=NOW + 1):
    return KeptLease("lease_4", lease_entry("a", ends_at), 3, counted_until)


def test_a_kept_lease_has_its_slots_until_they_are_counted_again():
    assert kept_lease().slots_for(state(slots_expire_at=NOW + 1), NOW + 12) == 3
    assert kept_lease().slots_for(state(slots_expire_at=NOW + 2), NOW + 12) == 0


def test_a_kept_lease_that_ends_before_the_attempt_needs_a_write():
    assert kept_lease(ends_at=NOW + 11.9).slots_for(state(slots_expire_at=NOW + 1), NOW + 12) is None


def test_a_lease_that_another_function_has_taken_is_not_kept():
    assert kept_lease().is_in(with_leases(lease_4=NOW + 13))
    assert not kept_lease().is_in(with_leases(lease_4=NOW + 14))


@pytest.mark.parametrize("free", range(1, 101))
def test_a_quarter_of_the_free_slots_at_most_is_taken_in_advance(free):
    assert slots_in_advance(free) <= min(free / 4, free - 1)


def test_no_attempt_is_made_at_a_bot_whose_leases_are_all_taken():
    assert free(with_leases(lease_1=NOW + 5, lease_2=NOW + 5), leases=2) is None


@pytest.mark.parametrize("end", [NOW + 0.5, NOW + LEASE_TTL])
def test_a_lease_is_taken_until_its_end(end):
    assert free(with_leases(lease_1=end), leases=1) is None


@pytest.mark.parametrize("end", [NOW, NOW - 1, NOW + 3600])
def test_a_lease_is_free_if_its_time_is_over_or_cannot_be_ours(end):
    assert free(with_leases(lease_1=end), leases=1) == "lease_1"


@pytest.mark.parametrize("rubbish", ["", "soon b", 5, None, []])
def test_a_lease_that_makes_no_sense_is_free(rubbish):
    assert free(BotState.of({"lease_1": rubbish}), leases=1) == "lease_1"


def test_a_bot_never_has_as_many_leases_as_push_makes_attempts():
    assert [leases_of(concurrency) for concurrency in (2, 3, 5, 10, 1000)] == [1, 2, 4, 4, 4]


def test_a_lease_outlasts_the_longest_attempt():
    assert max(map(max_attempt_seconds, ("push", "sync", "reset"))) < LEASE_TTL


# ---------------------------------------------------------------- cancelled messages


def cancelled(*entries):
    return state(cancelled=[f"{utc_text(until)} {message_id}" for message_id, until in entries])


def test_a_message_is_cancelled_until_its_time():
    assert cancelled_messages(cancelled(("one", NOW + 1), ("two", NOW)), NOW) == {"one"}
    assert cancelled_messages(state(), NOW) == set()


def test_one_more_message_is_cancelled_and_those_whose_time_is_over_are_left_out():
    before = cancelled(("one", NOW + 1), ("two", NOW))
    after = state(cancelled=with_cancelled(before, "three", NOW + 9, NOW))
    assert cancelled_messages(after, NOW) == {"one", "three"}


def test_a_message_that_is_cancelled_twice_has_the_second_time():
    after = state(cancelled=with_cancelled(cancelled(("one", NOW + 100)), "one", NOW + 5, NOW))
    assert cancelled_messages(after, NOW + 4) == {"one"}
    assert cancelled_messages(after, NOW + 5) == set()


def test_so_many_messages_can_be_cancelled_and_no_more():
    full = cancelled(*((f"id-{number}", NOW + 1) for number in range(MAX_CANCELLED)))
    assert len(with_cancelled(full, "id-0", NOW + 2, NOW)) == MAX_CANCELLED
    with pytest.raises(InvalidState, match=f"{MAX_CANCELLED} messages"):
        with_cancelled(full, "one more", NOW + 2, NOW)


def test_an_attempt_is_under_way_as_long_as_it_has_the_lease_that_it_had():
    before = state(lease_2=lease_entry("me", NOW + 10))
    assert is_under_way(before, before, NOW)
    assert not is_under_way(before, before, NOW + 10)
    assert not is_under_way(before, state(), NOW)
    assert not is_under_way(before, state(lease_2=lease_entry("another", NOW + 20)), NOW)


def test_an_attempt_that_took_its_lease_later_is_none_that_was_under_way():
    assert not is_under_way(state(), state(lease_2=lease_entry("me", NOW + 10)), NOW)


def test_a_probe_is_under_way_until_it_has_ended_or_cannot_last_longer():
    before = state(probing=True, probe_at=NOW + 10)
    assert is_under_way(before, before, NOW)
    assert is_under_way(before, before, NOW + 19.9)
    assert not is_under_way(before, before, NOW + 20)
    assert not is_under_way(before, state(probe_at=NOW + 10), NOW)
    assert not is_under_way(before, state(probing=True, probe_at=NOW + 11), NOW)
    assert not is_under_way(state(probe_at=NOW + 10), before, NOW)
