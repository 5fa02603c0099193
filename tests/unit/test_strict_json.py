import json
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.domain import lenient_json
from relay.domain.strict_json import MAX_DEPTH, MAX_VALUES, Malformed, loads

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=10,
)


def nested(depth):
    return "[" * depth + "]" * depth


@settings(derandomize=True, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES, st.booleans())
def test_every_json_value_is_read_as_it_was_written(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert loads(text) == loads(text.encode()) == value


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("'a'", "not valid JSON"),
        ("[1,]", "not valid JSON"),
        ("1 2", "not valid JSON"),
        ("\ufeff\ufeff1", "not valid JSON"),
        ("9" * 4301, "not valid JSON"),
        (b"\xff", "not valid UTF-8"),
        (b'"\xed\xa0\x80"', "not valid UTF-8"),  # a surrogate in UTF-8
        ("NaN", "NaN is not JSON"),
        ("[Infinity]", "Infinity is not JSON"),
        ('{"a": -Infinity}', "-Infinity is not JSON"),
        ("1e400", "a number is too large"),
        ("-1e400", "a number is too large"),
        ('{"a": 1, "a": 1}', "an object has the same key twice"),
        ('[{"b": {"a": 1, "\\u0061": 2}}]', "an object has the same key twice"),
        (nested(MAX_DEPTH + 2), f"nested deeper than {MAX_DEPTH} levels"),
        ('{"a":' * (MAX_DEPTH + 2) + "1" + "}" * (MAX_DEPTH + 2), f"nested deeper than {MAX_DEPTH} levels"),
        (nested(100_000), f"nested deeper than {MAX_DEPTH} levels"),
    ],
)
def test_a_document_that_cannot_be_stored_and_written_again_is_refused(raw, fault):
    with pytest.raises(Malformed) as refused:
        loads(raw)
    assert str(refused.value) == fault


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        ('"\\ud800"', "the document"),
        ('{"a": "\\udfff"}', "a"),
        ('{"a": [1, {"b": "x\\ud800"}]}', "a[1].b"),
        ('{"\\ud800": 1}', "a key"),
        ('{"a": {"\\ud800": 1}}', "a key of a"),
    ],
)
def test_a_lone_surrogate_is_refused_and_its_place_named(raw, place):
    with pytest.raises(Malformed) as refused:
        loads(raw)
    assert str(refused.value) == f"{place} holds a lone surrogate"


def test_a_pair_of_surrogates_is_one_character():
    assert loads('"\\ud83d\\ude00"') == "😀"


def test_the_deepest_nesting_is_read():
    value = loads(nested(MAX_DEPTH + 1))
    for _ in range(MAX_DEPTH):
        (value,) = value
    assert value == []
    loads('{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH)


def test_the_longest_integer_is_read():
    assert loads("9" * 4300) == 10**4300 - 1


def test_numbers_with_a_fraction_are_read_as_the_caller_wants_them():
    assert loads("[1.10, 1e400, 7]", parse_float=Decimal) == [Decimal("1.10"), Decimal("1e400"), 7]


def test_an_error_shows_40_printable_characters_of_a_key():
    key = "\x1b[2J" + "k" * 250_000
    with pytest.raises(Malformed) as refused:
        loads(json.dumps({key: "\ud800"}))
    assert str(refused.value) == "?[2J" + "k" * 36 + " holds a lone surrogate"


FULL = MAX_VALUES - 1


@pytest.mark.parametrize(
    "text",
    [
        f"[{'0, ' * (FULL - 1)}0]",
        f"[{'{}, ' * (FULL // 2 - 1)}{{}}]",
        json.dumps({str(number): "" for number in range(FULL)}),
        json.dumps(['[{,"\\' * MAX_VALUES, 'a "quoted" \\'] * 2),
        json.dumps("," * MAX_VALUES + "😀", ensure_ascii=False),
    ],
    ids=["numbers", "objects", "keys", "brackets-in-a-text", "commas-in-a-text"],
)
def test_a_document_of_many_values_or_a_text_of_any_form_is_read(text):
    assert loads(text) == json.loads(text)
    assert lenient_json.loads(text.encode()) == (json.loads(text), True)


@pytest.mark.parametrize(
    "text",
    [
        f"[{'0, ' * FULL}0]",
        "[" * 30 + f"{'[], ' * (FULL // 2)}[]" + "]" * 30,
        f"[{'1.5, ' * FULL}" + "9" * 4301 + "]",
        json.dumps(["\ud800", *[""] * FULL]),
        json.dumps({str(number): "a, b" for number in range(MAX_VALUES)}),
        json.dumps([","] * MAX_VALUES),
        '"a, "' * (2 * MAX_VALUES + 1),
    ],
    ids=["numbers", "lists", "digits", "surrogate", "keys", "texts", "no-json"],
)
def test_a_document_of_too_many_values_is_refused_unread(text, monkeypatch):
    monkeypatch.delattr(json, "loads")
    for read in (loads, lambda text: lenient_json.loads(text.encode())):
        with pytest.raises(Malformed) as refused:
            read(text)
        assert str(refused.value) == "more than 200,000 values"


@settings(derandomize=True, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES, st.integers(0, 50), st.booleans())
def test_a_document_is_refused_exactly_if_it_has_more_values_than_may_be(value, most, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("relay.domain.strict_json.MAX_VALUES", most)
        try:
            loads(text)
        except Malformed:
            assert counted(value) > most
        else:
            assert counted(value) <= most


def counted(value):
    """Return the number of values in a value, itself included; an empty list or object counts as two."""
    if isinstance(value, dict | list):
        within = value.values() if isinstance(value, dict) else value
        return 1 + (sum(map(counted, within)) or 1)
    return 1
