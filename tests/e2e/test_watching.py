"""The alarms and the dashboard of a deployed stack."""

import json
import re

import pytest

from relay.adapters.triggers import Triggers
from relay.metrics import Metric
from support.second_stack import physical_ids


def alarms(deployed, stack):
    """Return the alarms of a stack by their logical ids."""
    names = physical_ids(deployed, stack, "AWS::CloudWatch::Alarm")
    found = deployed.client("cloudwatch").describe_alarms(AlarmNames=list(names.values()))["MetricAlarms"]
    by_name = {one["AlarmName"]: one for one in found}
    return {logical: by_name[name] for logical, name in names.items()}


@pytest.mark.parametrize(
    ("name", "metric", "of", "starts_at"),
    [
        ("CallbackErrorsAlarm", "5xx", "CallbackApi", ">= 2"),
        ("CallbacksRefusedAlarm", "4xx", "CallbackApi", "> 0"),
        ("SpillAlarm", "ApproximateNumberOfMessagesNotVisible", "SpillQueue", "> 0"),
        ("PushUnreadAlarm", "ApproximateAgeOfOldestMessage", "PushQueue", "> 1800"),
        ("SettleLateAlarm", "IteratorAge", "SettleFunction", "> 900000"),
        ("SettleStoppedAlarm", "AsyncEventAge", "SettleFunction", "> 30000"),
        ("PublishLateAlarm", "IteratorAge", "PublishFunction", "> 900000"),
    ],
)
def test_an_alarm_watches_its_metric_of_a_resource_of_the_stack(deployed, name, metric, of, starts_at):
    alarm, resource = alarms(deployed, "relay-local")[name], deployed.physical_id(of)
    assert alarm["MetricName"] == metric
    assert [one["Value"] for one in alarm["Dimensions"]] == [resource.rpartition("/")[2]]
    comparison = {"GreaterThanThreshold": ">", "GreaterThanOrEqualToThreshold": ">="}
    assert f"{comparison[alarm['ComparisonOperator']]} {alarm['Threshold']:.0f}" == starts_at


