"""The rules of LangBot's HTTP bot, each with what was recorded or read of the real one."""

import hashlib
import hmac
import json
import re

import pytest

from local.http_bot import (
    KEYS_FULL,
    MAX_BODY_BYTES,
    MAX_KEYS,
    OVERLOADED,
    RELEASES,
    UNPARSED,
    HttpBot,
    Request,
    Said,
    SyncCall,
)
from support.recordings import recorded, rows
from support.samples import NOW

IN, OUT, PATH = "inbound-secret", "outbound-secret", "/bots/1"
HELLO = {"session_id": "s", "message": [{"type": "Plain", "text": "hello"}]}
ECHO = Said(0, [{"type": "Plain", "text": "echo: hello"}])
RELEASE = RELEASES["4.11.2"]


class Bot(HttpBot):
    """A bot that says what `says` has. Its callbacks are answered with `statuses`, and then 200."""

    def __init__(self, release=RELEASE, says=(ECHO,)):
        super().__init__(release, PATH, IN, OUT)
        self.says, self.now = says, NOW
        self.statuses, self.posts = [], []

    def script(self, message):
        return iter(self.says)

    def ask(self, body=HELLO, key="k", path="", **more):
        """Return the status and the text of a response, or the sync call that waits."""
        given = self.given(body, key, path, **more)
        return given if isinstance(given, SyncCall) else (given.status, said_in(given))

    def given(self, body=HELLO, key="k", path="", method="POST", refusal=None, **headers):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent_at = str(int(self.now))
        signed = {"x-lb-timestamp": sent_at, "x-lb-signature": sign(IN, sent_at, raw)}
        more = {f"x-lb-{name}": value for name, value in headers.items()}
        request = Request(method, PATH + path, signed | {"x-lb-idempotency-key": key} | more, raw)
        return self.answer(request, self.now, refusal)

    def wait(self, seconds):
        """Let time pass, and answer each callback at once."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(self.due, until)
            self.run(self.now)
            while self.to_post:
                part = self.to_post.pop(0)
                self.posts.append((self.now, part))
                self.posted(part, self.statuses.pop(0) if self.statuses else 200, self.now)
        return self

    def told(self, *names):
        """Return these fields of each part that was posted."""
        bodies = [json.loads(part.raw) for _, part in self.posts]
        return [tuple(body[name] for name in names) for body in bodies]


def sign(secret, sent_at, raw):
    return "sha256=" + hmac.new(secret.encode(), f"{sent_at}.".encode() + raw, hashlib.sha256).hexdigest()


def said_in(response):
    if isinstance(response.body, str):
        return "HTML"
    return response.body.get("msg") or response.body["error"]


def says(*parts):
    """Return a script of parts: the text, and whether it is final."""
    return [Said(1, [{"type": "Plain", "text": text}], is_final) for text, is_final in parts]


# ---------------------------------------------------------------- requests

EARLY, LATE = str(int(NOW) - 301), str(int(NOW) + 301)
MISMATCH = (401, "invalid signature: signature_mismatch")
NO_LIST = (400, "failed to parse message: 1 validation error for MessageChain")


@pytest.mark.parametrize(
    ("request_", "expected", "burns_key"),
    [
        ({}, (202, "accepted"), True),
        ({"method": "GET"}, (202, "accepted"), True),
        ({"path": "0"}, (404, "Bot not found"), False),
        ({"method": "PUT"}, (405, "HTML"), False),
        ({"path": "/"}, (405, "HTML"), False),
        ({"path": "/nope"}, (400, "unknown sub-path: nope"), False),
        ({"body": b" " * (MAX_BODY_BYTES + 1), "signature": ""}, (413, "message too large"), False),
        ({"signature": ""}, (401, "invalid signature: missing_headers"), False),
        ({"timestamp": ""}, (401, "invalid signature: missing_headers"), False),
        ({"timestamp": "yesterday"}, (401, "invalid signature: bad_timestamp"), False),
        ({"timestamp": EARLY}, (401, "invalid signature: expired"), False),
        ({"timestamp": LATE}, (401, "invalid signature: expired"), False),
        ({"signature": "sha256=00"}, MISMATCH, False),
        ({"signature": sign(IN, str(int(NOW)), json.dumps(HELLO).encode()).upper()}, MISMATCH, False),
        ({"body": b"no JSON", "signature": "sha256=00"}, MISMATCH, False),
        ({"body": b"no JSON"}, (400, "body is not valid JSON"), False),
        ({"body": []}, (400, "body must be a JSON object"), False),
        ({"body": {"session_id": "s"}}, (400, "session_id and message are required"), False),
        ({"path": "/reset", "body": {}}, (400, "session_id is required"), False),
        ({"path": "/reset", "body": {"session_id": "s"}}, (500, "Internal server error"), False),
        ({"refusal": KEYS_FULL}, (503, "idempotency capacity reached; retry later"), False),
        ({"body": HELLO | {"message": "hello"}}, NO_LIST, True),
        ({"body": HELLO | {"message": [{"type": "Plain"}]}}, NO_LIST, True),
        ({"body": HELLO | {"message": [{"text": "hello"}]}}, NO_LIST, True),
        ({"body": HELLO | {"sender": "bob"}}, NO_LIST, True),
        ({"refusal": UNPARSED}, NO_LIST, True),
        ({"refusal": OVERLOADED}, (503, "too many inbound messages are already being processed"), True),
    ],
)
def test_a_request_has_its_response_and_may_use_its_key_up(request_, expected, burns_key):
    bot = Bot()
    response = bot.given(**request_)
    assert (response.status, said_in(response)) == expected
    assert (response.message is not None) == (response.status == 202)
    assert response.burned == ("k" if burns_key and response.status != 202 else None)
    assert bot.ask() == ((409, "idempotency key already accepted") if burns_key else (202, "accepted"))


@pytest.mark.parametrize(
    "row",
    [
        row
        for name in ("a_plain", "e_idempotency", "f_errors", "h_reset")
        for row in rows(name)
        if row["kind"] == "request"
        and "<" not in row["req_body"]  # the recording names a size instead of the body
        and "signature" not in row["resp_body"]  # signed requests only, here
        and "�" not in row["req_body"]
        and row["status"] not in (404, 409)
    ],
    ids=lambda row: row["note"] or "plain",
)
def test_a_recorded_request_has_the_recorded_response(row):
    path = row["path"].removeprefix("/bots/<uuid>")
    response = Bot().given(row["req_body"].encode(), path=path, method=row["method"])
    assert (response.status, shape(response.raw.decode())) == (row["status"], shape(row["resp_body"]))


def shape(text):
    """Return a response without its random ids and the words of the library that parses segments."""
    text = re.sub(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)
    return re.sub(r"(failed to parse message: ).*(\"})", r"\1...\2", text)


def test_a_fifth_post_at_once_is_429_and_none_before_4_10_7():
    bot, older = Bot(), Bot(RELEASES["4.10.6"])
    seen = [bot.start_reading() for _ in range(5)]
    assert (seen[:4], seen[4].status) == ([None] * 4, 429)
    bot.ask()
    assert bot.start_reading() is None
    assert [older.start_reading() for _ in range(5)] == [None] * 5


def test_a_key_is_known_for_600_s():
    bot = Bot()
    message = bot.given().message
    seen = [bot.wait(seconds).ask()[0] for seconds in (599, 2)]
    assert seen == [409, 202]
    assert message.key_forgotten_at == NOW + 601


@pytest.mark.parametrize(("release", "statuses"), [("4.11.2", (503, 409)), ("4.10.6", (202, 202))])
def test_of_4096_keys_the_next_is_refused_or_makes_it_forget_all(release, statuses):
    bot = Bot(RELEASES[release])
    for number in range(MAX_KEYS):
        bot.adapter.keys[str(number)] = NOW, None
    assert (bot.ask(key="new")[0], bot.ask(key="0")[0]) == statuses


def test_a_release_before_4_10_7_writes_a_500_without_a_code():
    error = Bot(RELEASES["4.10.6"]).given({"session_id": "s"}, path="/reset")
    assert (error.status, list(error.body)) == (500, ["error"])


# ---------------------------------------------------------------- turns


def test_no_turn_begins_before_24_ms_have_passed():
    bot = Bot()
    bot.ask()
    assert [len(bot.wait(seconds).posts) for seconds in (0.023, 0.002)] == [0, 1]


def test_20_turns_run_at_once_and_one_of_a_session():
    bot = Bot(says=says(("hello", True)))
    for number in range(21):
        bot.ask(HELLO | {"session_id": f"s-{number}"}, key=str(number))
    assert (len(bot.wait(1.1).posts), len(bot.wait(1.1).posts)) == (20, 21)
    for key in ("a", "b"):
        bot.ask(key=key)
    assert (len(bot.wait(1.1).posts), len(bot.wait(1.1).posts)) == (22, 23)


def test_of_101_messages_in_hand_the_one_that_waits_longest_is_dropped():
    bot = Bot(says=says(("hello", True)))
    ids = []
    for number in range(101):
        ids.append(bot.given(HELLO | {"session_id": f"s-{number}"}, key=str(number)).message.id)
        bot.wait(0.005)
    assert bot.dropped == [ids[20]]  # 20 turns run, and those are not dropped
    assert bot.most_in_hand == 100
    bot.wait(10)
    assert {reply_to for (reply_to,) in bot.told("reply_to")} == set(ids) - set(bot.dropped)


def test_a_message_can_be_taken_in_while_a_turn_of_its_session_waits_or_runs():
    bot = Bot(says=says(("hello", True)))
    seen = [bot.has_turn("s")]
    bot.ask()
    seen += [bot.has_turn("s"), bot.wait(0.5).has_turn("s"), bot.has_turn("other"), bot.wait(1).has_turn("s")]
    assert seen == [False, True, True, False, False]


# ---------------------------------------------------------------- parts


def test_a_part_is_written_as_langbot_writes_it():
    bot = Bot()
    session = json.loads(recorded("a_plain")[0].raw)["session_id"]
    bot.ask(HELLO | {"session_id": session})
    (_, part), expected = bot.wait(1).posts[0], recorded("a_plain")[0].raw

    def blank(raw):
        return re.sub(rb"in_[0-9a-f]{32}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", b"-", raw)

    assert blank(part.raw) == blank(expected)


def test_a_part_has_the_local_time_of_a_clock_that_may_be_wrong():
    bot = Bot()
    bot.clock_error, bot.zone = 100, 8 * 3600
    bot.ask()
    ((written,),) = bot.wait(1).told("timestamp")
    (_, part) = bot.posts[0]
    assert (written, part.headers["X-LB-Timestamp"]) == ("2026-11-22T21:02:28.024000", str(int(NOW) + 100))


def test_in_a_group_each_part_begins_with_whom_it_is_for():
    bot = Bot(says=says(("one", False), ("two", True)))
    bot.ask(HELLO | {"session_type": "group", "sender": {"id": "u1"}})
    mentions = [message[0] for (message,) in bot.wait(3).told("message")]
    assert mentions == [{"type": "At", "target": "u1", "display": ""}] * 2


@pytest.mark.parametrize(
    ("script", "sequences"),
    [
        (says(("a", False), ("b", False), ("c", True)), [1, 2, 3, 1, 2, 3]),
        (says(("a", True), ("b", True)), [1, 1, 1, 1]),
        (says(("a", False), ("it broke", False)), [1, 2, 3, 4]),
        ([*says(("a", False)), Said(61, []), Said(0, [])], [1, 1, 1, 1, 1, 1]),
        ([*says(("a", False)), Said(1, [], is_final=False, pushes=True)], [1, 2, 1, 2]),
    ],
    ids=["streamed", "several replies", "no end", "a minute of silence", "a push"],
)
def test_parts_are_counted_from_1_after_a_final_one_and_after_60_s(script, sequences):
    bot = Bot(says=script)
    for key in ("a", "b"):
        bot.ask(key=key)
    assert [sequence for (sequence,) in bot.wait(200).told("sequence")] == sequences


def test_a_push_names_no_message_and_is_final():
    bot = Bot()
    bot.say("s", [], NOW)
    assert bot.wait(1).told("reply_to", "is_final", "stream") == [("", True, False)]


@pytest.mark.parametrize(("release", "streamed"), [("4.11.2", True), ("4.11.0", True), ("4.10.7", False)])
def test_what_a_runner_gave_as_a_whole_is_marked_as_streamed_from_4_11_on(release, streamed):
    bot = Bot(RELEASES[release], [Said(0, [], streams=False)])
    bot.ask()
    assert bot.wait(1).told("stream") == [(streamed,)]


# ---------------------------------------------------------------- callbacks


@pytest.mark.parametrize(
    ("statuses", "seconds"),
    [
        ([500, None, 503, 500], [0, 1, 3, 7]),
        ([502, 200], [0, 1]),
        ([None, 429], [0, 1]),
        *(([status], [0]) for status in (200, 302, 400, 401, 404, 429)),
    ],
)
def test_only_a_5xx_or_no_response_is_tried_again(statuses, seconds):
    bot = Bot(says=says(("a", True), ("b", True)))
    bot.statuses = list(statuses)
    bot.ask()
    *tries, (came_at, after) = bot.wait(20).posts
    assert [round(at - tries[0][0]) for at, _ in tries] == seconds
    assert (len({id(part) for _, part in tries}), tries[0][1].seen) == (1, statuses)
    assert (tries[0][1].text, after.text, came_at >= tries[-1][0]) == ("a", "b", True)
    assert tries[0][1].given_up == (statuses[-1] not in (200, 302))


def test_a_part_is_signed_once_over_its_raw_bytes():
    bot = Bot()
    bot.statuses = [500]
    bot.ask()
    (first_at, first), (_, again) = bot.wait(10).posts
    sent_at = first.headers["X-LB-Timestamp"]
    assert first is again
    assert (sent_at, first.headers["X-LB-Signature"]) == (str(int(first_at)), sign(OUT, sent_at, first.raw))


def test_without_an_outbound_secret_the_inbound_one_signs():
    bot = Bot()
    bot.adapter.outbound = ""
    bot.ask()
    (_, part) = bot.wait(1).posts[0]
    assert part.headers["X-LB-Signature"] == sign(IN, part.headers["X-LB-Timestamp"], part.raw)


def test_of_101_parts_that_wait_the_oldest_is_dropped():
    bot = Bot(says=[Said(0, [{"type": "Plain", "text": str(n)}], False) for n in range(102)])
    bot.statuses = [500]
    bot.ask()
    assert [part.text for _, part in bot.wait(10).posts] == ["0", "0", *map(str, range(2, 102))]


# ---------------------------------------------------------------- sync calls


def test_a_sync_call_is_answered_with_every_part_and_makes_no_callback():
    bot = Bot(says=says(("a", False), ("a b", True)))
    call = bot.ask(path="/sync")
    assert (bot.wait(2).posts, call.response) == ([], None)
    bot.wait(1)
    message = [{"type": "Plain", "text": "a"}, {"type": "Plain", "text": "a b"}]
    data = {"session_id": "s", "reply_to": call.message.id, "message": message}
    assert (call.response.status, call.response.body) == (200, {"code": 0, "msg": "ok", "data": data})
    assert bot.posts == []


def test_a_second_sync_call_of_a_session_is_refused_and_uses_its_key_up():
    bot = Bot()
    bot.ask(path="/sync", key="a")
    assert bot.ask(path="/sync", key="b") == (409, "a sync request is already in flight for this session")
    assert bot.ask(key="b") == (409, "idempotency key already accepted")


def test_a_sync_call_gets_the_reply_of_an_earlier_message_and_its_own_comes_as_a_callback():
    bot = Bot(says=says(("hello", True)))
    bot.ask(key="a")
    call = bot.ask(path="/sync", key="b")
    assert bot.wait(3).told("reply_to") == [(call.message.id,)]
    assert call.response.body["data"]["reply_to"] == call.message.id


def test_a_sync_call_is_answered_after_a_minute_with_nothing():
    bot = Bot(says=[])
    call = bot.ask(path="/sync")
    bot.wait(59)
    assert call.response is None
    bot.wait(2)
    assert call.response.body["data"]["message"] == []


@pytest.mark.parametrize(("release", "ends"), [("4.11.2", True), ("4.11.0", False)])
def test_a_push_ends_a_sync_call_from_4_11_1_on(release, ends):
    bot = Bot(RELEASES[release], says=[])
    call = bot.ask(path="/sync")
    bot.say("s", [], bot.now)
    assert (call.response is not None, len(bot.wait(1).posts)) == (ends, 0 if ends else 1)


# ---------------------------------------------------------------- what it forgets


@pytest.mark.parametrize("event", [HttpBot.reload, HttpBot.boot])
def test_a_bot_that_is_saved_or_restarted_forgets_its_keys_and_its_secrets(event):
    bot = Bot()
    message = bot.given().message
    event(bot, "another", OUT, bot.now)
    assert (bot.ask(), message.key_forgotten_at) == (MISMATCH, NOW)
    event(bot, IN, OUT, bot.now)
    assert bot.ask() == (202, "accepted")


def test_a_turn_goes_on_when_the_bot_is_saved_with_its_old_secrets_and_a_new_count():
    bot = Bot(says=says(("a", False), ("b", True)))
    bot.ask()
    bot.wait(1.5).reload(IN, "another", bot.now)
    (_, part) = bot.wait(2).posts[-1]
    assert bot.told("sequence", "is_final") == [(1, False), (1, True)]
    assert part.headers["X-LB-Signature"] == sign(OUT, part.headers["X-LB-Timestamp"], part.raw)


@pytest.mark.parametrize(("release", "texts"), [("4.11.2", "aac"), ("4.10.6", "aabc")])
def test_a_save_loses_the_part_that_waits_for_its_next_attempt(release, texts):
    bot = Bot(RELEASES[release], says(("a", True), ("b", True), ("c", True)))
    bot.statuses = [500, 500]
    bot.ask()
    bot.wait(2.5).reload(IN, OUT, bot.now)
    assert "".join(part.text for _, part in bot.wait(10).posts if part.text in "abc") == texts


@pytest.mark.parametrize(("release", "finals"), [("4.11.2", 1), ("4.10.7", 2)])
def test_a_turn_in_a_save_ends_with_an_error_before_4_11(release, finals):
    bot = Bot(RELEASES[release], says(("a", True)))
    bot.ask()
    bot.wait(0.5).reload(IN, OUT, bot.now)
    assert len(bot.wait(5).posts) == finals


def test_a_restart_ends_all_turns_and_a_save_leaves_its_sync_calls_without_what_is_said():
    bot = Bot(says=says(("a", True)))
    bot.ask()
    bot.boot(IN, OUT, bot.now)
    call = bot.ask(path="/sync")
    bot.wait(0.5).reload(IN, OUT, bot.now)
    assert bot.wait(60).told("is_final") == [(True,)]
    assert call.response.body["data"]["message"] == []


def test_a_response_to_a_callback_from_before_a_save_changes_nothing():
    bot = Bot()
    bot.ask()
    bot.run(NOW + 1)
    bot.reload(IN, OUT, NOW + 1)
    (part,) = bot.to_post
    bot.posted(part, 500, NOW + 2)
    assert (part.seen, part.given_up) == ([], False)
