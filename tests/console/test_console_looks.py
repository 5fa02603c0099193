"""How the page looks: themes, languages, screens, and what assistive technology gets."""

import json
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from console.console_fixtures import NARROW, WITHIN, open_console
from support.parked_messages import park

expect.set_options(timeout=WITHIN)

STATIC = Path(__file__).parents[2] / "infra/relay_console/static"
STATE = {"en": "State of the stack", "zh": "堆栈状态"}


@pytest.fixture
def filled(talk):
    """A session with an answered message and a parked one."""
    talk.deployed.state(talk.push("MULTI"), "answered")
    park(talk, "please park me")
    return talk


def serious(page):
    """Return what axe finds serious on the page as it is."""
    # The policy of the page keeps axe from its own helpers; Playwright runs it beside the page.
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_is_accessible_in_each_language_and_theme(
    chromium, running_console, filled, language, theme
):
    with open_console(chromium, running_console, color_scheme=theme) as console:
        page = console.page
        page.select_option("#language", language)
        expect(page.locator("#protocol-title")).to_have_text(STATE[language])
        page.locator(".card", has_text=filled.name).wait_for()
        assert serious(page) == []
        console.open(filled.session)
        console.message("please park me").locator(".open").click()
        page.locator(".attempts li").wait_for()
        assert serious(page) == []
        console.keep_screenshot(f"message-{language}-{theme}")
        console.turn("part 3 of 3").locator(".open").click()
        page.locator(".verified").wait_for()
        assert serious(page) == []
        console.keep_screenshot(f"turn-{language}-{theme}")
        page.keyboard.press("?")
        expect(page.locator("#help")).to_be_visible()
        assert serious(page) == []
        page.keyboard.press("Escape")
        console.message("please park me").locator(".acts button").nth(1).click()
        expect(page.locator("#act")).to_be_visible()
        assert serious(page) == []
        console.keep_screenshot(f"drop-{language}-{theme}")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_theme_can_be_chosen_and_is_remembered(console, theme):
    other = {"light": "dark", "dark": "light"}[theme]
    console.page.emulate_media(color_scheme=other)
    console.page.select_option("#theme", theme)
    scheme = "() => getComputedStyle(document.documentElement).colorScheme"
    assert console.page.evaluate(scheme) == theme
    console.page.reload()
    console.page.locator("#live[data-on=true]").wait_for()
    assert console.page.evaluate(scheme) == theme


def test_a_language_can_be_chosen_and_is_remembered(console):
    console.page.select_option("#language", "zh")
    expect(console.page.locator("#protocol-title")).to_have_text(STATE["zh"])
    console.page.reload()
    expect(console.page.locator("#protocol-title")).to_have_text(STATE["zh"])
    assert console.page.evaluate("() => document.documentElement.lang") == "zh-CN"


def test_a_browser_that_prefers_chinese_gets_it(chromium, running_console):
    with open_console(chromium, running_console, locale="zh-CN") as console:
        expect(console.page.locator("#protocol-title")).to_have_text(STATE["zh"])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_text_on_the_page_is_translated(console, filled, language):
    console.page.select_option("#language", language)
    console.open(filled.session)
    console.turn("part 3 of 3").locator(".open").click()
    console.page.locator(".verified").wait_for()
    keys = json.loads((STATIC / "en.json").read_text("utf-8")).keys()
    dotted = [key for key in keys if "." in key]
    texts = console.page.locator("body").inner_text()
    assert [key for key in dotted if key in texts] == []
    foreign = json.loads((STATIC / f"{'zh' if language == 'en' else 'en'}.json").read_text("utf-8"))
    assert [text for text in foreign.values() if len(text) > 12 and text in texts] == []


def test_a_narrow_screen_shows_one_column_at_a_time(chromium, running_console, filled):
    with open_console(chromium, running_console, viewport=NARROW) as console:
        page = console.page
        columns = [page.locator(f"#{name}") for name in ("sessions", "conversation", "protocol")]

        def expect_only(shown):
            for number, column in enumerate(columns):
                expect(column).to_be_visible() if number == shown else expect(column).to_be_hidden()
            assert page.evaluate("() => document.documentElement.scrollWidth") <= NARROW["width"]

        expect_only(0)
        console.keep_screenshot("narrow-sessions")
        console.open(filled.session)
        expect_only(1)
        console.message("please park me").locator(".open").click()
        page.locator(".attempts li").wait_for()
        expect_only(2)
        console.keep_screenshot("narrow-message")
        assert serious(page) == []
        page.click("#columns [data-to=conversation]")
        expect_only(1)
        console.keep_screenshot("narrow-conversation")
        page.click("#columns [data-to=sessions]")
        expect_only(0)


def test_the_screenshots_of_the_documents(chromium, running_console, filled):
    with open_console(chromium, running_console) as console:
        console.open(filled.session)
        console.keep_screenshot("overview")
