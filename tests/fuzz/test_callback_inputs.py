"""callback under any request: nothing unsigned is written, and each authentic part is stored once."""

import hashlib
import json
import operator
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
import requests
import yaml
from hypothesis import strategies as st

from relay.adapters.dynamodb import from_item
from relay.domain.bot import BOT_NAME
from relay.domain.signing import sign
from support.bots import change_secret
from support.callbacks import post_part
from support.deployed import IN, OUT, new_bot
from support.event_listener import listen
from support.fuzzing import IN_FLIGHT, in_lanes, unforeseen
from support.json_inputs import JSON, allowed_by, damaged, nearly, written

DOCS = Path(__file__).parents[2] / "docs"
PARAMETERS = {
    one["name"]: one["schema"]["pattern"]
    for one in yaml.safe_load((DOCS / "openapi.yaml").read_text("utf-8"))["paths"]["/callbacks/{bot}"][
        "post"
    ]["parameters"]
}
NOW = datetime.now(UTC).replace(tzinfo=None)
TIMES = st.builds(
    lambda moment, zone: f"{moment.isoformat()}{zone}",
    st.datetimes(NOW - timedelta(days=1), NOW + timedelta(days=1)) | st.datetimes(),
    st.sampled_from(["", "", "", "Z", "+08:00", "+05:45", "-12:00", "+23:59"]),
)
OURS = st.sampled_from(
    ["part", "digest", "bot", "received_at", "expires_at", "overflow", "conflicting_fields"]
)
"""Some of the names that the relay gives to attributes of a part."""
PARTS = st.builds(
    operator.or_,
    allowed_by(json.loads((DOCS / "part.schema.json").read_text("utf-8"))),
    st.fixed_dictionaries({}, optional={"timestamp": TIMES}) | st.dictionaries(OURS, JSON, max_size=2),
)
TEXTS = written(PARTS) | written(nearly(PARTS)) | written(JSON)
BODIES = (TEXTS | damaged(TEXTS)).map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary()
FORGED = (
    st.sampled_from([b'{"session_id": "s", "message": [], "is_final": true}', b"{}", b"\xff"]) | st.binary()
)
"""Bodies of requests that are not authentic, which callback does not parse."""


NO_PART = "a signed body is no valid part"
NO_NAMES = st.text(min_size=1).filter(lambda text: not BOT_NAME.fullmatch(text))
MADE_UP = ["a", "0-", "no-such-bot", "z" * 63]
"""Of names that a bot can have, callback asks Secrets Manager for a few only each second."""
MAX_LOG_LINES = 10_000
"""The emulator shows no more."""


@dataclass(frozen=True)
class Request:
    """A request to callback: `bot` None is the test's own, and it was signed `age` seconds ago."""

    raw: bytes
    bot: str | None = None
    age: int = 0
    secret: str = OUT
    change: str = ""
    text: str = ""
    copies: int = 1
    """How often it is posted if it is authentic. LangBot may post a part again."""

    @property
    def is_authentic(self):
        return self.bot is None and abs(self.age) < 300 and self.secret == OUT and not self.change

    def headers(self):
        timestamp = str(int(time.time()) - self.age)
        if self.change == "any timestamp":
            timestamp = self.text
        headers = {"X-LB-Timestamp": timestamp, "X-LB-Signature": sign(self.secret, timestamp, self.raw)}
        return headers | CHANGES[self.change](self, headers)


FAILED_BEFORE = [
    # The session could not be read again, and publish failed with its batch of the stream.
    Request(b'{"session_id": "s", "message": [], "is_final": true, "x": 1e50}'),
]


def changed(name, change):
    """Return a change of one header."""
    return lambda request, headers: {name: change(request, headers[name])}


CHANGES = {
    "": lambda *_: {},
    "any timestamp": lambda *_: {},
    "any signature": changed("X-LB-Signature", lambda request, _: request.text),
    "no timestamp": changed("X-LB-Timestamp", lambda *_: ""),
    "no signature": changed("X-LB-Signature", lambda *_: ""),
    "a timestamp of a second before": changed("X-LB-Timestamp", lambda _, value: str(int(value) - 1)),
    "a timestamp in other digits": changed("X-LB-Timestamp", lambda _, value: f"{value}.0"),
    "a signature that is cut off": changed("X-LB-Signature", lambda _, value: value[:-1]),
    "a signature in capitals": changed("X-LB-Signature", lambda _, value: value.upper()),
    "a signature twice": changed("X-LB-Signature", lambda _, value: f"{value},{value}"),
    "a signature of another body": lambda request, headers: {
        "X-LB-Signature": sign(OUT, headers["X-LB-Timestamp"], request.raw + b" ")
    },
}


def requests_of(texts, names):
    """Make requests: authentic ones, those that are nearly authentic, and any others."""
    timestamps = st.from_regex(PARAMETERS["X-LB-Timestamp"], fullmatch=True)
    ages, copies = st.sampled_from([0, 200, -200]), st.sampled_from([1, 1, 1, 2])
    return st.builds(Request, raw=BODIES, age=ages, copies=copies) | not_authentic(texts | timestamps, names)


@st.composite
def not_authentic(draw, texts, names):
    """Make a request with one fault, or with several."""
    faults = {
        "bot": names,
        "age": st.sampled_from([400, -400, 10**9]),
        "secret": st.sampled_from([IN, ""]),
        "change": st.sampled_from(sorted(CHANGES.keys() - {""})),
    }
    only = draw(st.none() | st.sampled_from(sorted(faults)))
    drawn = {name: draw(fault) for name, fault in faults.items() if only in (None, name)}
    return Request(raw=draw(FORGED), text=draw(texts), **drawn)


