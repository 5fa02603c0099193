"""push under any response: each attempt ends at its deadline in a verdict, and the message has a record."""

import gzip
import threading
import time
import zlib
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import accumulate
from string import ascii_letters
from uuid import uuid4

from hypothesis import strategies as st

from relay.adapters import langbot
from relay.domain.attempt import MAX_RESPONSE_EXCERPT, Verdict
from relay.domain.record import MAX_REASON
from support import responses
from support.bots import further_bot
from support.fuzzing import in_lanes, unforeseen
from support.json_inputs import JSON, damaged, nearly, written
from support.queued_messages import deliver, queued
from support.raw_server import serving

SECONDS = 1
"""The deadline of an attempt."""

IDS = st.text() | st.text(st.characters(categories=["Cs", "L"]), max_size=3) | st.just("x" * 1025)
TEXTS_OF_LANGBOT = ["in flight", "idempotency", "Bot not found", "x" * 5_000]
ENVELOPES = st.fixed_dictionaries(
    {},
    optional={
        "code": st.sampled_from([0, 40001, 40901, 41301, 50301, "internal_error"]) | JSON,
        "msg": st.sampled_from(TEXTS_OF_LANGBOT) | JSON,
        "error": st.sampled_from(TEXTS_OF_LANGBOT) | JSON,
        "data": st.fixed_dictionaries({}, optional={"accepted_message_id": IDS, "reply_to": IDS}) | JSON,
    },
)
SEGMENTS = st.lists(
    st.fixed_dictionaries({"type": st.sampled_from(["Plain", "At"]) | JSON}, optional={"text": IDS | JSON})
)
TEXTS_SO_FAR = st.lists(st.text(max_size=3), max_size=5).map(accumulate)
STREAMED = st.builds(
    lambda texts, lead: [one for text in texts for one in (*lead, {"type": "Plain", "text": text})],
    TEXTS_SO_FAR,
    st.sampled_from([[], [{"type": "At", "target": "1"}]]),
)
REPLIES = st.builds(
    lambda reply_to, message: {"data": {"reply_to": reply_to, "message": message}}, IDS, SEGMENTS | STREAMED
)
LANGBOTS = st.sampled_from(
    [
        responses.ACCEPTED,
        responses.KEY_KNOWN,
        responses.SYNC_IN_FLIGHT,
        responses.INTERNAL_ERROR,
        responses.response(200, 0),
        *responses.REFUSALS,
        *responses.PERMANENT_REFUSALS,
    ]
).map(lambda one: (one.status, one.body.decode()))
TEXTS = written(ENVELOPES) | written(nearly(ENVELOPES)) | written(JSON)
STATUSES = st.sampled_from([200, 202, 302, 400, 401, 404, 409, 413, 429, 500, 503]) | st.integers(0, 999)
ANSWERED = (
    LANGBOTS
    | st.tuples(STATUSES, TEXTS)
    | st.tuples(st.just(200), written(REPLIES))
    | LANGBOTS.flatmap(lambda one: st.tuples(st.just(one[0]), damaged(st.just(one[1]))))
)
"""A status and a body."""
ENCODINGS = {"": bytes, "gzip": gzip.compress, "deflate": zlib.compress, "br": bytes, "gzip, gzip": bytes}
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40)
HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "Location", "Set-Cookie", "Content-Type", "Connection"])
    | st.text(f"{ascii_letters}-", min_size=1, max_size=10),
    VALUES | st.integers().map(str) | st.sampled_from(["9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"]),
    max_size=3,
)


@dataclass(frozen=True)
class Answer:
    """What the bot sends, in `pieces`, and how it ends: the connection closes, is silent, or never ends."""

    raw: bytes
    pieces: int = 1
    ending: str = "closes"

    def play(self, connection):
        size = len(self.raw) // self.pieces + 1
        for begin in range(0, len(self.raw), size):
            connection.sendall(self.raw[begin : begin + size])
            if self.pieces > 1:
                time.sleep(0.01)
        while self.ending == "never ends":
            connection.sendall(b"x")
            time.sleep(0.05)
        if self.ending == "is silent":
            # The client may have all that it wants, and keep the connection.
            connection.settimeout(2 * SECONDS)
            connection.recv(1)


@st.composite
def answers(draw):
    """Make a response of which most is right, or bytes that are none."""
    if draw(st.integers(0, 9)) == 9:
        return draw(st.binary())
    status, text = draw(ANSWERED)
    encoding = draw(st.sampled_from([*[""] * 6, *ENCODINGS]))
    body = ENCODINGS[encoding](text.encode() or draw(st.binary()))
    headers = {name: value.encode("latin-1") for name, value in draw(HEADERS).items()}
    if encoding:
        headers["Content-Encoding"] = encoding.encode()
    match draw(st.sampled_from([*["length"] * 6, "chunks", "none", "wrong length"])):
        case "length":
            headers["Content-Length"] = b"%d" % len(body)
        case "chunks":
            headers["Transfer-Encoding"] = b"chunked"
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        case "wrong length":
            headers["Content-Length"] = draw(st.sampled_from([b"-1", b"x", b"1e3", b"99999999999", b"1"]))
    lines = [b"HTTP/1.1 %03d x" % status, *(b"%s: %s" % (n.encode(), v) for n, v in headers.items())]
    whole = b"\r\n".join([*lines, b"", body])
    return whole[: draw(st.integers(0, len(whole)))] if draw(st.integers(0, 9)) == 9 else whole


