import pytest

from relay.domain.selection import Selection, reason_of, waits_since
from relay.domain.states import State
from relay.domain.timestamps import utc_text
from support.samples import NOW, message_record

PARKED = message_record(
    session="sales#s 1", state=State.PARKED, parked_at=utc_text(NOW), reason="tried for 60 s; answered 503"
)
UNANSWERED = message_record(
    session="sales#s 1", state=State.UNANSWERED, unanswered_at=utc_text(NOW), last_error="no reply"
)


def test_what_is_not_named_selects_every_message_that_waits_for_an_operator():
    assert Selection().has(PARKED)
    assert Selection().has(UNANSWERED)


@pytest.mark.parametrize("state", sorted(set(State) - {State.PARKED, State.UNANSWERED}))
def test_a_message_that_waits_for_no_operator_is_never_selected(state):
    assert not Selection().has(PARKED | {"state": state})


@pytest.mark.parametrize("record", [PARKED, UNANSWERED], ids=["parked", "unanswered"])
@pytest.mark.parametrize(
    ("matching", "other"),
    [
        ({"bot": "sales"}, {"bot": "sale"}),
        ({"session_id": "s 1"}, {"session_id": "s"}),
        ({"since": utc_text(NOW)}, {"since": utc_text(NOW + 0.001)}),
        ({"until": utc_text(NOW)}, {"until": utc_text(NOW - 0.001)}),
    ],
    ids=["bot", "session", "since", "until"],
)
def test_a_message_is_selected_by_each_thing_that_is_named(record, matching, other):
    assert Selection(**matching).has(record)
    assert not Selection(**other).has(record)


def test_a_message_is_selected_by_its_state():
    assert Selection(state=State.PARKED).has(PARKED)
    assert not Selection(state=State.PARKED).has(UNANSWERED)
    assert Selection(state=State.UNANSWERED).has(UNANSWERED)
    assert not Selection(state=State.UNANSWERED).has(PARKED)


def test_a_message_is_selected_by_a_part_of_its_reason():
    assert Selection(reason="answered 503").has(PARKED)
    assert not Selection(reason="answered 400").has(PARKED)
    assert Selection(reason="no reply").has(UNANSWERED)


def test_the_bot_of_a_message_that_names_none_is_empty():
    assert Selection(bot="").has(PARKED | {"session": "#group"})
    assert not Selection(bot="").has(PARKED)


def test_a_key_can_be_of_the_selection_if_bot_and_session_are():
    key = {"session": "sales#s 1", "message": "1"}
    assert Selection(bot="sales", session_id="s 1").may_have(key)
    assert not Selection(bot="other").may_have(key)
    assert not Selection(session_id="s").may_have(key)


def test_a_message_that_was_parked_before_it_was_unanswered_waits_since_the_last():
    both = UNANSWERED | {"parked_at": utc_text(NOW - 60), "reason": "before"}
    assert (waits_since(both), reason_of(both)) == (utc_text(NOW), "no reply")
