"""No structure of a body costs much more CPU than plain text of the same size, wherever the body is read."""

import json
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count, cycle
from uuid import uuid4

from hypothesis import strategies as st

from publish.publisher import StreamRecord
from relay.domain.keys import SETTLE, RecordKey, record_key
from relay.domain.message import for_bot
from relay.domain.settlement import FinalPart
from relay.domain.strict_json import Malformed
from relay.errors import InvalidMessage
from relay_cli.commands import tail
from relay_console.message_view import message_detail
from relay_console.session_feed import SessionFeed
from support.callbacks import lower_case, signed_headers
from support.deployed import IN, OUT
from support.fuzzing import INPUTS
from support.queued_messages import deliver, queued
from support.raw_server import serving
from support.responses import ACCEPTED

MAX_TIMES = 50
"""The cost of a structure, as a multiple of the cost of plain text of its size."""

CALLBACK_BYTES, MESSAGE_BYTES = 5_900_000, 1_000_000
SIZES = [CALLBACK_BYTES, 1_000_000, 100_000] if INPUTS else [100_000]

PLAIN = '"' + "x" * 1000 + '"'
VALUES = [
    *("[]", "{}", "0", "1.5", "1e-7", "null", "true", '""', '"a"', '"é"', '"\\u00e9"', '"\\n"'),
    *('"\\ud83d"', '"\\ud83d\\ude00"', "123456789012345678901234567890", "9" * 4301, "NaN"),
    *('{"type": "Plain", "text": "a"}', '{"a": {"b": []}}', "[" * 30 + "]" * 30, PLAIN),
]


@dataclass(frozen=True)
class Structure:
    """`size` bytes of values, in a list or as fields with keys, within `depth` lists."""

    values: tuple[str, ...]
    size: int
    keyed: bool = False
    depth: int = 0
    is_message: bool = False
    """Whether it is the list of segments itself, and not a field of one."""

    def segments(self, size):
        """Return as JSON segments of `size` bytes, or of fewer if the structure is smaller."""
        left, values, numbers = min(self.size, size), [], count()
        for value in cycle(self.values):
            values.append(f'"{next(numbers)}": {value}' if self.keyed else value)
            left -= len(values[-1].encode()) + 2
            if left < 0:
                break
        text = ", ".join(values)
        text = "[" * self.depth + (f"{{{text}}}" if self.keyed else f"[{text}]") + "]" * self.depth
        return text if self.is_message else f'[{{"type": "Plain", "text": "hi", "more": {text}}}]'

    def reply(self, session):
        """Return the body of a final part."""
        fields = {"session_id": session, "reply_to": "in_1", "sequence": 1, "is_final": True, "stream": True}
        timestamp = time.strftime("%Y-%m-%dT%H:%M:%S.000001", time.gmtime())
        rest = json.dumps(fields | {"timestamp": timestamp})
        return f'{rest[:-1]}, "message": {self.segments(CALLBACK_BYTES)}}}'.encode()


STRUCTURES = st.builds(
    Structure,
    st.lists(st.sampled_from(VALUES), min_size=1, max_size=3).map(tuple),
    st.sampled_from(SIZES),
    st.booleans(),
    st.sampled_from([0, 1, 30, 150]),
    st.booleans(),
)


@contextmanager
def measured(costs, name):
    began = time.process_time()
    yield
    costs[name] += time.process_time() - began


