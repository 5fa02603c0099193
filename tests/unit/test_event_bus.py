"""How events are put on the bus. What the emulator's bus does not do is made here: limits and refusals."""

import pytest
from botocore.exceptions import ClientError

from relay.adapters.event_bus import EventBus
from relay.domain.event import Event


class Events:
    """A bus that takes what PutEvents takes, except entries whose type is the code of an error."""

    def __init__(self):
        self.calls = []

    def put_events(self, Entries):  # noqa: N803
        if any(e["DetailType"] == "too large" for e in Entries):
            raise ClientError({"Error": {"Code": "ValidationException"}}, "PutEvents")
        sizes = [len(e["Source"] + e["DetailType"]) + len(e["Detail"].encode()) for e in Entries]
        assert 1 <= len(Entries) <= 10
        assert sum(sizes) < 256 * 1024
        self.calls.append(Entries)
        results = [
            {"EventId": "1"} if e["DetailType"] == "fine" else {"ErrorCode": e["DetailType"]} for e in Entries
        ]
        return {"FailedEntryCount": sum("ErrorCode" in r for r in results), "Entries": results}


def event(number, kind="fine", length=10):
    return Event(kind, f"id-{number}", "2026-11-23T12:00:00.000000Z", "default", {"text": "ü" * length})


@pytest.mark.parametrize(
    ("lengths", "calls"),
    [
        ([], []),
        ([1] * 10, [10]),
        ([1] * 11, [10, 1]),
        ([40_000] * 4, [3, 1]),
        ([120_000] * 2, [1, 1]),
        ([100_000, 1, 1, 100_000], [3, 1]),
    ],
)
def test_a_call_holds_as_many_events_as_the_bus_takes(lengths, calls):
    events = Events()
    bus = EventBus(events, "default", "relay")
    assert bus.publish(event(number, length=length) for number, length in enumerate(lengths)) == set()
    assert [len(call) for call in events.calls] == calls


def test_the_entries_that_the_bus_refused_are_named_one_by_one():
    bus = EventBus(Events(), "default", "relay")
    kinds = ["fine", "ThrottlingException", "fine", "InternalFailure", "AccessDeniedException"]
    assert bus.publish(event(n, kind) for n, kind in enumerate(kinds)) == {"id-1", "id-3", "id-4"}


@pytest.mark.parametrize(
    "code", ["MalformedDetail", "InvalidArgument", "NotAuthorizedForSource", "NotAuthorizedForDetailType"]
)
def test_an_event_that_the_bus_will_never_accept_is_not_tried_again(code):
    assert EventBus(Events(), "default", "relay").publish([event(0, code)]) == set()


@pytest.mark.parametrize(
    "kinds", [["fine", "too large"], ["fine", "too large", "fine", "ThrottlingException"]]
)
def test_an_event_for_which_the_bus_refuses_a_whole_call_holds_up_no_other(kinds):
    events = Events()
    bus = EventBus(events, "default", "relay")
    throttled = {f"id-{n}" for n, kind in enumerate(kinds) if kind == "ThrottlingException"}
    assert bus.publish(event(n, kind) for n, kind in enumerate(kinds)) == throttled
    published = [call[0]["DetailType"] for call in events.calls]
    assert published == [kind for kind in kinds if kind != "too large"]