ENDINGS = st.sampled_from(["closes"] * 98 + ["is silent", "never ends"])
INPUTS = st.tuples(
    st.builds(Answer, answers(), st.sampled_from([1, 1, 1, 3]), ENDINGS),
    st.sampled_from(["push", "push", "sync", "reset"]),
    st.sampled_from([1, 2]),
)


def http(status, body=b"", *headers):
    return b"\r\n".join([b"HTTP/1.1 %d x" % status, *headers, b"Content-Length: %d" % len(body), b"", body])


RARE = [
    (Answer(b"HTTP/1.1 202 x\r\nX: ", 1, "never ends"), "push", 1),
    # Its thread and its connection stayed after the deadline.
    (Answer(b"HTTP/1.1 202 x\r\n\r\n", 1, "never ends"), "push", 1),
    (Answer(b"HTTP/1.1 202 x\r\nContent-Length: 9\r\n\r\n", 1, "is silent"), "sync", 1),
    # 30 MB of blanks in 30 KB
    (Answer(http(202, gzip.compress(b" " * 30_000_000), b"Content-Encoding: gzip")), "push", 1),
    (Answer(http(200, gzip.compress(b" " * 30_000_000), b"Content-Encoding: gzip")), "sync", 1),
    # It was no response to push, which read the address, and had read all of its body.
    (Answer(http(302, b"", b"Location: /\xff")), "push", 1),
    (Answer(http(308, b"", b"Location: http://[")), "sync", 1),
]
"""What random inputs seldom come to."""


class Lane:
    """A bot, and push on a clock on which each attempt comes after the pause of the one before."""

    def __init__(self, talk, bot, workers):
        self.talk, self.bot, self.now = talk, bot, time.time()
        self.dispatcher = replace(workers, clock=lambda: self.now, max_in_flight=0).dispatcher()

    def attempt(self, given):
        """Deliver a message of a session of its own; return it and what the bot saw of it."""
        answer, action, receive_count = given
        ended = threading.Event()

        def play(connection):
            try:
                answer.play(connection)
            finally:
                ended.set()

        # After a 401 it is asked once more, with the next secret.
        self.bot.responses[:] = [play] * 2
        self.bot.requests.clear()
        self.now += 120
        message = queued(self.talk, receive_count=receive_count, action=action, session_id=uuid4().hex)
        began = time.monotonic()
        deliver(self.dispatcher, message)
        assert time.monotonic() - began < 30
        return message, action, ended if self.bot.requests else None


def check_record(record, action, ended):
    for name in ("reason", "last_error"):
        assert len(record.get(name, "")) <= MAX_REASON
    assert len(record.get("last_response", {"body": ""})["body"]) <= MAX_RESPONSE_EXCERPT
    (attempt,) = record["last_attempts"]
    verdict, status = Verdict(attempt["verdict"]), attempt.get("status")
    if verdict is Verdict.ACCEPTED:
        assert status in ({"push": 202}.get(action, 200), 409)
    assert (record["state"] in ("delivered", "answered")) == (verdict is Verdict.ACCEPTED)
    if record["state"] == "parked":
        assert status in (400, 413) or (action, status) == ("reset", 500)
    if ended and "no response within" in record.get("last_error", ""):
        assert ended.wait(30), "the connection is open after the deadline"
    return str(verdict)


def test_any_response_ends_in_a_verdict_and_a_record(talk, workers, log_lines, fuzzer, monkeypatch):
    monkeypatch.setattr(langbot, "ATTEMPT_TIMEOUT", dict.fromkeys(langbot.ATTEMPT_TIMEOUT, SECONDS))

    def check(values):
        log_lines.clear()
        attempts = in_lanes(lanes, Lane.attempt, values)
        records = workers.records(*(message for message, *_ in attempts))
        # The receipts of messages that no queue has delivered are wrong.
        assert [line for line in unforeseen(log_lines) if "visibility" not in line] == []
        return [check_record(record, *seen) for record, (_, *seen) in zip(records, attempts, strict=True)]

    with ExitStack() as ends:
        lanes = []
        for number in range(8):
            bot = ends.enter_context(serving())
            lanes.append(Lane(further_bot(talk, number, bot.url), bot, workers))
        fuzzer.run(check, INPUTS, 20, 0.25, RARE)
