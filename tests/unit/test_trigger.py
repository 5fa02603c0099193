import pytest

from relay.adapters.triggers import Triggers
from relay.domain.trigger import fault_of

ENABLED, DISABLED = {"State": "Enabled", "LastProcessingResult": "OK"}, {"State": "Disabled"}
PROBLEM = {"State": "Enabled", "LastProcessingResult": "PROBLEM: Lambda cannot assume the role"}


@pytest.mark.parametrize(
    ("mapping", "fault"),
    [
        (ENABLED, ""),
        ({"State": "Updating"}, ""),
        ({"State": "Enabled", "LastProcessingResult": "No records processed"}, ""),
        (DISABLED, "Disabled"),
        ({"State": "Disabling"}, "Disabling"),
        (PROBLEM, "PROBLEM: Lambda cannot assume the role"),
    ],
)
def test_a_trigger_that_is_disabled_or_cannot_read_brings_nothing(mapping, fault):
    assert fault_of(mapping) == fault


class Functions:
    """Lambda, with the mappings of each source."""

    def __init__(self, **of_source):
        self.of_source = of_source

    def list_event_source_mappings(self, EventSourceArn):  # noqa: N803 - the argument of boto3
        return {"EventSourceMappings": self.of_source[EventSourceArn]}


@pytest.mark.parametrize(
    ("of_source", "stopped"),
    [
        ({"queue": [ENABLED], "stream": [ENABLED, ENABLED]}, 0),
        ({"queue": [DISABLED], "stream": [ENABLED, PROBLEM]}, 2),
        ({"queue": [], "stream": [ENABLED]}, 1),
    ],
)
def test_each_trigger_that_brings_nothing_is_counted_and_each_that_is_gone(of_source, stopped):
    assert Triggers(Functions(**of_source), list(of_source)).count_stopped() == stopped
