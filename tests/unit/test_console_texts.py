"""The two languages of the console have the same texts, and all that the page asks for."""

import json
import re
from pathlib import Path

import pytest

from relay.domain.attempt import Verdict
from relay.domain.signing import Refusal
from relay.domain.states import State

STATIC = Path(__file__).parents[2] / "infra/relay_console/static"
ENGLISH, CHINESE = (json.loads((STATIC / f"{name}.json").read_text("utf-8")) for name in ("en", "zh"))
PAGE = "\n".join(
    path.read_text("utf-8") for path in sorted(STATIC.iterdir()) if path.suffix in (".js", ".html")
)


def test_both_languages_have_the_same_texts_with_the_same_values():
    def values(texts):
        return {key: sorted(re.findall(r"\{\w+\}", text)) for key, text in texts.items()}

    assert values(ENGLISH) == values(CHINESE)


def test_every_text_that_the_page_asks_for_is_there():
    asked = re.findall(
        r'(?:\btext\(|\bnote\(|\bsetText\([^"]+, )"([\w.]+)"|data-(?:text|label|placeholder)="([\w.]+)"', PAGE
    )
    keys = {one or other for one, other in asked}
    assert len(keys) > 50
    assert keys - ENGLISH.keys() == set()


def test_no_text_is_left_over():
    begun = tuple(f"{prefix}." for prefix in re.findall(r"(?:text\(|text: |, )`(\w+)\.\$\{", PAGE))
    ended = tuple(f".{ending}" for ending in re.findall(r"text\(`\$\{[\w.]+\}\.(\w+)`", PAGE))
    asked = set(re.findall(r'"([\w.]+)"', PAGE))
    assert [
        key for key in ENGLISH if key not in asked and not key.startswith(begun) and not key.endswith(ended)
    ] == []


@pytest.mark.parametrize(
    ("prefix", "values"), [("state", State), ("explain", State), ("verdict", Verdict), ("refused", Refusal)]
)
def test_every_value_of_the_stack_has_a_text(prefix, values):
    assert {f"{prefix}.{value}" for value in values} - ENGLISH.keys() == set()


def test_the_scripts_make_no_html_and_load_nothing_from_elsewhere():
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|DOMParser", PAGE)
    assert not re.search(r"https?://(?!www\.w3\.org)", PAGE)
