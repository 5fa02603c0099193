"""10,000 sessions, and a turn of 5,000 parts, without lag."""

import time

import pytest
from playwright.sync_api import expect

from console.console_fixtures import WITHIN, open_console
from relay.domain.keys import message_key, record_key
from relay.domain.states import State
from relay.domain.timestamps import utc_text
from support.console_server import serve_console
from support.samples import message_record

SESSIONS = 10_000
PARTS = 5_000
WRONG = 7_777
"""The number of the session in which something went wrong."""

TASKS = """() => {
  window.longest = 0;
  new PerformanceObserver((list) => {
    for (const task of list.getEntries()) window.longest = Math.max(window.longest, task.duration);
  }).observe({ type: "longtask" });
}"""


def record(number, now):
    queued_at = utc_text(now - number)
    return message_record(
        session=f"default#ticket-{number}",
        session_id=f"ticket-{number}",
        message=message_key(str(number)),
        message_id=f"id-{number}",
        body=f'{{"session_id": "ticket-{number}", "text": "hello {number}"}}',
        queued_at=queued_at,
        queued_on=queued_at[:10],
        state=State.UNANSWERED if number == WRONG else State.ANSWERED,
    )


def part(number, now):
    received_at, text = utc_text(now - 7200 + number / 100), "w" * (1 + number // 500)
    return {
        "session": "default#long",
        "part": f"{received_at[:-1]}#{number:06}#{number:012}",
        "session_id": "long",
        "bot": "default",
        "reply_to": "in_long",
        "sequence": number,
        "is_final": number == PARTS,
        "stream": True,
        "message": [{"type": "Plain", "text": text}],
        "text": text,
        "created_at": received_at,
        "sent_at": received_at,
        "received_at": received_at,
        "digest": f"{number:064}",
        "expires_at": int(now) + 86_400,
    }


class CrowdedStack:
    """A stack whose tables seem to have so many records and parts; to store them takes half a minute."""

    def __init__(self, stack, records, parts):
        self._stack = stack
        self._records = {record["message"]: record for record in records}
        self._parts = parts

    def __getattr__(self, name):
        return getattr(self._stack, name)

    def open_messages_table(self):
        table, records = self._stack.open_messages_table(), self._records
        table.recent = lambda day, page: (
            record_key(record["session"], record["message"])
            for record in records.values()
            if record["queued_on"] == day
        )
        table.read_many = lambda keys: [records[key["message"]] for key in keys if key["message"] in records]
        return table

    def open_replies_table(self):
        def parts(session, keys):
            return [part for part in self._parts if part["session"] == session and keys(part["part"])]

        table = self._stack.open_replies_table()
        table.parts_after = lambda session, after, _, consistent: parts(session, lambda key: key > after)
        table.parts_before = lambda session, before, limit: parts(session, lambda key: key < before)[-limit:]
        return table


@pytest.fixture(scope="module")
def crowded_console(deployed):
    """A console that shows SESSIONS sessions, and one long turn."""
    now = time.time()
    records = [record(n, now) for n in range(1, SESSIONS + 1)]
    deployed.stack.open_messages_table().write(records[WRONG - 1])
    stack = CrowdedStack(deployed.stack, records, [part(n, now) for n in range(1, PARTS + 1)])
    with serve_console(stack) as running:
        yield running


def test_ten_thousand_sessions_are_painted_at_once_and_searched(
    chromium, crowded_console, record_testsuite_property
):
    with open_console(chromium, crowded_console) as console:
        # The first page makes the console read them all.
        expect(console.page.locator("#session-count")).to_have_text(f"{SESSIONS}", timeout=4 * WITHIN)
    with open_console(chromium, crowded_console) as console:
        page = console.page
        page.locator("#session-list button").first.wait_for()
        rows = page.evaluate("() => performance.now()")
        paint = page.evaluate("() => performance.getEntriesByName('first-contentful-paint')[0].startTime")
        expect(page.locator("#session-count")).to_have_text(f"{SESSIONS}")
        print(f"\nfirst paint {paint:.0f} ms, first sessions {rows:.0f} ms")
        last = page.locator("#session-list button").last
        assert last.evaluate("row => getComputedStyle(row.parentNode).contentVisibility") == "auto"
        page.evaluate(TASKS)
        for _ in range(300):
            page.keyboard.press("j")
        expect(page.locator("button:focus .name")).to_have_text("ticket-300")
        print(f"longest task while moving {page.evaluate('() => window.longest'):.0f} ms")
        page.select_option("#state", "awaiting_operator")
        expect(page.locator("#session-list li .name")).to_have_text([f"ticket-{WRONG}"])
        page.select_option("#state", "")
        page.keyboard.press("/")
        page.keyboard.type(f"ticket-{WRONG}")
        print(f"longest task while searching {page.evaluate('() => window.longest'):.0f} ms")
        page.keyboard.press("Enter")
        expect(console.message(f"hello {WRONG}").locator(".chip")).to_have_attribute(
            "data-state", "unanswered"
        )
        console.keep_screenshot("ten-thousand-sessions")


def test_a_turn_of_five_thousand_parts_is_shown_whole(chromium, crowded_console):
    with open_console(chromium, crowded_console) as console:
        page = console.page
        page.evaluate(TASKS)
        page.fill("#search", "long")
        page.locator("#open-typed").click()
        turn = page.locator("#conversation-list .turn")
        expect(turn.locator(".open")).to_contain_text(f"parts: {PARTS}")
        turn.locator(".open").click()
        rows = page.locator("#part-list button")
        rows.last.scroll_into_view_if_needed()
        expect(rows).to_have_count(400)
        rows.nth(300).click()
        expect(page.locator(".facts dt:text-is('sequence') + dd")).to_have_text(f"{PARTS - 300}")
        print(f"\nlongest task with {PARTS} parts {page.evaluate('() => window.longest'):.0f} ms")
