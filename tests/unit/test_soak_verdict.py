from dataclasses import replace

import pytest

from bench.soak_verdict import Acceptance, Growth, Outcome, Sample, growths, is_flat

ALL_WELL = Outcome(
    records={
        0: {"state": "answered", "answered_by": "in_0"},
        1: {"state": "answered", "answered_by": "in_1"},
        2: {"state": "answered", "answered_by": "in_2"},
    },
    accepted=[Acceptance("s-0", 0, "in_0"), Acceptance("s-1", 2, "in_2"), Acceptance("s-0", 1, "in_1")],
    forgotten=set(),
    emitted={"s-0": ["a", "b", "c"], "s-1": ["d"]},
    stored={"s-0": ["a", "b", "c"], "s-1": ["d"]},
)
AGAIN = Acceptance("s-0", 0, "in_9")


def with_record(record):
    return replace(ALL_WELL, records=ALL_WELL.records | {0: record})


def with_stored(*parts):
    return replace(ALL_WELL, stored=ALL_WELL.stored | {"s-0": parts})


def findings(outcome):
    return {"lost": outcome.lost(), "doubled": outcome.doubled(), "out of order": outcome.out_of_order()}


def samples(*processes):
    """Return ten samples of a soak of ten seconds; a process is its function, and its memory by the time."""
    return [
        Sample(at, {pid: (function, mb(at)) for pid, (function, mb) in enumerate(processes) if mb(at)})
        for at in range(10)
    ]


def test_what_came_through_once_and_in_order_has_no_findings():
    assert findings(ALL_WELL) == {"lost": [], "doubled": [], "out of order": []}


@pytest.mark.parametrize(
    ("outcome", "kind", "line"),
    [
        (with_record(None), "lost", "message 0 has no record"),
        (with_record({"state": "parked"}), "lost", "message 0 is parked"),
        (with_record({"state": "unanswered"}), "lost", "message 0 is unanswered"),
        (
            with_record({"state": "answered", "answered_by": "in_1", "answer_kind": "push"}),
            "lost",
            "message 0 is answered by the turn of 1: push, last error: None",
        ),
        (with_stored("a", "c"), "lost", "session s-0 lacks 1 of 3 parts"),
        (
            replace(ALL_WELL, accepted=[*ALL_WELL.accepted, AGAIN]),
            "doubled",
            "message 0 was accepted 2 times",
        ),
        (
            with_stored("a", "b", "b", "c"),
            "doubled",
            "session s-0 has 1 parts more than its bot emitted",
        ),
        (
            with_stored("a", "b", "c", "never emitted"),
            "doubled",
            "session s-0 has 1 parts more than its bot emitted",
        ),
        (
            replace(ALL_WELL, accepted=ALL_WELL.accepted[::-1]),
            "out of order",
            "session s-0: message 0 reached its bot after 1",
        ),
        (
            with_stored("b", "a", "c"),
            "out of order",
            "session s-0: its parts are not in the order of its bot",
        ),
    ],
)
def test_each_fault_is_found_once(outcome, kind, line):
    found = {"lost": [], "doubled": [], "out of order": []} | {kind: [line]}
    assert findings(outcome) == found


def test_a_resend_is_neither_doubled_nor_out_of_order():
    record = {"state": "answered", "answered_by": "in_9", "resends": 1}
    outcome = replace(with_record(record), accepted=[*ALL_WELL.accepted, AGAIN])
    assert not any(findings(outcome).values())


@pytest.mark.parametrize("state", ["answered", "unanswered"])
def test_a_forgotten_message_may_end_without_a_reply_of_its_own(state):
    record = {"state": state, "answered_by": "in_1"}
    assert replace(with_record(record), forgotten={0}).lost() == []


def test_a_forgotten_message_that_has_not_ended_is_lost():
    outcome = replace(with_record({"state": "delivered"}), forgotten={0})
    assert outcome.lost() == ["message 0 is delivered"]


def test_the_process_that_grew_most_decides_about_its_function():
    found = growths(samples(("push", lambda _: 50), ("push", lambda at: 50 + at)), 10)
    assert found == {"push": Growth(warm=51.5, end=58.5)}
    assert not is_flat(found["push"])


def test_memory_that_grows_only_while_it_warms_up_is_flat():
    found = growths(samples(("settle", lambda at: 50 if at else 7)), 10)
    assert found == {"settle": Growth(warm=50, end=50)}
    assert is_flat(found["settle"])


def test_a_process_that_started_later_does_not_count():
    late = ("callback", lambda at: 7 * at)
    assert growths(samples(("callback", lambda _: 50), late), 10) == {"callback": Growth(50, 50)}


def test_a_function_whose_processes_all_ended_is_not_called_flat():
    found = growths(samples(("settle", lambda at: 50 if at < 5 else None)), 10)
    assert found == {"settle": None}
    assert not is_flat(found["settle"])
