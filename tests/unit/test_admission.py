import pytest

from relay.domain.admission import (
    CLOCK_SKEW,
    MAX_LANE,
    MAX_PAUSE,
    SLOT_COUNT_TTL,
    SLOT_TIMEOUT,
    BotState,
    Decision,
    Deferred,
    decide,
    due_at,
    free_slots,
    full_delay,
    holds_lane,
    lane_entry,
    lane_for,
    lane_name,
    lanes_of,
    pause,
)
from relay.domain.timestamps import utc_text
from support.samples import NOW


def state(**item):
    times = {"slots_expire_at", "probe_at"} & item.keys()
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


@pytest.mark.parametrize("expire_at", [NOW - 1, NOW, NOW + 3600])
def test_slots_are_counted_again_if_the_count_is_old_or_cannot_be_ours(expire_at):
    counted = state(slots_expire_at=expire_at, slots=0, slots_taken=0)
    assert decide(counted, NOW, True) is Decision.COUNT_SLOTS


@pytest.mark.parametrize("rubbish", ["", "soon", 5, None, [], True])
def test_slots_are_counted_again_if_the_item_makes_no_sense(rubbish):
    names = ("slots_expire_at", "slots", "slots_taken", "failures", "probe_at", "probing")
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


def test_the_pause_doubles_up_to_a_minute_which_also_limits_retry_after():
    assert [pause(n, 0) for n in (1, 2, 3, 5, 6, 10_000)] == [2, 4, 8, 32, 60, 60]
    assert [pause(1, 30), pause(1, 3600)] == [30, 60]


def test_the_pause_for_a_bot_that_is_reloaded_has_a_limit_of_its_own():
    assert [pause(n, 0, max_wait=10) for n in (1, 2, 3, 4, 10_000)] == [2, 4, 8, 10, 10]
    assert pause(1, 3600, max_wait=10) == 10


def test_a_message_checks_the_less_often_the_longer_it_has_waited():
    assert [full_delay(n) for n in (0, 1, 2, 10, 500)] == [1, 1, 2, 10, 10]


@pytest.mark.parametrize(("answer_deadline", "held_for"), [(900, SLOT_TIMEOUT), (60, 60)])
def test_a_message_holds_its_slot_until_its_timeout_or_its_deadline(answer_deadline, held_for):
    assert due_at(NOW + held_for, answer_deadline) == NOW + answer_deadline


# ---------------------------------------------------------------- lanes


def with_lanes(*entries):
    """Return the state of a bot whose lanes have these (batch, end)."""
    item = {lane_name(n): lane_entry(batch, until) for n, (batch, until) in enumerate(entries, 1)}
    return BotState.of({"session": "bots"} | item)


def test_a_batch_takes_the_first_free_lane():
    assert lane_for(with_lanes(), "a", 2, NOW) == 1
    assert lane_for(with_lanes(("b", NOW + 5)), "a", 2, NOW) == 2


def test_a_batch_keeps_its_lane_also_when_its_time_is_over():
    state = with_lanes(("b", NOW + 5), ("a", NOW - 1))
    assert lane_for(state, "a", 2, NOW) == 2
    assert holds_lane(state, "a", 2)


def test_a_batch_keeps_its_lane_though_one_before_it_is_free():
    assert lane_for(with_lanes(("b", NOW - 1), ("a", NOW + 5)), "a", 2, NOW) == 2


def test_a_batch_holds_no_lane_that_is_another_ones():
    assert not holds_lane(with_lanes(("b", NOW + 5)), "a", 2)
    assert not holds_lane(with_lanes(), "a", 2)


def test_no_third_batch_sends_to_a_bot():
    assert lane_for(with_lanes(("b", NOW + 5), ("c", NOW + 5)), "a", 2, NOW) is None


@pytest.mark.parametrize("end", [NOW + 0.5, NOW + MAX_LANE])
def test_a_lane_is_taken_until_its_end(end):
    assert lane_for(with_lanes(("b", end)), "a", 1, NOW) is None


@pytest.mark.parametrize("end", [NOW, NOW - 1, NOW + 3600])
def test_a_lane_is_free_if_its_time_is_over_or_cannot_be_ours(end):
    assert lane_for(with_lanes(("b", end), ("c", NOW + 5)), "a", 2, NOW) == 1


@pytest.mark.parametrize("rubbish", ["", "soon b", 5, None, []])
def test_a_lane_that_makes_no_sense_is_free(rubbish):
    assert lane_for(BotState.of({"lane_1": rubbish}), "a", 1, NOW) == 1


def test_a_bot_never_has_as_many_lanes_as_there_are_batches():
    assert [lanes_of(batches) for batches in (2, 3, 4, 1000)] == [1, 2, 2, 2]
