import pytest

from relay.rules.gate import (
    LONGEST_PAUSE,
    Move,
    Standing,
    Wait,
    next_move,
    pause,
    places,
    until_there_is_room,
)
from relay.rules.part import utc

NOW = 1_795_352_448.0


def standing(**item):
    times = {"window_ends", "probe_at"} & item.keys()
    return Standing.of({"session": "bots"} | item | {name: utc(item[name]) for name in times})


def test_a_message_takes_one_of_the_places_that_are_left():
    assert next_move(standing(window_ends=NOW + 0.5, places=2, taken=1), NOW, True) is Move.TAKE


def test_a_message_waits_for_the_next_count_when_all_places_are_taken():
    full = standing(window_ends=NOW + 0.5, places=2, taken=2)
    assert next_move(full, NOW, True) == Wait(0.5, full=True)


def test_a_message_that_takes_no_place_goes_though_all_are_taken():
    assert next_move(standing(window_ends=NOW + 0.5, places=2, taken=2), NOW, False) is Move.GO


def test_a_bot_that_was_never_sent_anything_gets_its_item_first():
    assert next_move(Standing.of({}), NOW, False) is Move.COUNT


@pytest.mark.parametrize("ends", [NOW - 1, NOW, NOW + 3600])
def test_a_window_that_is_over_or_cannot_be_ours_is_counted_anew(ends):
    assert next_move(standing(window_ends=ends, places=0, taken=0), NOW, True) is Move.COUNT


@pytest.mark.parametrize("rubbish", ["", "soon", 5, None, [], True])
def test_an_item_that_makes_no_sense_is_counted_anew(rubbish):
    item = dict.fromkeys(("window_ends", "places", "taken", "failures", "probe_at", "probing"), rubbish)
    assert next_move(Standing.of(item), NOW, True) is Move.COUNT


def test_what_waits_in_the_index_and_what_may_not_be_in_it_yet_takes_places():
    just_over = standing(window_ends=NOW - 0.1, places=20, taken=12)
    assert places(50, 30, just_over, NOW) == 8
    assert places(50, 45, just_over, NOW) == 0


def test_what_was_let_through_in_a_window_long_over_is_in_the_index():
    assert places(50, 30, standing(window_ends=NOW - 1, places=20, taken=12), NOW) == 20


def test_nobody_is_sent_to_a_bot_that_failed_until_its_pause_is_over():
    assert next_move(standing(failures=3, probe_at=NOW + 8), NOW, True) == Wait(8)
    assert next_move(standing(failures=3, probe_at=NOW + 8), NOW, False) == Wait(8)


def test_one_message_finds_out_whether_the_bot_works_again():
    assert next_move(standing(failures=3, probe_at=NOW - 1), NOW, True) is Move.PROBE


def test_the_others_look_again_soon_while_one_finds_out():
    assert next_move(standing(failures=3, probe_at=NOW + 15, probing=True), NOW, True) == Wait(2)


def test_a_probe_that_never_came_back_is_made_again():
    assert next_move(standing(failures=3, probe_at=NOW - 1, probing=True), NOW, True) is Move.PROBE


def test_a_pause_that_is_longer_than_any_is_over():
    assert next_move(standing(failures=3, probe_at=NOW + LONGEST_PAUSE + 2), NOW, True) is Move.PROBE


def test_the_pause_doubles_up_to_a_minute_and_honours_retry_after_within_it():
    assert [pause(n, 0) for n in (1, 2, 3, 5, 6, 10_000)] == [2, 4, 8, 32, LONGEST_PAUSE, LONGEST_PAUSE]
    assert [pause(1, 30), pause(1, 3600)] == [30, LONGEST_PAUSE]


def test_a_message_looks_the_less_often_the_longer_it_has_waited():
    assert [until_there_is_room(n) for n in (0, 1, 2, 10, 500)] == [1, 1, 2, 10, 10]
