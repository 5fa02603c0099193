"""The three columns, live: what the page shows while messages and replies go through the stack."""

import re
import time
from contextlib import ExitStack

import pytest
from playwright.sync_api import expect

from console.console_fixtures import open_console
from local.sample_bot import Answer
from relay.domain.part import VerifiedCallback, parse_part, reply_part
from relay.domain.timestamps import unix_seconds
from relay_console.segments_view import MAX_SEGMENTS
from support.bots import change_secret
from support.callbacks import part_body, post_part, reply, signed_headers
from support.console_server import serve_console
from support.deployed import OUT
from support.parked_messages import park
from support.queued_messages import deliver, queued
from support.waiting import eventually
from support.workers import final_part

HTML = '<img src=x onerror="document.title=1"><script>document.title=1</script><b>bold</b>'


def store_part(workers, talk, age, **fields):
    """Store a part that was received so many seconds ago."""
    received_at = time.time() - age
    raw = part_body(talk, is_final=False, **fields)
    callback = VerifiedCallback(talk.name, raw, received_at, received_at, None, 0)
    workers.replies_table.store(reply_part(callback, parse_part(raw), 1), raw)


# ---------------------------------------------------------------- sessions


def test_sessions_are_listed_by_last_activity_with_their_states(console, talk):
    for session in ("first", "second"):
        talk.deployed.state(talk.push("hello", session=f"{session} {talk.session}"), "answered")
    rows = console.page.locator("#session-list button", has_text=talk.session)
    expect(rows.locator(".name")).to_have_text([f"second {talk.session}", f"first {talk.session}"])
    # A session can have two chips for a moment, while the page is behind the table.
    expect(rows.nth(0).locator(".chip").first).to_have_attribute("data-state", "answered")
    talk.deployed.state(talk.push("again", session=f"first {talk.session}"), "answered")
    expect(rows.locator(".name")).to_have_text([f"first {talk.session}", f"second {talk.session}"])
    expect(rows.nth(0).locator(".chip").first).to_have_text(re.compile("2"))


def test_sessions_are_filtered_by_bot_state_and_id(console, talk):
    talk.deployed.state(talk.push("hello", session=f"good {talk.session}"), "answered")
    park(talk, session=f"bad {talk.session}")
    own = console.page.locator("#session-list li .name", has_text=talk.session)
    console.page.select_option("#bot", talk.name)
    expect(console.page.locator("#session-list li")).to_have_count(2)
    console.page.select_option("#state", "parked")
    expect(own).to_have_text([f"bad {talk.session}"])
    console.page.select_option("#state", "awaiting_operator")
    expect(own).to_have_text([f"bad {talk.session}"])
    console.page.select_option("#state", "")
    console.page.fill("#search", f"GOOD {talk.session}")
    expect(own).to_have_text([f"good {talk.session}"])


def test_a_message_is_found_by_its_text_and_by_its_ids(console, talk):
    first = talk.deployed.state(talk.push("It's about Order 20391"), "answered")
    talk.deployed.state(talk.push("another"), "answered")
    console.session(talk.session).wait_for()
    found = console.protocol().locator("dt:text-is('message id') + dd")
    for wanted in ("order 20391", first["message_id"], first["accepted_message_id"]):
        console.page.fill("#search", wanted)
        expect(console.page.locator("#session-list li .name").first).to_have_text(talk.session)
        console.page.press("#search", "Enter")
        expect(found).to_have_text(first["message_id"])
        console.page.keyboard.press("Escape")
    talk.deployed.state(talk.push("Order 20391?", session=f"{talk.session} too"), "answered")
    console.page.fill("#search", "order 20391")
    expect(console.page.locator("#session-list li")).to_have_count(2)
    console.page.press("#search", "Enter")
    expect(console.page.locator("#session-list button").first).to_be_focused()
    console.page.fill("#search", "said by nobody")
    expect(console.page.locator("#session-list li")).to_have_count(0)


