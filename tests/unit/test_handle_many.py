"""Resending or dropping many messages by a command: how fast, and what it says."""

from argparse import Namespace

import pytest

from relay import environment
from relay.domain.selection import Handled, Result, Selection
from relay.domain.states import State
from relay.domain.timestamps import utc_text
from relay_cli.many_messages import handle_many
from support.samples import NOW, message_record

RECORDS = [
    message_record(
        message=f"{number:039}", state=State.PARKED, parked_at=utc_text(NOW), reason="answered 400"
    )
    for number in range(4)
]


class SomeMessages:
    """Four messages that are selected; `handle` breaks off after `interrupted_after`."""

    def __init__(self, interrupted_after=None):
        self.interrupted_after = interrupted_after

    def selected(self, selection):
        return iter(RECORDS)

    def handle(self, keys, selection, action):
        for number, key in enumerate(keys):
            if number == self.interrupted_after:
                raise KeyboardInterrupt
            yield Handled(key, Result.DONE)


class SleptTime:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds

    def sleep(self, seconds):
        self.seconds += seconds


@pytest.fixture
def time(monkeypatch):
    time = SleptTime()
    machine = environment.Environment(monotonic=time, sleep=time.sleep)
    monkeypatch.setattr(environment, "current", machine)
    return time


def resend(messages, rate=None):
    options = Namespace(command="resend", dry_run=False, json=False, yes=True, rate=rate)
    return handle_many(messages, Selection(), options, lambda record: record)


@pytest.mark.parametrize(("rate", "seconds"), [(None, 0), (2, 2), (0.5, 8)])
def test_no_more_messages_a_second_are_handled_than_the_rate_allows(time, rate, seconds):
    assert resend(SomeMessages(), rate) == 0
    assert time.seconds == seconds


def test_a_run_that_breaks_off_says_how_far_it_came_and_how_it_continues(capsys):
    with pytest.raises(KeyboardInterrupt):
        resend(SomeMessages(interrupted_after=1))
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "resent: 1"
    assert said.err == "relay: 1 of 4 were handled; run the same command to continue\n"
