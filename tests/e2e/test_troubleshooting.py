"""The transcripts in docs/troubleshooting.md, made again: one for each way in which no answer came."""

import re
import time
from pathlib import Path

import pytest

from local.sample_bot import Answer
from support.bots import change_secret
from support.callbacks import reply
from support.due_items import handle_due, make_overdue

PAGE = Path(__file__).parents[2] / "docs/troubleshooting.md"
NEXT_SECOND = 1.1

_VARYING = {
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d": "TIME",
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}": "ID",
    r"in_[0-9a-f]+": "in_ID",
    r" +\d+ ms": " N ms",
    r"\d+ attempts?": "N attempts",
    r"\d+ s ago": "N s ago",
    r"(attempt .*\n)+": "attempt ...\n",
    r"behind it .*\n": "",  # the messages of other tests
    r"https?://\S+/callbacks/": "CALLBACKS/",
}


def langbot_is_down(talk):
    change_secret(talk, url="http://127.0.0.1:9/bots/1")
    return talk.push("Where is my order?"), "retrying"


def wrong_inbound_secret(talk):
    talk.bot.inbound_secret += "x"
    return talk.push("Where is my order?"), "retrying"


def wrong_outbound_secret(talk):
    talk.bot.outbound_secret += "x"
    return talk.push("Where is my order?"), "delivered"


def still_working(talk):
    return talk.push("SLEEP:60 Where is my order?"), "delivered"


def broken_off(talk):
    sent = talk.push("LONG:4:1 MIDFAIL")
    talk.deployed.state(sent, "delivered")
    make_overdue(talk, sent)
    handle_due(talk)
    return sent, "unanswered"


def merged(talk):
    first, second = talk.push("SILENT"), talk.push("SILENT And my refund?")
    ids = [talk.deployed.state(one, "delivered")["accepted_message_id"] for one in (first, second)]
    time.sleep(NEXT_SECOND)
    reply(talk, ids[0], text="Both are on their way.")
    return second, "answered"


def never_answered(talk):
    sent = talk.push("SILENT")
    make_overdue(talk, sent)
    handle_due(talk)
    return sent, "unanswered"


def parked(talk):
    talk.bot.answer_with(Answer(400, {"code": 40001, "msg": "failed to parse message"}))
    return talk.push("Where is my order?"), "parked"


def documented(way):
    """Return the transcript under the heading of a way."""
    heading = way.__name__.replace("_", " ").capitalize().replace("Langbot", "LangBot")
    _, found, rest = PAGE.read_text("utf-8").partition(f"## {heading}\n")
    assert found
    block = re.search(r"```\n\$ relay show ticket-4711\n(.*?)```", rest, re.DOTALL)
    assert block
    return block[1]


def without_what_varies(text):
    for pattern, name in _VARYING.items():
        text = re.sub(pattern, name, text)
    return text


@pytest.mark.parametrize(
    "way",
    [
        langbot_is_down,
        wrong_inbound_secret,
        wrong_outbound_secret,
        still_working,
        broken_off,
        merged,
        never_answered,
        parked,
    ],
)
def test_the_page_shows_what_the_command_says(talk, relay, way):
    expected = without_what_varies(documented(way))
    sent, state = way(talk)
    talk.deployed.state(sent, state)
    deadline = time.monotonic() + 60
    while True:
        # Callback's log, and the next part, come a moment later.
        shown = relay("show", "--bot", talk.name, talk.session, sent.message_id).stdout
        shown = shown.replace(f"--bot {talk.name} {talk.session}", "ticket-4711")
        shown = shown.replace(talk.name, "default")
        if without_what_varies(shown) == expected or time.monotonic() > deadline:
            break
    assert without_what_varies(shown) == expected
