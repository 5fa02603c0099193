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
CONTROLS = {
    "Anybody on the Internet, without a secret": [
        "test_an_unsigned_request_is_refused_and_not_stored",
        "test_duplicated_headers_are_refused",
        "test_an_unknown_bot_looks_like_a_wrong_signature",
        "test_every_queue_refuses_requests_without_tls",
        "test_the_bucket_refuses_requests_without_tls",
    ],
    "An observer of a callback": [
        "test_a_retry_is_answered_200_and_stored_once",
        "test_parallel_retries_are_stored_once",
    ],
    "The holder of a bot's inbound secret": [
        "test_an_unsigned_request_is_refused_and_not_stored",
        "test_a_secret_overwritten_with_rubbish_stops_serving_within_minutes",
        "test_a_deleted_secret_stops_serving_within_minutes",
    ],
    "The holder of a bot's outbound secret": [
        "test_sessions_of_different_bots_never_share_a_key",
        "test_unknown_fields_are_kept_and_cannot_replace_ours",
        "test_a_field_that_is_called_as_one_of_ours_reads_nothing_else",
    ],
    "A bot's server": [
        "test_a_response_that_drips_for_ever_ends_at_the_deadline",
        "test_a_redirect_is_not_followed",
        "test_no_cookie_goes_back_or_to_another_bot",
        "test_what_a_bot_sends_after_its_response_is_not_the_next_bots",
        "test_no_credentials_in_a_url_go_to_another_bot",
    ],
    "Another page, user or program on the operator's machine, and the console": [
        "test_nothing_else_is_served_without_the_secret",
        "test_no_response_sets_a_cookie_which_every_port_of_the_host_would_get",
        "test_the_link_is_not_in_the_browsers_arguments",
        "test_another_host_name_is_refused_even_with_the_secret",
        "test_a_change_from_another_page_is_refused",
        "test_every_response_forbids_scripts_that_are_not_the_consoles",
        "test_hostile_texts_are_shown_as_texts",
        "test_the_browser_lets_no_text_become_html",
    ],
    "A queue sender": [
        "test_by_default_no_other_account_may_send",
        "test_a_named_sender_may_send_and_nothing_else",
        "test_an_invalid_message_is_refused_and_its_fault_named",
        "test_an_error_shows_40_printable_characters_of_a_key",
        "test_a_resend_sends_what_was_parked_whatever_its_own_body_says",
        "test_a_session_that_hangs_does_not_hold_up_the_others",
    ],
    "An end user whose text reaches an operator through a model": [
        "test_a_delivery_is_logged_by_its_ids_and_never_by_its_text",
        "test_a_part_is_logged_by_its_bot_and_never_by_its_text",
        "test_a_fault_never_quotes_the_message",
        "test_a_text_for_people_does_not_steer_the_terminal",
        "test_json_does_not_steer_the_terminal_and_keeps_the_text",
    ],
    "A writer of a bot's secret": [
        "test_nothing_is_sent_to_a_metadata_address_however_it_is_written",
        "test_no_bot_is_at_a_metadata_or_link_local_address",
        "test_a_fault_in_the_secret_makes_the_bot_unusable_and_is_named",
        "test_set_writes_no_weak_secret",
    ],
    "A reader of the tables": [
        "test_no_item_contains_a_secret_or_a_signature",
        "test_a_role_may_do_what_its_function_needs_and_nothing_else",
        "test_the_customer_key_encrypts_every_resource_of_a_kind",
    ],
    "A reader of the event bus": [
        "test_the_event_of_a_message_does_not_quote_the_message",
        "test_a_reply_is_in_its_event_up_to_128_kb",
    ],
    "A writer to the event bus": [
        "test_publish_may_publish_only_in_the_relays_name",
    ],
}
"""The tests of the controls that the page names against each, by the first column of its threats."""


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
    assert len(talk.parts()) == 1


def test_no_item_contains_a_secret_or_a_signature(talk):
    sent = talk.push("hello")
    talk.conversation().wait(sent)
    items = json.dumps([talk.deployed.record(sent), *talk.parts()], default=str)
    assert "hello" in items
    assert not [secret for secret in (IN, OUT, "sha256=") if secret in items]


def test_each_test_of_a_control_exists():
    named = {name for tests in CONTROLS.values() for name in tests}
    paths = [path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    assert named <= set(re.findall(r"^def (test_\w+)", "\n".join(paths), re.MULTILINE))


def test_each_row_of_the_threat_model_says_all_and_has_its_tests():
    rows = table("Threats")
    assert len(rows) >= 11
    assert all(all(row.values()) for row in rows)
    assert list(CONTROLS) == [re.sub(r"\[(.*?)\]\(.*?\)", r"\1", row["who"]) for row in rows]
    assert all(CONTROLS.values())
