import pytest

from relay.domain.turn import effective_parts, looks_complete, turns
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


AT = {"type": "At", "target": "u1", "display": ""}
IMAGE = {"type": "Image", "base64": "data:image/png;base64,AAAA"}


def plain(text):
    return {"type": "Plain", "text": text}


def streamed(*messages):
    """Return the reply of a turn of streamed parts with these messages, of which the last is final."""
    (turn,) = turns(streamed_parts(*messages))
    assert turn.finished
    return list(turn.message)


def streamed_parts(*messages):
    """Return streamed parts with these messages, of which the last is final."""
    last = len(messages) - 1
    return [
        {"part": "", "reply_to": "in_1", "stream": True, "is_final": number == last, "message": message}
        for number, message in enumerate(messages)
    ]


def test_a_plain_reply_is_a_finished_turn():
    (turn,) = turns(parts("a_plain"))
    assert (turn.text, turn.finished, len(turn.parts)) == ("echo: hello", True, 1)


@pytest.mark.parametrize("recording", ["b_stream_long_stride1", "b_stream_long_stride8"])
def test_a_streamed_reply_is_its_last_snapshot(recording):
    (turn,) = turns(parts(recording))
    assert turn.finished
    assert turn.text == "".join(f"w{n:03} " for n in range(1, 61))


def test_a_text_goes_on_though_the_counter_restarts():
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
    begun = "".join(f"w{number:03} " for number in range(1, 17))
    assert (broken.finished, broken.text) == (False, begun + "Agent runner execution failed.")
    assert (following.finished, following.text) == (True, "echo: next turn")


def test_merged_messages_are_one_turn_under_the_first_id():
    (turn,) = turns(parts("c_aggregation_on"))
    assert turn.finished


def test_an_image_is_in_the_reply_beside_its_text():
    turn = turns([p for p in parts("l_image") if "picture" in p["text"]])[0]
    assert [segment["type"] for segment in turn.message][:2] == ["Plain", "Image"]
    assert turn.text == "here is a picture"


def test_a_second_reply_under_the_same_id_is_added():
    (turn,) = read(
        ("in_1", True, True, "first"), ("in_1", True, False, "sec"), ("in_1", True, True, "second")
    )
    assert (turn.text, turn.finished) == ("firstsecond", True)


def test_a_second_reply_that_has_not_ended_leaves_the_turn_unfinished():
    (turn,) = read(("in_1", True, True, "first"), ("in_1", True, False, "sec"))
    assert (turn.text, turn.finished) == ("firstsec", False)


def test_parts_that_are_not_streamed_add_up():
    (turn,) = read(("in_1", False, False, "a"), ("in_1", False, False, "b"), ("in_1", False, True, "c"))
    assert turn.text == "abc"


def test_a_text_that_restarts_is_added_to_the_text_before_it():
    looks, result = plain("Let me look it up"), plain("It is 5")
    assert streamed([plain("Let me look")], [looks], [plain("It")], [result]) == [looks, result]


def test_attachments_without_text_are_added_to_the_text():
    assert streamed([plain("It")], [plain("It is 5")], [IMAGE]) == [plain("It is 5"), IMAGE]


@pytest.mark.parametrize("blank", [[], [plain("")]])
def test_a_blank_last_part_adds_nothing_and_ends_its_text(blank):
    first, second = [plain("part 1")], [plain("part 1 of 2")]
    assert streamed([plain("part")], first, blank) == first
    (turn,) = turns([*streamed_parts(first, blank), *streamed_parts(second, blank)])
    assert list(turn.message) == first + second


def test_a_blank_part_in_the_midst_of_a_text_does_not_divide_it():
    assert streamed([plain("a")], [], [plain("ab")]) == [plain("ab")]


def test_a_snapshot_that_ends_within_an_emoji_is_replaced_by_the_next():
    assert streamed([plain("Good \ufffd")], [plain("Good 👍")]) == [plain("Good 👍")]


def test_a_snapshot_without_an_earlier_attachment_erases_nothing():
    first, second = [plain("a"), IMAGE], [plain("ab")]
    assert streamed(first, second) == first + second


def test_a_snapshot_with_all_attachments_so_far_replaces_the_one_before():
    last = [plain("ab"), IMAGE, IMAGE]
    assert streamed([plain("a")], [plain("a"), IMAGE], last, last) == last


def test_the_at_that_begins_each_part_for_a_group_is_in_the_reply_once():
    assert streamed([AT, plain("a")], [AT, plain("ab")], [AT]) == [AT, plain("ab")]


def test_two_streams_that_mix_under_one_id_are_two_texts():
    (turn,) = read(
        ("in_1", True, False, "w1 "),
        ("in_1", True, False, "echo: "),
        ("in_1", True, False, "w1 w2 "),
        ("in_1", True, True, "echo: hello"),
        ("in_1", True, False, "w1 w2 w3 "),
        ("in_1", True, True, "w1 w2 w3 w4 "),
    )
    assert turn.text == "echo: hellow1 w2 w3 w4 "


@pytest.mark.parametrize("stream", [True, False])
def test_the_work_for_a_part_does_not_grow_with_the_parts_before_it(stream):
    class Segment(dict):
        work = 0

        def get(self, name, default=None):
            Segment.work += 1
            return super().get(name, default)

        def __eq__(self, other):
            Segment.work += 1
            return super().__eq__(other)

    parts = streamed_parts(*([Segment(IMAGE, url=str(number))] for number in range(1000)))
    assert len(effective_parts(part | {"stream": stream} for part in parts)) == 1000
    assert Segment.work <= 20 * 1000


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


@pytest.mark.parametrize(
    ("reading", "complete"), [("b_stream_long_stride1", True), ("l_midstream_failure", False)]
)
def test_a_turn_without_a_final_part_looks_complete_unless_text_is_replaced(reading, complete):
    """Leave out the final part of a recording, if it has one."""
    (unfinished,) = {part["reply_to"]: part for part in parts(reading) if not part["is_final"]}.values()
    own = [part for part in parts(reading) if part["reply_to"] == unfinished["reply_to"]]
    assert looks_complete([part for part in own if not part["is_final"]][-2:]) is complete


@pytest.mark.parametrize(
    ("last_parts", "complete"),
    [
        ([], False),
        ([{"message": []}], False),
        ([{"message": [plain("It is 5.")]}], True),
        ([{"message": [plain("It is")]}, {"message": [plain("It is 5.")]}], True),
        ([{"message": [plain("It is")]}, {"message": [plain("Failed.")]}], False),
        ([{"message": [plain("It is")]}, {"overflow": "parts/x"}], True),
        ([{"overflow": "parts/x"}, {"message": [plain("It is 5.")]}], True),
        ([{"overflow": "parts/x"}, {"message": []}], False),
    ],
)
def test_a_turn_looks_complete_if_its_last_part_goes_on_with_the_text(last_parts, complete):
    assert looks_complete(last_parts) is complete


def test_people_read_the_replies_of_a_turn_one_by_one():
    (turn,) = turns(streamed_parts([plain("Let me look")], [plain("It is 5."), IMAGE]))
    assert turn.paragraphs == ["Let me look", "It is 5.[Image]"]