def test_a_session_that_is_not_listed_is_opened_by_its_id(console, talk):
    reply(talk, "", text="said unasked")
    talk.deployed.state(talk.push("hello", session="another"), "answered")
    console.session("another").first.wait_for()
    console.page.select_option("#bot", talk.name)
    console.page.fill("#search", talk.session)
    console.page.locator("#open-typed", has_text=talk.session).click()
    expect(console.turn("said unasked")).to_be_visible()


COUNT_STREAMS = """
  window.streams = 0;
  const unwatched = window.fetch;
  window.fetch = (url, options) => {
    if (options?.signal) {
      window.streams += 1;
      options.signal.addEventListener("abort", () => (window.streams -= 1));
    }
    return unwatched(url, options);
  };
"""
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_hidden_tab_watches_nothing_and_catches_up_when_it_is_shown(console, talk):
    console.page.add_init_script(COUNT_STREAMS)
    console.page.reload()
    console.page.wait_for_function("() => window.streams === 1")
    console.page.evaluate(HIDE, True)
    assert console.page.evaluate("() => window.streams") == 0
    talk.deployed.state(talk.push("hello"), "answered")
    expect(console.session(talk.session)).to_have_count(0)
    console.page.evaluate(HIDE, False)
    expect(console.session(talk.session)).to_be_visible()


def test_a_browser_that_no_link_opened_says_what_opens_it(chromium, running_console):
    with chromium.new_context(locale="en-GB") as context:
        page = context.new_page()
        page.goto(running_console.url)
        expect(page.locator("#live")).to_have_text("not opened: use the link that the console printed last")


def test_five_windows_are_live_and_further_ones_do_not_stop_them(console, browser_context, talk):
    talk.deployed.state(talk.push("hello"), "answered")
    console.open(talk.session)
    with ExitStack() as windows:
        opened = [windows.enter_context(browser_context.new_page()) for _ in range(6)]
        for window in opened[:4]:
            window.goto(console.page.url)
            expect(window.locator(".turn", has_text="echo: hello")).to_be_visible()
        for window in opened[4:]:
            window.goto(console.page.url)
            expect(window.locator("#live")).to_have_text("not live: five other windows of the console are")
        console.page.fill("#text", "again")
        console.page.click("#composer button[type=submit]")
        for window in (console.page, opened[3]):
            expect(window.locator(".turn", has_text="echo: again")).to_be_visible()
        # To open another session takes no second connection.
        opened[3].locator("#session-list button[aria-current]").click()
        opened[0].close()
        eventually(lambda: "live" in [window.locator("#live").inner_text() for window in opened[4:]])
        expect(opened[3].locator("#live")).to_have_text("live")


def test_back_reload_and_another_window_show_the_message_that_was_open(console, browser_context, talk):
    for text in ("one", "two"):
        talk.deployed.state(talk.push(text, session=f"{text} {talk.session}"), "answered")
    opened, title = console.protocol().locator("dt:text-is('message id') + dd"), "#protocol-title"
    console.open(f"one {talk.session}")
    console.message("one").locator(".open").click()
    message_id = opened.inner_text()
    console.page.reload()
    expect(opened).to_have_text(message_id)
    console.turn("echo: one").locator(".open").click()
    expect(console.page.locator(title)).to_have_text("Reply")
    console.open(f"two {talk.session}")
    expect(console.page.locator(title)).to_have_text("State of the stack")
    console.page.go_back()
    expect(console.page.locator(title)).to_have_text("Reply")
    console.page.go_back()
    expect(opened).to_have_text(message_id)
    with browser_context.new_page() as window:
        window.goto(console.page.url)
        expect(window.locator("#protocol-body dt:text-is('message id') + dd")).to_have_text(message_id)
    console.page.keyboard.press("Escape")
    console.page.reload()
    expect(console.page.locator("#conversation-title")).to_have_text(f"one {talk.session}")
    expect(console.page.locator(title)).to_have_text("State of the stack")


