import json
from decimal import Decimal

import pytest

from relay.domain.lenient_json import loads
from relay.domain.strict_json import Malformed


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"n": NaN}', {"n": "NaN"}),
        (b'{"n": -Infinity}', {"n": "-Infinity"}),
        (b'{"n": 1e400}', {"n": "1e400"}),
        (b'{"n": 1' + b"0" * 4301 + b"}", {"n": "1" + "0" * 4301}),
        (b'{"t": "half \\ud83d an emoji"}', {"t": "half \ufffd an emoji"}),
        (b'{"\\ude00": [1]}', {"\ufffd": [1]}),
        (b'{"t": "\\uD83D"}', {"t": "\ufffd"}),
        (b'{"t": "\\udfff"}', {"t": "\ufffd"}),
        (b'{"t": "\xff"}', {"t": "\ufffd"}),
        (b'{"k": 1, "k": 2}', {"k": 2}),
        (b"\xef\xbb\xbf{}", {}),
        (b'{"t": "a\x00\tb"}', {"t": "a\x00\tb"}),
    ],
    ids=[
        "nan",
        "infinity",
        "past-a-double",
        "past-python",
        "surrogate",
        "key",
        "surrogate-upper",
        "surrogate-last",
        "utf-8",
        "key-twice",
        "bom",
        "control",
    ],
)
def test_what_json_cannot_hold_is_changed_and_said(raw, value):
    found, exact = loads(raw)
    assert found == value
    assert exact is (raw == b"\xef\xbb\xbf{}" or b"\x00" in raw)


@pytest.mark.parametrize(
    "raw", [b'{"t": "\\ud83d\\ude00", "n": 1.5}', '{"t": "客服"}'.encode(), b"[1, null]"]
)
def test_plain_json_is_read_as_it_is(raw):
    assert loads(raw) == (json.loads(raw), True)


def test_numbers_are_read_as_the_caller_wants_them():
    assert loads(b"[1.10, 2]", Decimal) == ([Decimal("1.10"), 2], True)


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"<html>", "not valid JSON"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
def test_what_is_no_json_is_malformed(raw, fault):
    with pytest.raises(Malformed) as refused:
        loads(raw)
    assert str(refused.value) == fault
