"""What an operator does on the page: send, resend, drop; by mouse and by keyboard."""

import json
import os
import re
import subprocess

import pytest
from playwright.sync_api import expect

from console.console_fixtures import WITHIN
from local.sample_bot import Answer
from support.deployed import IN
from support.parked_messages import park
from support.waiting import eventually


def send(console, text, action="push"):
    console.page.select_option("#action", action)
    console.page.fill("#text", text)
    console.page.click("#composer button[type=submit]")


def start(console, talk):
    """Name a new session of the talk's bot."""
    console.page.select_option("#new-bot", talk.name)
    console.page.fill("#new-id", talk.session)


# ---------------------------------------------------------------- send


def test_a_message_is_sent_to_a_new_session_and_answered(talk, console):
    start(console, talk)
    send(console, "hello there")
    expect(console.turn("echo: hello there").locator(".chip")).to_have_attribute("data-state", "finished")
    expect(console.message("hello there").locator(".chip")).to_have_attribute("data-state", "answered")
    expect(console.session(talk.session)).to_have_attribute("aria-current", "true")


def test_a_sync_call_is_sent_and_its_reply_has_no_signature(talk, console):
    start(console, talk)
    send(console, "quick question", "sync")
    console.turn("echo: quick question").locator(".open").click()
    expect(console.message("quick question").locator(".tag")).to_contain_text("sync")
    expect(console.protocol().locator(".verified")).to_contain_text("no signature of its own")


def test_a_reset_is_sent(talk, console):
    start(console, talk)
    send(console, "", "reset")
    message = console.page.locator("#conversation-list .message")
    expect(message.locator(".tag")).to_contain_text("reset")
    expect(message.locator(".chip")).to_have_attribute("data-state", "parked")


@pytest.mark.parametrize(("field", "value"), [("#new-id", "x" * 500), ("#text", "")])
def test_a_message_that_is_not_valid_is_refused_with_its_reason(talk, console, field, value):
    console.expected = "400 (Bad Request)"
    start(console, talk)
    console.page.fill("#text", "hello")
    console.page.fill(field, value)
    console.page.click("#composer button[type=submit]")
    expect(console.page.locator("#notice")).to_have_text(re.compile("bot|session_id|text"))
    expect(console.page.locator("#notice")).to_be_visible()
    expect(console.page.locator("#text")).to_have_value("" if field == "#text" else "hello")


def test_messages_wait_while_the_bot_is_down_and_drain_when_it_is_back(talk, console, monkeypatch):
    card = console.page.locator(".card", has_text=talk.name)
    start(console, talk)
    with monkeypatch.context() as down:
        down.setattr(talk.bot, "choose_answer", lambda _: Answer(drop=True))
        for text in ("one", "two"):
            send(console, text)
        expect(console.message("one").locator(".chip")).to_have_attribute("data-state", "retrying")
        expect(console.message("two").locator(".chip")).to_have_attribute("data-state", "queued")
        expect(card).to_have_attribute("data-circuit", re.compile("open|probing"))
        console.message("two").locator(".open").click()
        expect(console.protocol()).to_contain_text("at the bot failed in a row")
        console.page.keyboard.press("Escape")
    for text in ("one", "two"):
        chip = console.message(text).locator(".chip")
        expect(chip).to_have_attribute("data-state", "answered", timeout=4 * WITHIN)
    expect(card).to_have_attribute("data-circuit", "closed")


def test_a_bot_is_paused_and_resumed_after_a_confirmation(talk, console):
    card = console.page.locator(".card", has_text=talk.name)
    talk.conversation().wait(talk.push("before"))
    for button, circuit in (("Pause", "paused"), ("Resume", "closed")):
        card.locator("button", has_text=button).click()
        expect(console.page.locator("#confirm-about")).to_contain_text(talk.name)
        console.page.click("#confirm-submit")
        expect(card).to_have_attribute("data-circuit", circuit)
    assert talk.texts() == ["before"]


# ---------------------------------------------------------------- resend and drop