def test_a_link_to_a_message_that_is_not_there_says_so(console, talk):
    talk.deployed.state(talk.push("hello"), "answered")
    console.open(talk.session)
    console.page.evaluate("() => (location.hash += '/message%3A1')")
    expect(console.page.locator("#notice")).to_have_text("The message is not among the session's last ones.")


@pytest.mark.parametrize("address", ["#%", "#%ff", "#"])
def test_an_address_that_names_no_session_opens_none(console, address):
    console.page.evaluate("(address) => (location.hash = address)", address)
    console.page.reload()
    console.page.locator("#live[data-on=true]").wait_for()
    expect(console.page.locator("#choose")).to_be_visible()


def test_a_page_goes_on_after_its_connection_broke_off(console, browser_context, talk):
    console.expected = "ERR_INTERNET_DISCONNECTED"
    browser_context.set_offline(True)
    console.page.evaluate(HIDE, False)
    expect(console.page.locator("#live")).to_have_attribute("data-on", "false")
    browser_context.set_offline(False)
    expect(console.page.locator("#live")).to_have_attribute("data-on", "true")
    talk.deployed.state(talk.push("hello"), "answered")
    expect(console.session(talk.session)).to_be_visible()


# ---------------------------------------------------------------- the conversation


def test_a_streamed_reply_grows_in_place(console, talk):
    reply_to = talk.deployed.state(talk.push("SILENT"), "delivered")["accepted_message_id"]
    console.open(talk.session)
    bubble, chip = console.page.locator(".turn .bubble"), console.page.locator(".turn .chip")
    for number, state in ((1, "growing"), (2, "growing"), (3, "finished")):
        text = " ".join(f"word{n}" for n in range(1, number + 1))
        reply(talk, reply_to, final=number == 3, text=text, sequence=number)
        expect(bubble).to_have_text([text])
        expect(chip).to_have_attribute("data-state", state)
        expect(console.page.locator(".turn .open")).to_contain_text(f"parts: {number}")
    expect(console.message("SILENT").locator(".chip")).to_have_attribute("data-state", "answered")


def test_several_replies_in_a_turn_are_several_bubbles(console, talk):
    talk.push("MULTI")
    console.open(talk.session)
    expect(console.page.locator(".turn")).to_have_count(1)
    expect(console.page.locator(".turn .bubble")).to_have_text(["part 1 of 3", "part 2 of 3", "part 3 of 3"])


def test_segments_that_would_freeze_the_page_are_left_out(console, talk):
    small = [{"type": "Plain", "text": "x"}] * 6_000
    assert post_part(talk, part_body(talk, reply_to="", message=small)).ok
    talk.deployed.state(talk.push("hello"), "answered")
    console.open(talk.session)
    expect(console.page.locator(".turn .note")).to_have_text(
        f"Segments left out here: {6_000 - MAX_SEGMENTS}; the raw JSON has all of them."
    )
    assert console.page.locator(".turn .segment").count() == MAX_SEGMENTS + len(["echo: hello"])


def test_a_picture_is_shown(console, talk):
    talk.push("IMAGE")
    console.open(talk.session)
    picture = console.page.locator(".turn img")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1


def test_a_picture_elsewhere_is_named_and_not_loaded(console, talk):
    url = "http://elsewhere.example/pixel.png"
    assert post_part(talk, part_body(talk, reply_to="", message=[{"type": "Image", "url": url}])).ok
    talk.deployed.state(talk.push("hello"), "answered")
    console.open(talk.session)
    expect(console.turn(url).locator(".tag", has_text="Image")).to_be_visible()
    expect(console.page.locator(".turn img")).to_have_count(0)


def test_a_push_is_marked(console, talk):
    talk.deployed.state(talk.push("hello"), "answered")
    reply(talk, "", text="by the way")
    console.open(talk.session)
    expect(console.turn("by the way").locator(".tag")).to_have_text("push")
    expect(console.turn("echo").locator(".tag")).to_have_count(0)


