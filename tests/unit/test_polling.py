"""How often a client looks for what has not come yet."""

import pytest

from relay.domain.polling import until_next_look


def looks(seconds):
    """Return when a client looks in so many quiet seconds."""
    at = 0.0
    while at < seconds:
        yield at
        at += until_next_look(at)


def test_a_quiet_minute_takes_fewer_looks_than_one_a_second():
    assert len(list(looks(60))) < 55


@pytest.mark.parametrize(("quiet", "pause"), [(0, 0.3), (3, 0.3), (10, 1), (20, 2), (3600, 2)])
def test_a_look_adds_a_tenth_to_the_wait_within_bounds(quiet, pause):
    assert until_next_look(quiet) == pytest.approx(pause)