def costs_of(structure, talk, workers):
    """Return the seconds of CPU in this process that each reader needs for a structure."""
    # Messages that wait for ever would fill the bot.
    workers = replace(workers, max_in_flight=0)
    costs, session = Counter(), f"s-{uuid4().hex[:8]}"
    raw = structure.reply(session)
    headers = lower_case(signed_headers(raw))
    with measured(costs, "callback"), suppress(Malformed):
        workers.receiver().receive(talk.name, headers, raw)
    with measured(costs, "library"):
        parts = talk.parts(session)
    with measured(costs, "turns"):
        talk.conversation(session).turns()
    with measured(costs, "console"):
        SessionFeed(talk.deployed.stack, f"{talk.name}#{session}").poll()
    for part in parts:
        with measured(costs, "settle"):
            workers.settler().settle(FinalPart.of(part))
        with measured(costs, "publish"):
            assert workers.publisher().publish([StreamRecord("1", {}, part, 0)], lambda: 60) == []
    with measured(costs, "commands"):
        for part in parts:
            tail.line(part)
    costs["sweep"] = sweep_cost(structure, talk, workers)
    message = queued(talk)
    fields = json.dumps({"bot": talk.name, "session_id": session})[:-1]
    pushed = replace(message, body=f'{fields}, "message": {structure.segments(MESSAGE_BYTES)}}}')
    costs["push"] = attempt_cost(talk, workers, pushed, 202, ACCEPTED.body)
    with measured(costs, "a file's line"), suppress(InvalidMessage):
        for_bot(pushed.body, talk.name)
    with measured(costs, "console's protocol"):
        message_detail(workers.record(queued_alone(talk, workers)), pushed.body)
    answer = f'{{"code": 0, "data": {{"reply_to": "in_1", "message": {structure.segments(CALLBACK_BYTES)}}}}}'
    costs["response"] = attempt_cost(talk, workers, queued(talk, action="sync"), 200, answer.encode())
    return costs


def queued_alone(talk, workers):
    """Return a message that is delivered and waits."""
    message = queued(replace(talk, session=f"s-{uuid4().hex[:8]}"), "SILENT")
    assert deliver(workers.dispatcher(), message) == []
    return message


@dataclass(frozen=True)
class OneOverdue:
    """In place of the index of what waits: one message is overdue."""

    key: RecordKey

    def count_parked(self):
        return 0

    def overdue(self, name, _now):
        return iter([self.key] if name == SETTLE else [])


def sweep_cost(structure, talk, workers):
    """Return the seconds of CPU to find, at its deadline, that a message's last part is no final one."""
    message = queued_alone(talk, workers)
    record = workers.record(message)
    raw = structure.reply(record["session_id"])
    begun = json.dumps(record["accepted_message_id"]).encode()
    raw = raw.replace(b'"reply_to": "in_1"', b'"reply_to": ' + begun, 1).replace(b"true", b"false", 1)
    with suppress(Malformed):
        workers.receiver().receive(talk.name, lower_case(signed_headers(raw)), raw)
    overdue = OneOverdue(record_key(record["session"], record["message"]))
    costs, due_items = Counter(), replace(workers.at(time.time() + 901).due_items(), awaiting_index=overdue)
    with measured(costs, "sweep"):
        due_items.handle(lambda: 60)
    assert workers.record(message)["state"] != "delivered"
    return costs["sweep"]


def attempt_cost(talk, workers, message, status, answer):
    """Return the seconds of CPU of an attempt at a bot that answers so."""
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(answer)}\r\n\r\n".encode()
    costs, name = Counter(), f"bot-{uuid4().hex[:8]}"
    with serving(head + answer) as server:
        talk.deployed.local.connect(server.url, IN, OUT, bot=name)
        body = message.body.replace(talk.name, name, 1)
        with measured(costs, "attempt"):
            deliver(workers.dispatcher(), replace(message, body=body))
    assert len(server.requests) <= 1
    return costs["attempt"]


def test_no_structure_costs_fifty_times_plain_text(talk, workers, fuzzer):
    plain = {size: costs_of(Structure((PLAIN,), size), talk, workers) for size in SIZES}
    most = Counter()

    def check(structures):
        for structure in structures:
            found = costs_of(structure, talk, workers)
            for name, seconds in found.items():
                times = seconds / max(plain[structure.size][name], 0.01)
                most[f"{name} {structure}"] = times
                assert times < MAX_TIMES, (name, seconds, structure)
            yield "read"

    fuzzer.run(check, STRUCTURES, few=4, share=0.0005, known=[])
    if INPUTS:
        with fuzzer.capture.disabled():
            print()
            for name, times in most.most_common(10):
                print(f"{times:5.1f} times plain text: {name[:150]}")
