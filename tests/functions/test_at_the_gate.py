"""The gate before a bot, on the deployed table: several gates are as many functions."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from batches import deliver, queued

from relay.edge.gate import Gate
from relay.edge.ledger import BOTS
from relay.edge.table import from_item, to_item
from relay.rules.gate import PLACE_TIME, Wait
from relay.rules.part import utc


class Clock:
    def __init__(self):
        self.now = time.time() // 1  # the item has microseconds

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def gate(talk, clock):
    """Makes a gate such as each function has, with places for so many."""
    deployed = talk.deployed
    return lambda most: Gate(deployed.client("dynamodb"), deployed.stack.messages_table, most, 900, clock)


def item(talk):
    """The bot's item."""
    answer = talk.deployed.client("dynamodb").get_item(
        TableName=talk.deployed.stack.messages_table, Key=to_item({"session": BOTS, "message": talk.name})
    )
    return from_item(answer.get("Item", {}))


def put(talk, **fields):
    talk.deployed.client("dynamodb").put_item(
        TableName=talk.deployed.stack.messages_table,
        Item=to_item({"session": BOTS, "message": talk.name} | fields),
    )


def awaits(talk, clock, number, seconds_ago=0):
    """A message that was delivered and waits for its reply."""
    talk.deployed.client("dynamodb").put_item(
        TableName=talk.deployed.stack.messages_table,
        Item=to_item(
            {
                "session": f"{talk.name}#s",
                "message": str(number),
                "awaiting": talk.name,
                "due_at": utc(clock() - seconds_ago + 900),
            }
        ),
    )


def enter(gate, talk, expects_reply=True):
    return gate.enter(talk.name, expects_reply, lasts=15)


def passed(*results):
    return sum(not isinstance(result, Wait) for result in results)


def test_functions_together_let_no_more_through_than_there_are_places(talk, gate):
    gates = [gate(5) for _ in range(4)]
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda n: enter(gates[n % 4], talk), range(24)))
    assert passed(*results) == 5
    assert {(r.full, r.seconds <= 1) for r in results if isinstance(r, Wait)} == {(True, True)}


def test_messages_that_wait_for_a_reply_take_places(talk, gate, clock):
    for number in range(3):
        awaits(talk, clock, number)
    assert passed(*(enter(gate(5), talk) for _ in range(5))) == 2


def test_a_place_is_free_again_when_its_message_is_answered(talk, gate, clock):
    awaits(talk, clock, 1)
    one = gate(1)
    assert passed(enter(one, talk)) == 0
    talk.deployed.client("dynamodb").delete_item(
        TableName=talk.deployed.stack.messages_table,
        Key=to_item({"session": f"{talk.name}#s", "message": "1"}),
    )
    clock.now += 1
    assert passed(enter(one, talk)) == 1


def test_a_message_that_nothing_answers_gives_its_place_back_long_before_its_deadline(talk, gate, clock):
    awaits(talk, clock, 1, seconds_ago=PLACE_TIME - 1)
    assert passed(enter(gate(1), talk)) == 0
    clock.now += 2
    assert passed(enter(gate(1), talk)) == 1


def test_deadlines_of_before_a_change_of_the_parameter_do_not_keep_a_bot_from_its_messages(talk, gate, clock):
    awaits(talk, clock, 1, seconds_ago=-3600)
    assert passed(enter(gate(1), talk)) == 1


def test_what_was_let_through_a_moment_ago_counts_though_the_index_lags_behind(talk, gate, clock):
    one = gate(3)
    assert passed(enter(one, talk), enter(one, talk)) == 2
    clock.now += 1
    assert passed(*(enter(one, talk) for _ in range(3))) == 1


def test_a_place_whose_function_died_is_free_two_counts_later(talk, gate, clock):
    assert passed(enter(gate(1), talk)) == 1
    clock.now += 2
    assert passed(enter(gate(1), talk)) == 1


def test_a_message_that_expects_no_reply_takes_no_place(talk, gate):
    one = gate(1)
    assert passed(*(enter(one, talk, expects_reply=False) for _ in range(5))) == 5
    assert passed(enter(one, talk)) == 1


def test_there_is_no_limit_where_it_is_turned_off_and_no_write(talk, gate, clock):
    one = gate(0)
    enter(one, talk)
    before = item(talk)
    assert passed(*(enter(one, talk) for _ in range(200))) == 200
    assert item(talk) == before


@pytest.mark.parametrize(
    "rubbish",
    [
        {"window_ends": utc(time.time() + 10**8), "places": 0, "taken": 0},
        {"window_ends": "never", "places": "none", "taken": "all"},
        {"probe_at": utc(time.time() + 10**8), "failures": 3},
        {"probe_at": "never", "failures": "many", "probing": True},
        {"places": -5, "taken": 10**9},
    ],
)
def test_whatever_stands_in_the_item_the_bot_is_not_stuck(talk, gate, rubbish):
    put(talk, **rubbish)
    assert passed(enter(gate(1), talk)) == 1


def test_a_bot_that_failed_is_left_alone_by_all_functions_until_one_probes(talk, gate, clock):
    one, other = gate(5), gate(5)
    one.failed(talk.name, enter(one, talk), retry_after=0)
    clock.now += 1
    assert enter(other, talk) == Wait(pytest.approx(1, abs=0.01))
    clock.now += 1.1
    probe = enter(other, talk)
    assert passed(probe) == 1
    clock.now += 1
    assert enter(one, talk) == Wait(2)
    other.failed(talk.name, probe, retry_after=0)
    clock.now += 1
    assert enter(one, talk) == Wait(pytest.approx(3, abs=0.01))


def test_attempts_that_fail_side_by_side_count_as_one(talk, gate):
    one = gate(5)
    for before in [enter(one, talk) for _ in range(4)]:
        one.failed(talk.name, before, retry_after=0)
    assert item(talk)["failures"] == 1


def test_the_gate_is_open_to_all_once_a_probe_worked(talk, gate, clock):
    one, other = gate(5), gate(5)
    one.failed(talk.name, enter(one, talk), retry_after=0)
    clock.now += 3
    one.worked(talk.name, enter(one, talk))
    assert not {"failures", "probe_at", "probing", "failing_since"} & item(talk).keys()
    assert passed(enter(one, talk), enter(other, talk)) == 2


def test_a_bot_is_unreachable_from_its_fifth_failure_on_since_its_first(talk, gate, clock):
    one, first = gate(5), utc(clock())
    for failures in range(1, 7):
        one.failed(talk.name, enter(one, talk), retry_after=0)
        assert ("unreachable_since" in item(talk)) == (failures >= 5)
        clock.now += 61
    assert item(talk)["unreachable_since"] == first
    one.worked(talk.name, enter(one, talk))
    assert "unreachable_since" not in item(talk)


def test_a_probe_whose_function_died_is_made_again(talk, gate, clock):
    one = gate(5)
    one.failed(talk.name, enter(one, talk), retry_after=0)
    clock.now += 3
    assert passed(enter(gate(5), talk)) == 1
    clock.now += 14
    assert passed(enter(gate(5), talk)) == 0
    clock.now += 2
    assert passed(enter(gate(5), talk)) == 1


def test_a_place_costs_one_write(talk, courier, monkeypatch):
    deliver(courier, queued(talk))
    writes = []
    update = courier.sender.gate._update
    monkeypatch.setattr(
        courier.sender.gate, "_update", lambda *a, **more: writes.append(a) or update(*a, **more)
    )
    for _ in range(3):
        deliver(courier, queued(talk))
    assert len(writes) == 3