def test_a_parked_message_says_why_and_is_resent(console, talk):
    park(talk, "try again")
    console.open(talk.session)
    message = console.message("try again").first
    expect(message.locator(".reason")).to_contain_text("failed to parse message")
    message.locator("button", has_text="Resend").click()
    console.page.click("#confirm-submit")
    expect(message.locator(".chip")).to_have_attribute("data-state", "resent")
    expect(console.turn("echo: try again")).to_be_visible()
    expect(console.page.locator(".message .tag")).to_have_text("resend")


def test_a_parked_message_is_dropped_with_a_reason(console, talk):
    sent, _ = park(talk, "never mind")
    console.open(talk.session)
    console.message("never mind").locator("button", has_text="Drop").click()
    console.page.click("#confirm-submit")
    expect(console.page.locator("#confirm")).to_be_visible()
    console.page.fill("#reason", "asked by phone")
    console.page.click("#confirm-submit")
    message = console.message("never mind")
    expect(message.locator(".chip")).to_have_attribute("data-state", "dropped")
    expect(message.locator(".reason")).to_have_text("asked by phone")
    assert talk.deployed.record(sent)["drop_reason"] == "asked by phone"


def test_a_message_that_cannot_be_valid_is_not_offered_for_resending(console, talk):
    talk.deployed.client("sqs").send_message(
        QueueUrl=talk.deployed.stack.push_queue_url,
        MessageBody=f'{{"session_id": "{talk.session}", "bot": "{talk.name}", "txt": "no text"}}',
        MessageGroupId=talk.session,
        MessageDeduplicationId=talk.session,
    )
    console.page.fill("#search", talk.session)
    console.open(talk.session)
    buttons = console.message("no text").locator(".actions button")
    expect(buttons).to_have_text(["Drop"])


def test_an_action_on_a_message_that_changed_meanwhile_says_so(console, talk):
    console.expected = "409 (Conflict)"
    sent, record = park(talk, "too late")
    console.open(talk.session)
    console.message("too late").locator("button", has_text="Drop").click()
    console.page.fill("#reason", "x")
    table = talk.deployed.stack.open_messages_table()
    key = {"session": record["session"], "message": record["message"]}
    table.mark_resent(key, "another", 0)
    console.page.click("#confirm-submit")
    expect(console.page.locator("#confirm-error")).to_contain_text("the message is resent")
    assert talk.deployed.record(sent)["state"] == "resent"


@pytest.fixture
def two_parked(console, talk):
    """Two parked messages of two sessions, and the filters that select them."""
    sent = [park(talk, f"text {number}", session=f"{talk.session}-{number}")[0] for number in range(2)]
    console.session(f"{talk.session}-1").wait_for()
    console.page.select_option("#bot", talk.name)
    expect(console.page.locator("#many")).to_be_hidden()
    console.page.select_option("#state", "parked")
    return sent


def test_all_messages_that_the_filters_select_are_resent(console, talk, two_parked):
    console.page.click("#resend-many")
    expect(console.page.locator("#confirm-about")).to_contain_text("select: 2.")
    assert [talk.deployed.record(sent)["state"] for sent in two_parked] == ["parked", "parked"]
    console.page.click("#confirm-submit")
    expect(console.page.locator("#notice")).to_have_text("Resent: 2, left: 0, not valid: 0.")
    assert [talk.deployed.record(sent)["state"] for sent in two_parked] == ["resent", "resent"]


def test_all_messages_that_the_filters_select_are_dropped_with_a_reason(console, talk, two_parked):
    console.page.click("#drop-many")
    console.page.fill("#reason", "too old")
    park(talk, "parked after the count", session=f"{talk.session}-2")
    console.page.click("#confirm-submit")
    expect(console.page.locator("#notice")).to_have_text("Dropped: 2, left: 0, not valid: 0.")
    assert [talk.deployed.record(sent)["drop_reason"] for sent in two_parked] == ["too old"] * 2


