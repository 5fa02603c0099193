"""What docs/security.md states: what a flood of requests costs, and which test holds each control."""

import json
import re
from math import ceil
from pathlib import Path

import pytest

from relay.adapters.bot_cache import BURST_SECONDS
from support.callbacks import part_body
from support.deployed import IN, OUT
from support.floods import Flood

ROOT = Path(__file__).parents[2]
REQUESTS = 10
REQUEST_ID = len(', "requestId": "01234567-89ab-cdef-0123-456789abcdef"')
"""Bytes that Lambda's formatter adds to each line that is logged within an invocation."""


def table(heading):
    """Return the rows of the first table under a heading of the document."""
    _, _, section = (ROOT / "docs/security.md").read_text("utf-8").partition(f"\n## {heading}\n")
    lines = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


FLOODS = {row["request"]: row for row in table("Floods")}


@pytest.fixture
def flood(callback, talk):
    return Flood(callback, talk)


@pytest.mark.parametrize("kind", FLOODS)
def test_a_request_without_a_secret_costs_what_the_document_says(flood, kind, log_lines, capsys):
    services = flood.callback
    with flood.of(kind) as post:
        services.reset()
        log_lines.clear()
        capsys.readouterr()
        statuses = {post() for _ in range(REQUESTS)}
    logged = sum(len(line) + REQUEST_ID for line in log_lines) + len(capsys.readouterr().out)
    documented = FLOODS[kind]
    assert statuses == {int(documented["response"])}
    assert services.secrets.requests == REQUESTS * int(documented["lookups"])
    assert services.table.requests + services.bucket.requests + services.queue.requests == 0
    assert logged / REQUESTS == int(documented["log bytes"])


@pytest.mark.parametrize("kind", FLOODS)
def test_the_dollars_of_a_flood_follow_from_its_figures(kind):
    row = FLOODS[kind]
    lookups = int(row["lookups"])
    billed = ceil(float(row["CPU ms"]) * 3.5 + 15 * lookups) / 1000
    api_requests = 12 if "5.9 MB" in kind else 1
    dollars = api_requests + 0.2 + billed * 0.5 * 13.33 + int(row["log bytes"]) / 1000 * 0.5 + lookups * 5
    assert float(row["$ a million"]) == pytest.approx(dollars, abs=0.005)


def test_a_flood_of_made_up_names_makes_no_more_lookups_than_its_share(flood):
    at_once = flood.callback.app.LOOKUPS_PER_SECOND * BURST_SECONDS
    with flood.of("a made-up name") as post:
        flood.callback.reset()
        statuses = [post() for _ in range(3 * at_once)]
    assert statuses == [401] * at_once + [503] * 2 * at_once
    assert flood.callback.secrets.requests == at_once


def test_a_part_that_is_repeated_in_a_flood_is_kept(flood, talk):
    with flood.of("a made-up name, too many of them") as post:
        raw = part_body(talk)
        statuses = [flood.callback.post(talk, raw)[0], post(), flood.callback.post(talk, raw)[0], post()]
    assert statuses == [503, 503, 200, 503]
    assert len(talk.conversation().parts()) == 1


def test_no_item_contains_a_secret_or_a_signature(talk):
    sent = talk.push("hello")
    talk.conversation().wait(sent)
    items = json.dumps([talk.deployed.record(sent), *talk.conversation().parts()], default=str)
    assert "hello" in items
    assert not [secret for secret in (IN, OUT, "sha256=") if secret in items]


def test_each_test_that_the_threat_model_names_exists():
    named = {
        name for row in table("Tests of the controls") for name in re.findall(r"`(test_\w+)`", row["test"])
    }
    paths = [path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    assert named <= set(re.findall(r"^def (test_\w+)", "\n".join(paths), re.MULTILINE))


def test_each_row_of_the_threat_model_says_all_and_names_its_tests():
    rows = table("Threats")
    assert len(rows) >= 11
    assert all(all(row.values()) for row in rows)
    tested = {row["who"]: row["test"] for row in table("Tests of the controls")}
    assert list(tested) == [re.sub(r"\[(.*?)\]\(.*?\)", r"\1", row["who"]) for row in rows]
    assert all("`test_" in test for test in tested.values())
