"""Each link of a document leads to a file that exists, and to a heading of it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*ROOT.glob("*.md"), *ROOT.glob(".github/*.md"), *DOCS]


def links(page):
    """Return the links of a page into this folder: the file, and the anchor or ""."""
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" not in link:
            name, _, anchor = link.partition("#")
            yield (page.parent / name if name else page).resolve(), anchor


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_leads_somewhere(page):
    broken = [
        (target.name, anchor)
        for target, anchor in links(page)
        if not target.exists() or (anchor and anchor not in anchors(target))
    ]
    assert broken == []


def test_the_readme_leads_to_each_of_at_most_15_pages():
    assert len(DOCS) <= 15
    assert set(DOCS) <= {target for target, _ in links(ROOT / "README.md")}
