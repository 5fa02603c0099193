import pytest

from relay.domain.segments import collapse, readable, text_of


def plain(*texts):
    return [{"type": "Plain", "text": text} for text in texts]


AT = {"type": "At", "target": "u1", "display": ""}
IMAGE = {"type": "Image", "base64": "data:image/png;base64,AAAA"}


@pytest.mark.parametrize(
    ("response", "reply"),
    [
        (plain("w1 ", "w1 w2 ", "w1 w2 w3", "w1 w2 w3"), plain("w1 w2 w3")),
        (
            plain("part 1 of 3", "part 2 of 3", "part 3 of 3"),
            plain("part 1 of 3", "part 2 of 3", "part 3 of 3"),
        ),
        ([AT, *plain("a"), AT, *plain("ab"), AT, *plain("abc")], [AT, *plain("abc")]),
        ([*plain("see"), IMAGE], [*plain("see"), IMAGE]),
        ([IMAGE, *plain("a", "ab")], [IMAGE, *plain("ab")]),
        ([*plain("a"), IMAGE, *plain("ab")], [*plain("a"), IMAGE, *plain("ab")]),
        (
            plain("w1", "w1 w2", "Agent runner execution failed."),
            plain("w1 w2", "Agent runner execution failed."),
        ),
        (
            plain("Let me look", "Let me look it up", "It", "It is 5", "It is 5"),
            plain("Let me look it up", "It is 5"),
        ),
        # It was cut within an emoji.
        (plain("Good \ufffd", "Good 👍"), plain("Good 👍")),
        ([], []),
        ([IMAGE, IMAGE], [IMAGE, IMAGE]),
    ],
)
def test_snapshots_in_a_sync_response_collapse_to_the_last(response, reply):
    assert collapse(response) == reply


def test_the_text_of_a_message_is_its_plain_segments():
    assert text_of([AT, *plain("hello ", "you"), IMAGE, {"type": "Plain", "text": None}, {}]) == "hello you"


def test_people_read_what_is_no_text_by_its_type():
    assert readable([*plain("see "), IMAGE]) == "see [Image]"