def test_a_search_hides_what_the_filters_alone_would_select(console, two_parked):
    expect(console.page.locator("#many")).to_be_visible()
    console.page.fill("#search", "text")
    expect(console.page.locator("#many")).to_be_hidden()


def test_a_filter_that_selects_no_message_says_so(console, talk):
    talk.deployed.state(talk.push("hello"), "answered")
    console.session(talk.session).wait_for()
    console.page.select_option("#bot", talk.name)
    console.page.select_option("#state", "unanswered")
    console.page.click("#drop-many")
    expect(console.page.locator("#notice")).to_contain_text("select no message")


def test_a_message_that_is_retried_is_cancelled(console, talk):
    talk.bot.answer_with(Answer(429, headers={"Retry-After": "15"}))
    sent = talk.push("never mind")
    talk.deployed.state(sent, "retrying")
    console.open(talk.session)
    console.message("never mind").locator(".open").click()
    console.protocol().locator("button", has_text="Cancel the message").click()
    console.page.click("#confirm-submit")
    expect(console.page.locator("#notice")).to_have_text("It is cancelled.", timeout=4 * WITHIN)
    expect(console.message("never mind").locator(".chip")).to_have_attribute(
        "data-state", "dropped", timeout=4 * WITHIN
    )
    assert talk.deployed.record(sent)["drop_reason"] == "cancelled"
    assert talk.texts() == ["never mind"]


def test_a_message_that_is_answered_is_not_cancelled(talk, console):
    console.expected = "409 (Conflict)"
    talk.bot.answer_with(Answer(delay=3))
    start(console, talk)
    send(console, "too late")
    console.message("too late").locator(".open").click()
    console.protocol().locator("button", has_text="Cancel the message").click()
    console.page.click("#confirm-submit")
    expect(console.page.locator("#confirm-error")).to_contain_text(
        "only one that waits on the queue can be cancelled", timeout=4 * WITHIN
    )


# ---------------------------------------------------------------- erase


def test_a_session_is_erased_once_its_id_is_typed(console, talk, workers):
    sent = talk.push("private words")
    record = talk.deployed.state(sent, "answered")
    workers.overwrite({**record, "updated_at": "2026-11-22T13:00:48.000000Z"})
    console.open(talk.session)
    console.message("private words").locator(".open").first.click()
    console.page.click("#erase")
    expect(console.page.locator("#confirm-about")).to_contain_text("Messages: 1, parts: 1, bodies")
    console.page.fill("#typed", "another")
    console.page.click("#confirm-submit")
    expect(console.page.locator("#confirm-error")).to_have_text("This is not the session's id.")
    assert talk.deployed.record(sent)
    console.page.fill("#typed", talk.session)
    console.page.click("#confirm-submit")
    expect(console.page.locator("#notice")).to_have_text("It is erased.")
    expect(console.page.locator("#conversation-list li")).to_have_count(0)
    expect(console.session(talk.session)).to_have_count(0)
    expect(console.protocol()).not_to_contain_text(sent.message_id)
    assert talk.deployed.record(sent) is None


# ---------------------------------------------------------------- copy as curl


def test_a_message_is_copied_as_a_line_that_signs_it(console, talk):
    text = 'it\'s "quoted" $HOME `id` \\ 你好'
    talk.deployed.state(talk.push(text, sender={"id": "u-1"}), "answered")
    console.open(talk.session)
    console.message("quoted").locator(".open").click()
    console.page.click("text=Copy as curl")
    expect(console.page.locator("#notice")).to_have_text("Copied.")
    line = console.page.evaluate("() => navigator.clipboard.readText()")
    assert IN not in line
    environment = {
        "PATH": os.environ["PATH"],
        "BOT_URL": talk.bot.url,
        "BOT_INBOUND_SECRET": IN,
        "no_proxy": "*",
    }
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, timeout=30)
    assert json.loads(done.stdout)["msg"] == "accepted", done.stderr
    first, copied = (json.loads(request.body) for request in talk.bot.received)
    assert first == copied


# ---------------------------------------------------------------- keys


