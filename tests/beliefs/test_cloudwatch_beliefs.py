"""What the relay believes of CloudWatch. The addresses are those of AWS's documents."""

import time
from uuid import uuid4

import pytest

from beliefs.implementations import on
from support.waiting import eventually


@pytest.fixture
def patience(stack):
    """Seconds within which CloudWatch shows what it got."""
    return 3 if stack.endpoint_url else 300


@pytest.fixture
def namespace():
    """A namespace of the test's own."""
    return f"Belief/{uuid4().hex}"


@on(emulator="it mixes values of all dimensions")
def test_a_value_without_a_dimension_is_read_without_one(aws, namespace, patience):
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html"""
    cloudwatch, now = aws.client("cloudwatch"), time.time()
    with_dimension = {"Dimensions": [{"Name": "bot", "Value": "one"}]}
    data = [{"MetricName": "Value", "Value": 1}, {"MetricName": "Value", "Value": 5} | with_dimension]
    cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)

    def largest():
        found = cloudwatch.get_metric_statistics(
            Namespace=namespace,
            MetricName="Value",
            StartTime=now - 300,
            EndTime=now + 300,
            Period=60,
            Statistics=["Maximum"],
        )
        return [point["Maximum"] for point in found["Datapoints"]]

    assert eventually(largest, patience) == [1]


@on(emulator="it measures no function")
def test_lambda_measures_how_old_an_event_of_a_schedule_is(aws, stack, patience):
    """https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html

    Without a value SettleStoppedAlarm starts.
    """
    found = aws.client("cloudformation").describe_stack_resource(
        StackName=stack.name, LogicalResourceId="SettleFunction"
    )
    name = found["StackResourceDetail"]["PhysicalResourceId"]

    def average():
        found = aws.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName="AsyncEventAge",
            Dimensions=[{"Name": "FunctionName", "Value": name}],
            StartTime=time.time() - 300,
            EndTime=time.time(),
            Period=300,
            Statistics=["Average"],
        )
        return [point["Average"] for point in found["Datapoints"]]

    assert max(eventually(average, patience)) < 30_000


def state_of_alarm(aws, namespace, missing, patience):
    """Return the state of an alarm whose metric has no data, once CloudWatch has judged it."""
    cloudwatch, name = aws.client("cloudwatch"), namespace.replace("/", "-")
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        Namespace=namespace,
        MetricName="Value",
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=0,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData=missing,
    )

    def judged():
        state = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["StateValue"]
        return state if state != "INSUFFICIENT_DATA" else None

    try:
        return eventually(judged, patience)
    finally:
        cloudwatch.delete_alarms(AlarmNames=[name])


@on(emulator="it judges no alarm")
def test_an_alarm_starts_if_missing_data_are_breaching(aws, namespace, patience):
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html"""
    assert state_of_alarm(aws, namespace, "breaching", patience) == "ALARM"


@on(emulator="it judges no alarm")
def test_an_alarm_is_silent_if_missing_data_are_not_breaching(aws, namespace, patience):
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html"""
    assert state_of_alarm(aws, namespace, "notBreaching", patience) == "OK"
