import pytest

from relay.domain.bot import BOT_NAME
from relay.domain.keys import (
    BOTS,
    OPERATOR,
    RECHECKS,
    SETTLE,
    UNANSWERED,
    bot_of,
    group_id,
    is_message_id,
    is_message_key,
    message_key,
    part_key,
    session_key,
    stamp_of,
    unreadable_session,
)

STAMP = "2026-11-22T13:00:48.606776"


def test_a_session_has_its_bot_in_its_key_so_that_two_bots_never_share_one():
    assert session_key("default", "s-1") == "default#s-1"
    assert session_key("a", "b#c") != session_key("a-b", "c")


def test_the_bot_of_a_session_is_found_though_the_session_has_a_separator():
    assert bot_of(session_key("sales", "a#b")) == "sales"


def test_keys_that_the_tables_hold_keep_their_form():
    assert (BOTS, RECHECKS) == ("bots", "rechecks")
    assert (OPERATOR, UNANSWERED, SETTLE) == ("#operator", "#unanswered", "#settle")
    assert unreadable_session("group-1") == "#group-1"


@pytest.mark.parametrize("key", [BOTS, RECHECKS, OPERATOR, UNANSWERED, SETTLE, unreadable_session("group")])
def test_a_reserved_key_is_never_that_of_a_bots_session(key):
    bot, separator, _ = key.partition("#")
    assert not separator or not BOT_NAME.fullmatch(bot)


@pytest.mark.parametrize("session", ["default#s-1", "default#" + "s" * 120])
def test_the_message_group_of_a_session_is_its_key_if_sqs_accepts_it(session):
    assert group_id(session) == session


@pytest.mark.parametrize("session_id", ["s" * 121, "票-1", "a b", "a\n", ""])
def test_every_session_has_a_message_group_that_sqs_accepts(session_id):
    group = group_id(session_key("default", session_id))
    assert 1 <= len(group) <= 128
    assert all("!" <= character <= "~" for character in group)


def test_two_sessions_never_share_a_message_group():
    sessions = [session_key("default", session_id) for session_id in ("票-1", "票-2", "a b", "a  b", "a")]
    assert len({group_id(session) for session in sessions}) == len(sessions)


def test_queue_order_is_the_order_of_message_keys():
    numbers = [0, 9, 10, 18_894, 2**64, 2**128 - 1]
    keys = [message_key(str(number)) for number in numbers]
    assert sorted(keys) == keys
    assert len({len(key) for key in keys}) == 1


@pytest.mark.parametrize(
    ("text", "is_key"),
    [
        (message_key("18894"), True),
        (message_key(str(2**128 - 1)), True),
        ("18894", False),
        ("", False),
        ("x" * 39, False),
        ("٣" * 39, False),
        (" " + "1" * 38, False),
        (message_key("18894") + "#0", False),
        (message_key("1" * 40), False),
    ],
)
def test_a_message_key_is_recognized_by_its_form(text, is_key):
    assert is_message_key(text) is is_key


def test_a_part_has_its_stamp_its_sequence_and_its_digest_in_its_key():
    key = part_key(STAMP, 7, "0123456789abcdef")
    assert key == f"{STAMP}#000007#0123456789ab"
    assert stamp_of(key) == STAMP


@pytest.mark.parametrize(("sequence", "shown"), [(-1, "000000"), (999_999, "999999"), (2**70, "999999")])
def test_a_sequence_of_any_size_has_six_digits_in_the_key(sequence, shown):
    assert part_key(STAMP, sequence, "0" * 64) == f"{STAMP}#{shown}#{'0' * 12}"


def test_parts_are_ordered_by_their_stamps_before_their_sequences():
    later = STAMP.replace("48.606776", "48.606777")
    assert part_key(STAMP, 9, "f" * 64) < part_key(later, 1, "0" * 64)


def test_two_parts_of_one_stamp_and_sequence_differ_by_their_digests():
    assert part_key(STAMP, 1, "a" * 64) != part_key(STAMP, 1, "b" * 64)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("0a1b2c3d-0000-4000-8000-0123456789ab", True),
        ("", False),
        ("two words", False),
        ("1" * 39, False),
        ("id\n", False),
    ],
)
def test_an_id_of_sqs_has_letters_digits_and_dashes(text, is_one):
    assert is_message_id(text) is is_one