def test_merged_messages_are_shown_as_merged(console, talk, workers, dispatcher):
    first, second = queued(talk, "SILENT one"), queued(talk, "SILENT two")
    deliver(dispatcher, first, second)
    reply_to = workers.record(first)["accepted_message_id"]
    workers.settler().settle(final_part(talk, reply_to))
    reply(talk, reply_to, text="to both")
    console.open(talk.session)
    expect(console.message("SILENT two").locator(".tag")).to_have_text("merged")
    expect(console.turn("to both").locator(".tag")).to_have_text("merged messages: 1")
    expect(console.turn("to both").locator(".quote")).to_contain_text("SILENT one")


def test_a_turn_that_says_nothing_for_a_minute_is_stalled(console, talk, workers):
    sent = talk.push("SILENT")
    reply_to = talk.deployed.state(sent, "delivered")["accepted_message_id"]
    store_part(workers, talk, 3600, reply_to=reply_to, message=[{"type": "Plain", "text": "it began"}])
    console.open(talk.session)
    expect(console.turn("it began").locator(".chip")).to_have_text(re.compile("stalled"))


def test_a_message_is_shown_as_queued_until_its_first_attempt(console, talk):
    talk.deployed.state(talk.push("hello"), "answered")
    console.open(talk.session)
    talk.bot.answer_with(Answer(delay=1.5))
    console.page.fill("#text", "SILENT")
    console.page.click("#composer button[type=submit]")
    chip = console.message("SILENT").first.locator(".chip")
    expect(chip).to_have_attribute("data-state", "queued")
    expect(chip).to_have_attribute("data-state", "delivered")
    expect(console.page.locator("#conversation-list .message", has_text="SILENT")).to_have_count(1)


def test_earlier_messages_are_shown_on_request(console, talk, workers):
    table = workers.messages_table
    sent = talk.push("hello")
    record = talk.deployed.state(sent, "answered")
    for number in range(130):
        body = record["body"].replace("hello", f"number {number}")
        table.write(
            {**record, "message": f"{10**9 + number:039}", "body": body, "message_id": f"id {number}"}
        )
    console.open(talk.session)
    messages = console.page.locator("#conversation-list .message")
    expect(messages).to_have_count(100)
    console.page.click("#earlier")
    expect(messages).to_have_count(131)
    expect(console.page.locator("#earlier")).to_be_hidden()


def test_a_link_leads_to_an_earlier_message(console, talk, workers):
    record = talk.deployed.state(talk.push("hello"), "answered")
    keys = [f"{number:039}" for number in range(110)]
    for key in keys:
        workers.messages_table.write({**record, "message": key, "message_id": f"id {key}"})
    address = f"{talk.name}%23{talk.session}/message%3A{keys[0]}"
    console.page.evaluate("(address) => (location.hash = address)", address)
    found = console.protocol().locator("dt:text-is('message id') + dd")
    expect(found).to_have_text(f"id {keys[0]}")
    expect(console.page.locator("#conversation-list .selected")).to_be_in_viewport()


# ---------------------------------------------------------------- the protocol


def test_a_waiting_message_says_why_and_what_to_do(console, talk):
    record = talk.deployed.state(talk.push("SILENT"), "delivered")
    raw = part_body(talk, reply_to=record["accepted_message_id"])
    assert post_part(talk, raw, signed_headers(raw, secret="forged")).status_code == 401
    queued_at = unix_seconds(record["queued_at"])
    eventually(lambda: talk.deployed.stack.open_logs().refusals("bot", talk.name, queued_at), within=60)
    console.open(talk.session)
    console.message("SILENT").locator(".open").click()
    expect(console.protocol()).to_contain_text("callback refused 1 request for the bot")
    expect(console.protocol()).to_contain_text(f"relay bots set {talk.name} --outbound-secret")


