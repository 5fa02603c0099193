"""What emit() writes: CloudWatch's embedded metric format, a line for each dimension."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from relay.metrics import Metric, Metrics


@pytest.fixture
def metrics(monkeypatch):
    monkeypatch.delenv("POWERTOOLS_SERVICE_NAME", raising=False)
    return Metrics("LangBotRelay/test")


@pytest.fixture
def emitted(metrics, capsys):
    """Return the lines that emit() writes, each read as JSON."""

    def emitted():
        metrics.emit()
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return emitted


def values(lines, metric, **dimension):
    """Return the values of a metric in all lines of a dimension."""
    return [value for line in lines if dimension.items() <= line.items() for value in line.get(metric, [])]


def test_nothing_is_written_without_values(emitted):
    assert emitted() == []


def test_a_line_names_its_namespace_its_one_dimension_and_its_metrics(metrics, emitted):
    metrics.count(Metric.DELIVERED, bot="sales")
    metrics.duration(Metric.DELIVERY_LATENCY, 1.234, bot="sales")
    (line,) = emitted()
    assert line.pop("_aws")["CloudWatchMetrics"] == [
        {
            "Namespace": "LangBotRelay/test",
            "Dimensions": [["bot"]],
            "Metrics": [
                {"Name": "Delivered", "Unit": "Count"},
                {"Name": "DeliveryLatency", "Unit": "Milliseconds"},
            ],
        }
    ]
    assert line == {"bot": "sales", "Delivered": [1], "DeliveryLatency": [1234]}


def test_each_dimension_has_a_line_of_its_own(metrics, emitted):
    metrics.count(Metric.DELIVERED, bot="sales")
    metrics.count(Metric.SIGNATURE_REFUSED, reason="signature_mismatch")
    metrics.count(Metric.DELIVERED, bot="support")
    metrics.count(Metric.PARKED, bot="sales")
    assert [{name: line[name] for name in line if name != "_aws"} for line in emitted()] == [
        {"bot": "sales", "Delivered": [1], "Parked": [1]},
        {"reason": "signature_mismatch", "SignatureRefused": [1]},
        {"bot": "support", "Delivered": [1]},
    ]


@pytest.mark.parametrize("count", [2, 99, 100, 101, 250])
def test_each_value_is_written_once_however_many_there_are(metrics, emitted, count):
    for _ in range(count):
        metrics.count(Metric.UNANSWERED, bot="sales")
    lines = emitted()
    assert values(lines, "Unanswered", bot="sales") == [1] * count
    assert max(len(line["Unanswered"]) for line in lines) <= 100  # what CloudWatch reads


def test_values_that_were_written_are_forgotten(metrics, emitted):
    metrics.count(Metric.DELIVERED, bot="sales")
    assert len(emitted()) == 1
    assert emitted() == []


def test_values_that_threads_add_are_all_written(metrics, emitted):
    def add(bot):
        for milliseconds in range(200):
            metrics.duration(Metric.DELIVERY_LATENCY, milliseconds / 1000, bot=bot)

    bots = [f"bot-{number}" for number in range(8)]
    with ThreadPoolExecutor(max_workers=len(bots)) as threads:
        list(threads.map(add, bots))
    lines = emitted()
    for bot in bots:
        assert sorted(values(lines, "DeliveryLatency", bot=bot)) == list(range(200))


def test_a_number_of_the_whole_stack_has_no_dimension(metrics, emitted):
    metrics.gauge(Metric.PARKED_MESSAGES, 2)
    (line,) = emitted()
    assert line.pop("_aws")["CloudWatchMetrics"][0]["Dimensions"] == [[]]
    assert line == {"ParkedMessages": [2]}


def test_a_number_that_is_0_is_not_written(metrics, emitted):
    metrics.gauge(Metric.PARKED_MESSAGES, 0)
    assert emitted() == []
