"""A bot that is down, on the deployed stack: one message at a time tries it; then all go at once."""

import json
import time
from itertools import pairwise

from conftest import IN, OUT, eventually
from local.sample_bot import Answer, SampleBot
from relay.rules.gate import pause

FAILS = 3
SESSIONS, EACH = 10, 3


def test_a_bot_that_is_down_is_tried_by_one_message_at_a_time_and_then_gets_all_at_once_and_in_order(talk):
    talk.bot.answer_with(*[Answer(502)] * FAILS)
    for number in range(EACH):
        for session in range(SESSIONS):
            talk.push(f"m{number}", session=f"s{session}", expect_reply=False)
    received = talk.bot.received
    eventually(lambda: len(received) == FAILS + SESSIONS * EACH, within=60)
    tried = [request.at for request in received[: FAILS + 1]]
    for failures, (earlier, later) in enumerate(pairwise(tried), 1):
        assert later - earlier >= pause(failures, 0) - 0.1
    assert [request.status for request in received[FAILS:]] == [202] * SESSIONS * EACH
    assert received[-1].at - tried[-1] < 60  # an idle machine takes 3 s
    taken = [json.loads(request.body) for request in received[FAILS:]]
    for session in range(SESSIONS):
        own = [m["message"][0]["text"] for m in taken if m["session_id"] == f"s{session}"]
        assert own == [f"m{number}" for number in range(EACH)]


def test_other_bots_are_served_while_one_is_down(talk, deployed):
    talk.bot.answer_with(*[Answer(502)] * 100)
    for session in range(SESSIONS):
        talk.push("hello", session=f"s{session}")
    eventually(lambda: talk.bot.received)
    name = f"{talk.name}-other"
    with SampleBot(deployed.callback_url(name), IN, OUT) as other:
        deployed.local.connect(other.url, IN, OUT, bot=name)
        began = time.monotonic()
        for n in range(10):
            talk.push("hello", session=f"o{n}", bot=name)
        eventually(lambda: len(other.received) == 10, within=15)
        assert time.monotonic() - began < 10