def press(console, *keys):
    for key in keys:
        console.page.keyboard.press(key)


def test_a_ticket_is_found_and_its_parked_message_resent_by_keyboard_alone(console, talk):
    park(talk, "by hand")
    console.session(talk.session).wait_for()
    press(console, "/")
    console.page.keyboard.type(talk.session)
    press(console, "Enter")
    expect(console.message("by hand").locator(".open")).to_be_focused()
    press(console, "r")
    expect(console.page.locator("#confirm-submit")).to_be_focused()
    press(console, "Enter")
    expect(console.turn("echo: by hand")).to_be_visible()
    expect(console.page.locator("#confirm")).to_be_hidden()


def test_a_message_is_dropped_by_keyboard_alone(console, talk):
    park(talk, "by hand")
    console.open(talk.session)
    expect(console.message("by hand").locator(".open")).to_be_focused()
    press(console, "d")
    console.page.keyboard.type("no longer needed")
    press(console, "Enter")
    expect(console.message("by hand").locator(".chip")).to_have_attribute("data-state", "dropped")


def test_j_k_enter_and_escape_move_through_the_columns(console, talk):
    talk.deployed.state(talk.push("older", session=f"older {talk.session}"), "answered")
    for text in ("one", "two"):
        talk.deployed.state(talk.push(text), "answered")
    console.page.select_option("#bot", talk.name)
    console.page.locator("#bot").blur()
    newer, older = console.session(talk.session), console.session(f"older {talk.session}")
    for row in (newer, older):
        row.wait_for()
    for key, focused in (("j", newer), ("j", older), ("j", older), ("k", newer)):
        press(console, key)
        expect(focused).to_be_focused()
    press(console, "Enter")
    opened = console.page.locator("#conversation-list .open")
    expect(opened.nth(3)).to_be_focused()
    press(console, "k", "k", "k")
    expect(opened.nth(0)).to_be_focused()
    press(console, "Enter")
    expect(console.page.locator("#protocol-title")).to_have_text("Message")
    press(console, "Escape")
    expect(console.page.locator("#protocol-title")).to_have_text("State of the stack")
    expect(opened.nth(0)).to_be_focused()
    press(console, "Escape")
    expect(newer).to_be_focused()


def test_keys_that_are_typed_into_a_field_do_nothing_else(console, talk):
    park(talk)
    console.open(talk.session)
    console.page.click("#text")
    console.page.keyboard.type("jkrd/?")
    expect(console.page.locator("#text")).to_have_value("jkrd/?")
    expect(console.page.locator("dialog[open]")).to_have_count(0)


def test_the_help_opens_and_closes_by_keys(console):
    press(console, "?")
    expect(console.page.locator("#help")).to_be_visible()
    expect(console.page.locator("#help kbd")).to_have_text(["j", "k", "Enter", "r", "d", "/", "?", "Esc"])
    press(console, "Escape")
    expect(console.page.locator("#help")).to_be_hidden()


def test_r_and_d_say_so_if_there_is_nothing_to_act_on(console):
    for key in "rd":
        press(console, key)
        expect(console.page.locator("#notice")).to_contain_text("Select a parked")


# ---------------------------------------------------------------- the stack cannot be read


def test_a_stack_that_cannot_be_read_is_said_and_the_page_recovers(console, talk, monkeypatch):
    table = type(talk.deployed.stack.open_messages_table())

    def fail(*_):
        raise ConnectionError("private words")

    talk.deployed.state(talk.push("hello"), "answered")
    with monkeypatch.context() as broken:
        broken.setattr(table, "bot_items", fail)
        expect(console.page.locator("#error")).to_contain_text("ConnectionError")
        assert "private" not in console.page.locator("#error").inner_text()
        expect(console.page.locator("#live")).to_have_attribute("data-on", "false")
        expect(console.page.locator("#live")).to_have_text("not live")
    expect(console.page.locator("#error")).to_be_hidden()
    expect(console.page.locator("#live")).to_have_text("live")
    eventually(lambda: console.session(talk.session).count() == 1)
