"""Messages as SQS hands them to push, made by hand and given to a courier in this process."""

import json
import time
from dataclasses import replace
from itertools import count

from relay.edge.gate import Gate
from relay.rules.ledger import Queued

numbers = count(int(time.time() * 1000))


def queued(talk, text="hello", receive_count=1, **more):
    number = next(numbers)
    return Queued(
        message_id=f"id-{number}",
        body=json.dumps({"session_id": talk.session, "bot": talk.name, "text": text} | more),
        group=talk.session,
        sequence_number=str(number),
        receive_count=receive_count,
        sent_at=time.time(),
        receipt_handle="gone",
    )


def deliver(courier, *messages, seconds_left=80):
    return courier.deliver(messages, lambda: seconds_left)


def again(message):
    return replace(message, receive_count=message.receive_count + 1)


def at(courier, moment):
    """A courier at another time, in Unix seconds; it knows what the tables say, and nothing else."""
    ledger, deadline = courier.ledger, courier.answer_deadline
    clock = lambda: moment  # noqa: E731
    gate = Gate(ledger._dynamodb, ledger._table, 50, deadline, clock)
    return replace(courier, clock=clock, sender=replace(courier.sender, gate=gate, clock=clock))