def test_times_are_in_utc_with_their_date_as_the_commands_print_them(console, talk):
    record = talk.deployed.state(talk.push("hello"), "answered")
    console.open(talk.session)
    shown = f"{record['queued_at'][:10]} {record['queued_at'][11:19]} UTC"
    expect(console.message("hello").locator("time")).to_have_text(shown)


def test_the_attempts_of_a_message_are_shown(console, talk):
    refused = {"code": 50301, "data": None, "msg": "too busy"}
    talk.bot.answer_with(Answer(503, refused, takes="key"))
    sent = talk.push("hello")
    talk.deployed.state(sent, "answered")
    console.open(talk.session)
    console.message("hello").locator(".open").click()
    attempts = console.protocol().locator(".attempts li")
    expect(attempts).to_have_count(2)
    expect(attempts.nth(0)).to_contain_text(re.compile(r"refused · HTTP 503 · \d+ ms.*too busy", re.DOTALL))
    expect(attempts.nth(0)).to_contain_text(f"{sent.message_id}.0")
    expect(attempts.nth(1)).to_contain_text(re.compile(r"accepted · HTTP 202 · \d+ ms"))
    expect(attempts.nth(1)).to_contain_text(f"{sent.message_id}.1")
    console.protocol().locator("summary").click()
    expect(console.protocol().locator("details pre")).to_contain_text('"last_attempts"')


def test_a_part_is_shown_with_its_stamp_signature_and_raw_json(console, talk):
    change_secret(talk, outbound_secret=["new", OUT])
    raw = part_body(talk, sequence=7, trace={"id": "t-1"})
    assert post_part(talk, raw, signed_headers(raw, secret="new")).ok
    talk.deployed.state(talk.push("hello"), "answered")
    part = talk.parts()[0]
    console.open(talk.session)
    console.turn("hi").locator(".open").click()
    protocol = console.protocol()
    expect(protocol.locator(".verified")).to_contain_text(re.compile(r"verified at .* newest secret"))
    for words in (part["part"].partition("#")[0], part["sent_at"], part["digest"]):
        expect(protocol.locator(".facts")).to_contain_text(words)
    expect(protocol.locator("dt:text-is('sequence') + dd")).to_have_text("7")
    expect(protocol.locator("dt:text-is('final') + dd")).to_have_text("yes")
    protocol.locator("summary").click()
    expect(protocol.locator("details pre")).to_contain_text('"id": "t-1"')


def test_a_part_signed_with_an_older_secret_says_so(console, talk):
    change_secret(talk, outbound_secret=["new", OUT])
    talk.deployed.state(talk.push("hello"), "answered")
    console.open(talk.session)
    console.turn("echo").locator(".open").click()
    expect(console.protocol().locator(".verified")).to_contain_text("secret number 2, an older one")


def test_each_part_of_a_turn_can_be_chosen(console, talk):
    talk.deployed.state(talk.push("LONG:5:10"), "answered")
    console.open(talk.session)
    console.turn("w005").locator(".open").click()
    rows = console.protocol().locator("#part-list button")
    expect(rows).to_have_count(5)
    expect(rows.nth(0)).to_have_attribute("aria-current", "true")
    rows.nth(4).click()
    expect(console.protocol().locator("dt:text-is('sequence') + dd")).to_have_text("1")
    expect(rows.nth(4)).to_have_attribute("aria-current", "true")


# ---------------------------------------------------------------- bots, queues, refused callbacks


def test_the_bots_and_the_queues_are_shown(console, talk):
    talk.deployed.state(talk.push("hello"), "answered")
    card = console.page.locator(".card", has_text=talk.name)
    expect(card.locator(".chip")).to_have_text("circuit closed")
    shown = {
        "in flight": r"\d+ of 50",
        "failures in a row": "0",
        "last success": r"\d+ s ago",
    }
    for name, value in shown.items():
        expect(card.locator(f"dt:text-is('{name}') + dd")).to_have_text(re.compile(f"^{value}$"))
    rows = console.page.locator(".queues tbody tr")
    expect(rows.locator("th")).to_have_text(["Push", "Spill", "Parked"])
    expect(rows.locator("td:nth-of-type(1)")).to_have_text([re.compile(r"^\d+$")] * 3)


