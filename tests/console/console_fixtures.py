"""A page of the console in headless Chromium, on the running stack."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.deployed import Deployed

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

    from support.console_server import RunningConsole

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENSHOTS = Path(__file__).parents[2] / ".local/console-screenshots"
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 800}
OPTIONS: dict[str, Any] = {
    "viewport": WIDE,
    "locale": "en-GB",
    "timezone_id": "Asia/Shanghai",
    "permissions": ["clipboard-read", "clipboard-write"],
}
WITHIN = 30_000
"""Milliseconds in which the page shows what the stack does; the stack shares the machine with the browser."""


class ConsolePage:
    """A page of the console as its user sees it.

    `faults` are the errors that the browser has reported, but for those with a text that is `expected`.
    """

    def __init__(self, page: "Page", url: str) -> None:
        self.page = page
        self.faults: list[str] = []
        self.expected: str | None = None
        page.set_default_timeout(WITHIN)
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self._check(request.url, url))

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.faults.append(text)

    def _check(self, requested: str, url: str) -> None:
        if not requested.startswith((f"{url}/", "data:")):
            self.faults.append(f"a request to {requested}")

    def session(self, session_id: str) -> "Locator":
        """Return the line of a session in the left column."""
        name = self.page.locator(".name", has_text=re.compile(f"^{re.escape(session_id)}$"))
        return self.page.locator("#session-list button", has=name)

    def open(self, session_id: str) -> None:
        """Open a session from the left column."""
        self.session(session_id).click()
        self.page.locator("#conversation-title", has_text=session_id).wait_for()

    def message(self, text: str) -> "Locator":
        """Return the message of the conversation with a text."""
        return self.page.locator("#conversation-list .message", has_text=text)

    def turn(self, text: str) -> "Locator":
        """Return the turn of the conversation with a text."""
        return self.page.locator("#conversation-list .turn", has_text=text)

    def protocol(self) -> "Locator":
        return self.page.locator("#protocol-body")

    def keep_screenshot(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")


@contextmanager
def frequent_polls() -> Iterator[None]:
    """Let consoles poll often, and notice soon that a page has gone."""
    from relay_console import poller
    from relay_console.overview import Overview
    from relay_console.session_feed import SessionFeed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(poller, "KEEP_ALIVE", 1)
        for source, seconds in ((Overview, 0.5), (SessionFeed, 0.25)):
            patch.setattr(source, "busy_interval", seconds)
            patch.setattr(source, "idle_interval", seconds)
        yield


@contextmanager
def open_console(chromium: "Browser", console: "RunningConsole", **options: Any) -> Iterator[ConsolePage]:
    """Open the console in a browser context of its own; see `open_page`."""
    with (
        chromium.new_context(**{**OPTIONS, **options}) as context,
        open_page(context, console) as page,
    ):
        yield page


@contextmanager
def open_page(context: "BrowserContext", console: "RunningConsole") -> Iterator[ConsolePage]:
    """Open the console in a page of its own; fail if the browser reports an error meanwhile.

    Until it is closed, consoles read the stack more often than usual, since a test waits for what they read.
    """
    with frequent_polls():
        page = ConsolePage(context.new_page(), console.url)
        try:
            page.page.goto(console.guard.link)
            page.page.locator("#live[data-on=true]").wait_for()
            yield page
            # The secret stays: a request of the page may still be on its way.
            page.page.evaluate("() => ['language', 'theme'].forEach((key) => localStorage.removeItem(key))")
        finally:
            page.page.close()
    assert [fault for fault in page.faults if not page.expected or page.expected not in fault] == []


@pytest.fixture(scope="session")
def chromium() -> Iterator["Browser"]:
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=WITHIN)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def running_console(deployed: Deployed) -> Iterator["RunningConsole"]:
    from support.console_server import serve_console

    with serve_console(deployed.stack) as running:
        yield running


@pytest.fixture(scope="session")
def browser_context(chromium: "Browser") -> Iterator["BrowserContext"]:
    """One for all tests without options of their own: to make one takes three times as long as a page."""
    with chromium.new_context(**OPTIONS) as context:
        yield context


@pytest.fixture
def console(browser_context: "BrowserContext", running_console: "RunningConsole") -> Iterator[ConsolePage]:
    with open_page(browser_context, running_console) as page:
        yield page
