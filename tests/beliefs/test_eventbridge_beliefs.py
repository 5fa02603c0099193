"""What the relay believes of EventBridge. The addresses are those of AWS's documents."""

from uuid import uuid4

from beliefs.implementations import code_of, on

PATTERN = '{"source": ["belief"]}'


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


@on("emulator")
def test_a_rule_for_a_bus_that_is_missing_is_refused(aws):
    """https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html

    So the deployment of the template's disabled rule fails, if its parameter names no bus.
    """
    rule = {"Name": "belief", "EventPattern": PATTERN, "State": "DISABLED"}
    made = code_of(lambda: aws.client("events").put_rule(EventBusName=f"belief-{uuid4().hex}", **rule))
    assert made == "ResourceNotFoundException"


@on(emulator="it deletes the bus")
def test_a_bus_with_a_rule_cannot_be_deleted(aws):
    """https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DeleteEventBus.html

    So the bus stays for as long as the stack has its rule.
    """
    events, bus = aws.client("events"), f"belief-{uuid4().hex}"
    events.create_event_bus(Name=bus)
    try:
        events.put_rule(Name=bus, EventBusName=bus, EventPattern=PATTERN, State="DISABLED")
        deleted = code_of(lambda: events.delete_event_bus(Name=bus))
        events.delete_rule(Name=bus, EventBusName=bus)
    finally:
        events.delete_event_bus(Name=bus)
    assert deleted == "ValidationException"
