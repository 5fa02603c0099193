"""How the page looks: themes, languages, screens, and what assistive technology gets."""

import base64
import json
import struct
import time
import zlib
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from console.console_fixtures import NARROW, open_console
from local.local_stack import local_stack
from local.sample_bot import Answer, SampleBot
from relay import Stack
from support.callbacks import part_body, post_part, reply
from support.console_server import serve_console
from support.deployed import IN, OUT, Deployed, Talk, new_bot
from support.parked_messages import park

STATIC = Path(__file__).parents[2] / "infra/relay_console/static"
STATE = {"en": "State of the stack", "zh": "堆栈状态"}


@pytest.fixture(scope="module")
def filled(deployed):
    """A session with an answered message and a parked one, which no test changes."""
    with new_bot(deployed) as talk:
        talk.deployed.state(talk.push("MULTI"), "answered")
        park(talk, "please park me")
        yield talk


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
        console.message("please park me").locator(".actions button").nth(1).click()
        expect(page.locator("#confirm")).to_be_visible()
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
    expect(console.page.locator("#stack")).to_have_text("本地堆栈")
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


class QuietBot(SampleBot):
    """A bot that accepts messages and leaves it to the test to answer."""

    def accept(self, turn):
        pass


def picture():
    """Draw a parcel's label as a PNG of 240 by 120 pixels."""

    def pixel(x, y):
        bar = 20 < y < 80 and 20 < x < 220 and (x * 7919 // 4) % 5 < 2
        return b"\x16\x1b\x21" if bar or (92 < y < 104 and 60 < x < 180) else b"\xf7\xf3\xe8"

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"".join(pixel(x, y) for x in range(240)) for y in range(120))
    header = struct.pack(">IIBBBBB", 240, 120, 8, 2, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return {"type": "Image", "base64": f"data:image/png;base64,{base64.b64encode(png).decode()}"}


@pytest.fixture
def desk(tmp_path_factory):
    """A stack of its own with the tickets of a day."""
    folder = tmp_path_factory.mktemp("desk")
    with local_stack(folder=folder) as local:
        deployed = Deployed(local, Stack.from_file(folder / "outputs.json"))
        with QuietBot(deployed.callback_url("support"), IN, OUT) as bot:
            local.connect(bot.url, IN, OUT, bot="support")
            yield Talk(deployed, bot, "support", "ticket-1047")


def answer(talk, sent, *replies):
    """Answer a message: each reply is a text that grows, or segments."""
    reply_to = talk.deployed.accepted(sent)["accepted_message_id"]
    for number, told in enumerate(replies, 1):
        segments = [{"type": "Plain", "text": told}] if isinstance(told, str) else told
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{number:06}"
        fields = {
            "message": segments,
            "sequence": number,
            "is_final": number == len(replies),
            "timestamp": at,
        }
        raw = part_body(talk, session_id=sent.session_id, reply_to=reply_to, **fields)
        assert post_part(talk, raw).ok
    talk.deployed.state(sent, "answered")


@pytest.mark.timeout(900)
def test_a_day_of_tickets_as_the_documents_show_it(chromium, desk):
    busy = {"code": 50301, "data": None, "msg": "too many inbound messages are already being processed"}
    asked = [
        desk.push("Hello, can you help me?", session=f"ticket-{number}")
        for number in (1039, 1040, 1041, 1043, 1044, 1045, 1046)
    ]
    desk.deployed.accepted(desk.push("Is anybody there?", session="ticket-1042"))
    for sent in asked:
        answer(desk, sent, "Of course. What is it about?")
    park(desk, "My invoice, please", session="ticket-1044")
    ann = {"id": "u-1", "name": "Ann"}
    text = "Your order 20391 left our depot this morning. It should arrive tomorrow before noon."
    grown = (text[:end] for end in [*range(6, len(text), 6), len(text)])
    answer(desk, desk.push("Where is my order 20391?", sender=ann), *grown)
    label = [{"type": "Plain", "text": "Here is the label of the parcel:"}, picture()]
    desk.bot.answer_with(*[Answer(503, busy, takes="key")] * 2)
    answer(desk, desk.push("Can you show me its label?", sender=ann), label)
    reply(desk, "", text="Your parcel is with the courier now.")
    park(desk, "And my refund for order 20377?", sender=ann)
    with serve_console(desk.deployed.stack) as running:
        for theme, language in (("light", "en"), ("dark", "zh")):
            with open_console(chromium, running, color_scheme=theme) as console:
                page = console.page
                page.select_option("#language", language)
                page.locator(".card").wait_for()
                page.locator("[data-queue=parked][data-depth=some]").wait_for()
                console.open("ticket-1047")
                page.locator(".turn img").wait_for()
                console.keep_screenshot(f"desk-stack-{theme}")
                console.message("Can you show me").locator(".open").click()
                expect(page.locator(".attempts li")).to_have_count(3)
                console.keep_screenshot(f"desk-attempts-{theme}")
                console.turn("20391 left our depot").locator(".open").click()
                page.locator(".verified").wait_for()
                console.keep_screenshot(f"desk-parts-{theme}")
