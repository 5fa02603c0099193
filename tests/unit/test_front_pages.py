"""The English and the Chinese front page say the same, with the terms and figures of the project."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = ((ROOT / name).read_text("utf-8") for name in ("README.md", "README.zh.md"))


def blocks(page):
    """Return the blocks of code without comments, and the chart without its labels."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        yield re.sub(r'\|[^|\n]*\||"[^"\n]*"' if language == "mermaid" else r"\s+#.*", "", block)


def links(page):
    """Return how often a page links to each address, but to the other front page."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page)
    return Counter(target for target in targets if not target.startswith("README"))


def names(page):
    """Return what a page quotes in its sentences."""
    return Counter(re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```", "", page)))


@pytest.mark.parametrize("of", [blocks, links, names])
def test_both_front_pages_have_the_same_commands_links_and_names(of):
    assert list(of(ENGLISH))
    assert Counter(of(ENGLISH)) == Counter(of(CHINESE))


def test_a_front_page_has_at_most_110_lines():
    assert all(len(page.splitlines()) <= 110 for page in (ENGLISH, CHINESE))


@pytest.mark.parametrize("term", ["bot", "session", "protocol.message", "protocol.turn", "parts.n"])
def test_the_chinese_front_page_has_the_terms_of_the_console(term):
    texts = json.loads((ROOT / "infra/relay_console/static/zh.json").read_text("utf-8"))
    assert texts[term].partition("：")[0] in CHINESE


@pytest.mark.parametrize(
    ("page", "figure"),
    [
        ("reliability", r"^([\d,]+) seeds, .*: 0 seeds broke a promise\.$"),
        ("reliability", r"([\d,]+) faults: 0 seeds broke a promise\.$"),
        ("cost", r"\| per million messages (?s:.*?)\| in all \| \| ([\d.]+) \|$"),
        ("cost", r"\| each month (?s:.*?)\| in all \| \| ([\d.]+) \|$"),
    ],
)
def test_the_figures_of_the_front_pages_are_those_of_the_page_behind(page, figure):
    found = re.search(figure, (ROOT / f"docs/{page}.md").read_text("utf-8"), re.MULTILINE)
    assert found
    assert all(found[1] in front for front in (ENGLISH, CHINESE))
