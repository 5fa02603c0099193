from itertools import islice
from types import SimpleNamespace

import pytest

from relay import environment
from relay.adapters.function_logs import LogLine
from relay_cli.commands.logs import OVERLAP, follow


@pytest.fixture
def logged(monkeypatch):
    """The lines that functions have logged; no call waits."""
    monkeypatch.setattr(environment, "current", environment.Environment(sleep=lambda seconds: None))
    return [line(1000)]


def line(at):
    return LogLine(at, "push", f"line of {at}")


def stack_with(lines):
    logs = SimpleNamespace(since=lambda moment, functions: [one for one in lines if one.at >= moment])
    return SimpleNamespace(open_logs=lambda: logs)


def test_lines_that_come_while_their_reader_pauses_follow_after_it(logged):
    lines = follow(stack_with(logged), ["push"], 900)
    assert next(lines) == line(1000)
    paused = [line(1000 + second) for second in range(1, 41)]
    logged += paused
    assert list(islice(lines, 40)) == paused


def test_a_line_that_is_shown_late_is_printed_once(logged):
    lines = follow(stack_with(logged), ["push"], 900)
    assert next(lines) == line(1000)
    late = line(1000 - OVERLAP)
    logged.insert(0, late)
    assert next(lines) == late
    logged.append(line(1001))
    assert next(lines) == line(1001)
