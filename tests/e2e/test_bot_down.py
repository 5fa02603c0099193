"""A bot that is down, on the deployed stack: one message at a time probes it; then all are delivered."""

import json
import time
from itertools import pairwise

from local.sample_bot import Answer
from relay.domain.admission import probe_delay
from support.deployed import new_bot
from support.waiting import eventually

FAILS = 3
SESSIONS, EACH = 10, 3


def test_a_bot_that_is_down_is_probed_and_then_gets_all_in_order(talk):
    talk.bot.answer_with(*[Answer(502)] * FAILS)
    received = talk.bot.received
    for number in range(EACH):
        for session in range(SESSIONS):
            talk.push(f"m{number}", session=f"s{session}", expect_reply=False)
            # Four messages may go at once to a bot that is not known to fail.
            eventually(lambda: received)
    answered = [502] * FAILS + [202] * SESSIONS * EACH
    eventually(lambda: [request.status for request in received] == answered, within=150)
    tried = [request.at for request in received[: FAILS + 1]]
    for failures, (earlier, later) in enumerate(pairwise(tried), 1):
        assert later - earlier >= probe_delay(failures, 0) - 0.1
    assert received[-1].at - tried[-1] < 100  # 3 s on an idle machine
    taken = [json.loads(request.body) for request in received[FAILS:]]
    for session in range(SESSIONS):
        own = [m["message"][0]["text"] for m in taken if m["session_id"] == f"s{session}"]
        assert own == [f"m{number}" for number in range(EACH)]


def served_after(talk):
    """Push a message to each of ten sessions; return the seconds until the bot has received all."""
    began = time.monotonic()
    for n in range(10):
        talk.push("hello", session=f"o{n}")
    eventually(lambda: len(talk.bot.received) == 10, within=100)
    return time.monotonic() - began


def test_other_bots_are_served_while_one_is_down(talk, deployed):
    with new_bot(deployed) as alone:
        usual = served_after(alone)
    talk.bot.answer_with(*[Answer(502)] * 100)
    for session in range(SESSIONS):
        talk.push("hello", session=f"s{session}")
    eventually(lambda: talk.bot.received)
    with new_bot(deployed) as other:
        # If the messages of the bot that is down came first, each would hold them up by its pauses.
        assert served_after(other) < 5 * usual + 15
