import pytest

from relay.domain.turn import turns
from support.recordings import recorded
from support.samples import received_part


def parts(recording):
    """Return the parts of a recording as RepliesTable returns them: once each, in order."""
    kept = {}
    for callback in recorded(recording):
        part = received_part(callback.raw, signed_at=float(callback.timestamp))
        kept[part["part"]] = part
    return [kept[key] for key in sorted(kept)]


def read(*rows):
    """Return the turns of made-up parts: (reply_to, stream, is_final, text)."""
    return turns(
        {
            "part": f"{number:03}",
            "reply_to": reply_to,
            "stream": stream,
            "is_final": is_final,
            "message": [{"type": "Plain", "text": text}],
        }
        for number, (reply_to, stream, is_final, text) in enumerate(rows)
    )


def test_a_plain_reply_is_a_finished_turn():
    (turn,) = turns(parts("a_plain"))
    assert (turn.text, turn.finished, len(turn.parts)) == ("echo: hello", True, 1)


@pytest.mark.parametrize("recording", ["b_stream_long_stride1", "b_stream_long_stride8"])
def test_a_streamed_reply_is_its_last_snapshot(recording):
    (turn,) = turns(parts(recording))
    assert turn.finished
    assert turn.text == "".join(f"w{n:03} " for n in range(1, 61))


def test_a_counter_that_restarts_within_a_run_stays_one_run():
    (turn,) = turns(parts("p_pause_65s_midturn"))
    assert sorted(p["sequence"] for p in turn.parts) != [p["sequence"] for p in turn.parts]
    assert turn.finished
    assert turn.message == tuple(turn.parts[-1]["message"])


def test_three_replies_in_one_turn_are_all_in_it():
    turn = turns([p for p in parts("l_image") if p["text"].startswith("part ")])[0]
    assert [segment["text"] for segment in turn.message] == ["part 1 of 3", "part 2 of 3", "part 3 of 3"]
    assert turn.finished


def test_a_turn_that_broke_off_is_unfinished_and_the_next_one_is_not():
    broken, following = turns(parts("l_midstream_failure"))
    assert (broken.finished, broken.text) == (False, "Agent runner execution failed.")
    assert (following.finished, following.text) == (True, "echo: next turn")


def test_merged_messages_are_one_turn_under_the_first_id():
    (turn,) = turns(parts("c_aggregation_on"))
    assert turn.finished


def test_an_image_is_in_the_reply_beside_its_text():
    turn = turns([p for p in parts("l_image") if "picture" in p["text"]])[0]
    assert [segment["type"] for segment in turn.message][:2] == ["Plain", "Image"]
    assert turn.text == "here is a picture"


def test_a_second_reply_under_the_same_id_is_a_second_run():
    (turn,) = read(
        ("in_1", True, True, "first"), ("in_1", True, False, "sec"), ("in_1", True, True, "second")
    )
    assert (turn.text, turn.finished) == ("firstsecond", True)


def test_a_second_run_that_has_not_ended_leaves_the_turn_unfinished():
    (turn,) = read(("in_1", True, True, "first"), ("in_1", True, False, "sec"))
    assert (turn.text, turn.finished) == ("firstsec", False)


def test_parts_that_are_not_streamed_add_up():
    (turn,) = read(("in_1", False, False, "a"), ("in_1", False, False, "b"), ("in_1", False, True, "c"))
    assert turn.text == "abc"


def test_turns_that_overlap_are_kept_apart():
    first, second = read(
        ("in_1", True, False, "a"),
        ("in_2", True, False, "x"),
        ("in_1", True, True, "ab"),
        ("in_2", True, True, "xy"),
    )
    assert (first.text, second.text) == ("ab", "xy")


def test_each_proactive_push_is_a_turn_of_its_own():
    assert [turn.text for turn in read(("", False, True, "one"), ("", False, True, "two"))] == ["one", "two"]


def test_no_parts_are_no_turns():
    assert turns([]) == []