def test_the_alarm_of_lost_events_watches_what_publish_gives_up(deployed):
    alarm = alarms(deployed, "relay-local")["EventsLostAlarm"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("LangBotRelay/relay-local", Metric.LOST_EVENTS)
    assert (alarm["Statistic"], alarm["Threshold"], alarm["TreatMissingData"]) == ("Sum", 0, "notBreaching")


def test_the_alarm_of_parked_messages_watches_what_settle_counts_each_minute(deployed):
    alarm = alarms(deployed, "relay-local")["ParkedAlarm"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("LangBotRelay/relay-local", Metric.PARKED_MESSAGES)
    # Settle writes a value only if it is not 0.
    assert (alarm["Threshold"], alarm["TreatMissingData"]) == (0, "notBreaching")


def test_the_alarm_of_settle_starts_without_a_value(deployed):
    # A schedule that is disabled invokes nothing, so that its events have no age.
    found = alarms(deployed, "relay-local").items()
    assert {name for name, alarm in found if alarm["TreatMissingData"] == "breaching"} == {
        "SettleStoppedAlarm"
    }


def test_the_alarm_of_late_messages_watches_what_push_counts(deployed):
    alarm = alarms(deployed, "relay-local")["PushQueueAlarm"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("LangBotRelay/relay-local", Metric.LATE_MESSAGES)
    assert (alarm["Threshold"], alarm["TreatMissingData"]) == (0, "notBreaching")


def test_the_alarm_of_triggers_watches_what_settle_counts_each_minute(deployed):
    alarm = alarms(deployed, "relay-local")["TriggersAlarm"]
    namespace, metric = "LangBotRelay/relay-local", Metric.STOPPED_TRIGGERS
    assert (alarm["Namespace"], alarm["MetricName"]) == (namespace, metric)
    # Settle writes a value only if it is not 0.
    assert (alarm["Statistic"], alarm["TreatMissingData"]) == ("SampleCount", "notBreaching")


def test_settle_counts_a_trigger_of_the_stack_that_is_disabled(deployed):
    functions = deployed.client("lambda")
    configuration = functions.get_function_configuration(FunctionName=deployed.physical_id("SettleFunction"))
    sources = configuration["Environment"]["Variables"]["TRIGGER_SOURCES"].split(",")
    triggers = Triggers(functions, sources)
    mappings = functions.list_event_source_mappings(FunctionName=deployed.physical_id("PublishFunction"))
    mapping = mappings["EventSourceMappings"][0]["UUID"]
    assert (len(sources), triggers.count_stopped()) == (4, 0)
    functions.update_event_source_mapping(UUID=mapping, Enabled=False)
    try:
        assert triggers.count_stopped() == 1
    finally:
        functions.update_event_source_mapping(UUID=mapping, Enabled=True)


def test_each_alarm_says_what_it_means_and_what_to_do(deployed):
    found = alarms(deployed, "relay-local")
    assert len(found) == 11
    for name, alarm in found.items():
        text = alarm["AlarmDescription"]
        assert "LangBot Relay" in text, name
        assert len(re.findall(r"[.:] ", text)) >= 1, name  # what it means, then what to do
        assert re.search(r"log|last_error|`relay |SignatureRefused", text), name  # the first thing to look at


def test_without_an_address_no_alarm_sends_a_mail(deployed):
    assert all(alarm["AlarmActions"] == [] for alarm in alarms(deployed, "relay-local").values())
    assert physical_ids(deployed, "relay-local", "AWS::SNS::Topic") == {}


def test_with_an_address_each_alarm_sends_it_a_mail(deployed, guarded):
    (topic,) = physical_ids(deployed, guarded, "AWS::SNS::Topic").values()
    assert all(alarm["AlarmActions"] == [topic] for alarm in alarms(deployed, guarded).values())
    (found,) = deployed.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert (found["Protocol"], found["Endpoint"]) == ("email", "operator@example.com")


@pytest.fixture(scope="module")
def widgets(deployed, guarded):
    name = physical_ids(deployed, guarded)["Dashboard"]
    body = deployed.client("cloudwatch").get_dashboard(DashboardName=name)["DashboardBody"]
    return json.loads(body)["widgets"]


def test_by_default_there_is_no_dashboard(deployed):
    assert "Dashboard" not in physical_ids(deployed, "relay-local")


def test_the_dashboard_has_a_row_for_each_kind_of_question(widgets):
    rows = [one["properties"]["markdown"] for one in widgets if one["type"] == "text"]
    assert rows == ["## Flow", "## Bots", "## Queues", "## Functions"]
    for row in "".join("|" if one["type"] == "text" else f"{one['width']} " for one in widgets).split("|")[
        1:
    ]:
        assert sum(map(int, row.split())) == 24


def metrics(widgets):
    return [metric for one in widgets for metric in one["properties"].get("metrics", [])]


def test_the_dashboard_searches_for_metrics_that_the_functions_write(widgets):
    searches = [metric[0]["expression"] for metric in metrics(widgets) if isinstance(metric[0], dict)]
    names = {name for search in searches for name in re.findall(r'"(\w+)"', search)}
    assert names <= {str(metric) for metric in Metric}
    assert names >= {"Delivered", "Refused", "Unknown", "Parked", "Unanswered", "SignatureRefused"}


def test_the_dashboard_shows_resources_of_the_stack(deployed, guarded, widgets):
    ours = {name.rpartition("/")[2] for name in physical_ids(deployed, guarded).values()}
    shown = {metric[-1] for metric in metrics(widgets) if isinstance(metric[-1], str)} - {"."}
    assert shown <= ours
    assert len(shown) == 7  # the API, two queues, four functions


def test_the_dashboard_shows_no_parked_messages_as_0(guarded, widgets):
    # Settle writes no 0, and CloudWatch would draw a line from the last value to the next.
    id_of = {tuple(metric[:2]): metric[2]["id"] for metric in metrics(widgets) if len(metric) == 3}
    parked = id_of[f"LangBotRelay/{guarded}", Metric.PARKED_MESSAGES]
    assert f"FILL({parked}, 0)" in [
        metric[0].get("expression") for metric in metrics(widgets) if len(metric) == 1
    ]