def test_what_waits_for_an_operator_is_in_its_queue_with_its_age(console, talk):
    park(talk)
    row = console.page.locator("[data-queue=parked][data-depth=some]")
    expect(row.locator("td:nth-of-type(2)")).to_have_text(re.compile(r"\d+ (s|min)"))
    row.locator("button").focus()
    later = talk.deployed.state(talk.push("a later one", session=f"{talk.session} too"), "answered")
    console.session(later["session_id"]).wait_for()
    expect(row.locator("button")).to_be_focused()
    console.page.keyboard.press("Enter")
    expect(console.page.locator("#state")).to_have_value("parked")
    expect(console.session(talk.session)).to_be_visible()


def test_refused_callbacks_are_counted_by_their_reasons(chromium, talk):
    raw = part_body(talk)
    assert post_part(talk, raw, signed_headers(raw, secret="forged")).status_code == 401
    with serve_console(talk.deployed.stack) as running, open_console(chromium, running) as console:
        count = console.protocol().locator(f"dt:text-is('{talk.name}: signature wrong') + dd")
        expect(count).to_have_text(re.compile(r"^[1-9]\d*$"))
        expect(console.protocol()).to_contain_text("A refused part is stored nowhere")


# ---------------------------------------------------------------- hostile texts


def test_hostile_texts_are_shown_as_texts(console, talk):
    sender = {"id": HTML, "name": HTML}
    sent = talk.push(HTML, sender=sender, session=f"{HTML} {talk.session}")
    talk.deployed.state(sent, "answered")
    message = [{"type": HTML, "text": HTML}]
    raw = part_body(talk, session_id=f"{HTML} {talk.session}", reply_to="", message=message, trace=HTML)
    assert post_part(talk, raw).ok
    console.page.fill("#search", talk.session)
    console.open(f"{HTML} {talk.session}")
    for shown in (console.message(HTML), console.turn(f"echo: {HTML}"), console.page.locator(".turn.push")):
        expect(shown).to_contain_text(HTML)
        shown.locator(".open").click()
        console.protocol().locator("details summary").first.click()
        expect(console.protocol()).to_contain_text("document.title=1")
    assert console.page.locator("main :is(script, b, img[src=x])").count() == 0
    assert console.page.title() == "local stack · LangBot Relay"


def test_the_browser_lets_no_text_become_html(console):
    refused, console.expected = "TypeError", "requires 'Trusted"
    for attempt in (
        "document.body.innerHTML = '<b>x</b>'",
        "document.body.insertAdjacentHTML('beforeend', '<b>x</b>')",
        "document.createElement('script').text = '1'",
    ):
        name = console.page.evaluate(
            f"() => {{ try {{ {attempt}; return '' }} catch (e) {{ return e.name }} }}"
        )
        assert name == refused, attempt


def test_unusual_texts_do_not_break_the_page(console, talk):
    texts = ["\\u202eright to left", "a\\u0000b", "\\ud83d half", "z" * 30_000]
    for text in texts:
        raw = part_body(talk, reply_to="", message=[{"type": "Plain", "text": "UNUSUAL"}])
        assert post_part(talk, raw.replace(b"UNUSUAL", text.encode())).ok
    talk.deployed.state(talk.push("hello"), "answered")
    console.open(talk.session)
    pushes = console.page.locator(".turn.push")
    expect(pushes).to_have_count(len(texts))
    for push in pushes.all():
        push.locator(".open").click()
        expect(console.protocol().locator(".verified")).to_be_visible()
        console.page.keyboard.press("Escape")
        expect(console.protocol().locator(".verified")).to_be_hidden()
