"""How many messages a second push's rules allow, as bench.throughput measures it."""

from bench.throughput import FUNCTIONS, drain
from relay.domain.admission import LEASES


def test_ten_quick_bots_get_most_of_what_push_can_send() -> None:
    drained = drain(seed=0, bots=10, seconds=0.05, messages=1000)
    assert drained.rate >= 0.7 * FUNCTIONS / 0.05
    # Hardly any message waits for another.
    assert drained.looks < 0.1


def test_a_slow_bot_gets_most_of_what_its_leases_allow() -> None:
    drained = drain(seed=0, bots=1, seconds=1, messages=200)
    assert drained.rate >= 0.8 * LEASES / 1
    assert drained.looks < 9
