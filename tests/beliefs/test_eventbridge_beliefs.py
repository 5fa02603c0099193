"""What the relay believes of EventBridge. The addresses are those of AWS's documents."""

from uuid import uuid4

from beliefs.implementations import code_of, on


def entry(**more):
    return {"Source": "belief", "DetailType": "Belief", "Detail": "{}"} | more


def put(aws, *entries):
    return aws.client("events").put_events(Entries=list(entries))


@on("emulator")
def test_an_event_for_a_bus_that_is_missing_is_accepted_and_lost(aws):
    """https://github.com/aws/aws-cli/issues/9186

    Nothing says so: the response has no error. So `relay doctor` looks whether the bus exists.
    """
    done = put(aws, entry(EventBusName=f"belief-{uuid4().hex}"))
    assert (done["FailedEntryCount"], "EventId" in done["Entries"][0]) == (0, True)


@on(emulator="it takes any detail")
def test_an_entry_that_is_malformed_fails_alone(aws):
    """https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html"""
    done = put(aws, entry(Detail="no json"), entry())
    assert done["FailedEntryCount"] == 1
    assert done["Entries"][0]["ErrorCode"] == "MalformedDetail"
    assert "EventId" in done["Entries"][1]


@on("emulator")
def test_an_event_may_have_nearly_256_kb(aws):
    """https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html"""
    detail = '{"text": "' + "x" * (256 * 1024 - 100) + '"}'
    assert put(aws, entry(Detail=detail))["FailedEntryCount"] == 0


@on("emulator")
def test_a_call_has_ten_entries_at_the_most(aws):
    """https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html"""
    assert code_of(lambda: put(aws, *[entry()] * 10)) == ""
    assert code_of(lambda: put(aws, *[entry()] * 11)) == "ValidationException"