@dataclass(frozen=True)
class Answered:
    """The authentic requests: when each part that was answered 200 was signed, and the bodies answered 400.

    All are named by their SHA-256.
    """

    parts: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    no_parts: set[str] = field(default_factory=set)

    def check(self, request, post):
        """Post a request, check and return the status."""
        headers = request.headers()
        status = post(request, headers)
        if not request.is_authentic:
            assert status == 401
            return "401"
        assert status in (200, 400)
        for _ in range(request.copies - 1):
            assert post(request, headers) == status
        digest = hashlib.sha256(request.raw).hexdigest()
        if status == 200:
            self.parts[digest].add(headers["X-LB-Timestamp"])
        else:
            self.no_parts.add(digest)
        return str(status)

    def check_stored(self, talk):
        """Check that the table has each part once, the quarantine each body that is none, and no more."""
        stored = Counter(part["digest"] for part in items_of(talk))
        assert stored.keys() == self.parts.keys()
        # A part that names no time gets that of its signature: signed anew it is another part.
        assert {digest for digest, times in stored.items() if times > len(self.parts[digest])} == set()
        assert paths(talk, "quarantine") == self.no_parts
        assert paths(talk, "parts") <= {f"{digest}.json" for digest in self.parts}


def content_type(raw):
    """Return a type as which API Gateway hands on each byte of a body; JSON it hands on as text."""
    is_text = raw.decode("utf-8", "ignore").encode() == raw
    return "application/json" if is_text else "application/octet-stream"


def items_of(talk):
    """Return the bot's parts, as a reader gets them."""
    pages = (
        talk.deployed.client("dynamodb")
        .get_paginator("scan")
        .paginate(
            TableName=talk.deployed.stack.replies_table,
            FilterExpression="bot = :bot",
            ExpressionAttributeValues={":bot": {"S": talk.name}},
        )
    )
    return [from_item(item) for page in pages for item in page["Items"]]


def paths(talk, folder):
    """Return the names of the bot's objects in a folder of the overflow bucket."""
    prefix = f"{folder}/{talk.name}/"
    pages = (
        talk.deployed.client("s3")
        .get_paginator("list_objects_v2")
        .paginate(Bucket=talk.deployed.stack.overflow_bucket, Prefix=prefix)
    )
    return {one["Key"].removeprefix(prefix) for page in pages for one in page.get("Contents", [])}


def faults(lines):
    """Return the lines of a log that no request may cause, and those that give away a secret."""
    lines = list(lines)
    logged = [json.loads(line) for line in lines]
    errors = [one for one in logged if one.get("level") == "ERROR" and one["message"] != NO_PART]
    return errors + [line for line in lines if OUT in line or IN in line or "sha256=" in line]


@pytest.fixture
def logs_since(deployed):
    """The lines that callback, settle and publish log until they have handled what came before."""
    with new_bot(deployed) as other, listen(other) as listener:
        turns = count(1)

        def logs_since(moment):
            # Settle and publish get the parts from the table's stream, in order.
            deployed.state(other.push("hello"), "answered")
            listener.all(next(turns), "Reply Completed")
            lines = list(deployed.stack.open_logs().since(moment, ["callback", "settle", "publish"]))
            assert len(lines) < MAX_LOG_LINES
            return lines

        yield logs_since


def check_logs(lines):
    """Check the logs of the deployed functions."""
    assert unforeseen(line.text for line in lines) == []
    assert faults(line.text for line in lines if line.fields) == []


def test_nothing_unsigned_is_stored_and_each_part_once(talk, callback, log_lines, logs_since, fuzzer):
    answered = Answered()

    def post(request, headers):
        log_lines.clear()
        services = (callback.table, callback.bucket, callback.queue)
        before = [service.requests for service in services]
        status, _ = callback.post(talk, request.raw, headers, request.bot)
        assert request.is_authentic or [service.requests for service in services] == before
        assert faults(log_lines) == []
        return status

    def check(requests):
        began = time.time()
        ends = [answered.check(request, post) for request in requests]
        check_logs(logs_since(began))
        return ends

    any_request = requests_of(st.text(), st.sampled_from(MADE_UP) | NO_NAMES)
    fuzzer.run(check, any_request, 15, 0.05, FAILED_BEFORE)
    answered.check_stored(talk)


def test_nothing_unsigned_is_stored_and_each_part_once_through_http(talk, logs_since, fuzzer):
    # Its clock is changed by half an hour twice a year.
    change_secret(talk, timezone="Australia/Lord_Howe")
    answered = Answered()

    def check_one(session, request):
        def post(request, headers):
            as_type = content_type(request.raw)
            return post_part(talk, request.raw, headers, request.bot, as_type, session).status_code

        return answered.check(request, post)

    def check(values):
        began = time.time()
        with ExitStack() as ends:
            sessions = [ends.enter_context(requests.Session()) for _ in range(IN_FLIGHT)]
            words = in_lanes(sessions, check_one, values)
        check_logs(logs_since(began))
        return words

    visible = st.text(st.characters(min_codepoint=33, max_codepoint=126))
    any_request = requests_of(visible, st.sampled_from(MADE_UP))
    fuzzer.run(check, any_request, 15, 0.47, FAILED_BEFORE)
    answered.check_stored(talk)
