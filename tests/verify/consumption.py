"""What a run consumed in an account, beside what docs/cost.md says."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay import Stack
from verify.traffic import Traffic

COST = Path(__file__).parents[2] / "docs/cost.md"
METRICS_AFTER = 180
"""Seconds after which CloudWatch has the metrics of a minute."""
INDEXES = (None, "awaiting", "by_day")
DOLLARS_A_MILLION = {"write units": 0.625, "read units": 0.125, "GB-s": 13.33, "invocations": 0.20}


@dataclass(frozen=True)
class Report:
    """An invocation as Lambda reports it; times in ms, `init` 0 for a warm one."""

    billed: float
    init: float
    megabytes: float


def consumption_lines(stack: Stack, began: float, traffic: Traffic) -> Iterator[str]:
    """Return lines with cold starts, billed time, capacity units and cost since `began` (Unix seconds)."""
    if not stack.endpoint_url:
        time.sleep(METRICS_AFTER)
    consumed = {f"{kind.lower()} units": _units(stack, kind, began) for kind in ("Write", "Read")}
    reports = {name: _reports(stack, group, began) for name, group in stack.log_groups.items()}
    for name, found in reports.items():
        if not found:
            yield f"{name:9} no reports of its invocations"
            continue
        cold = sorted(report.init for report in found if report.init)
        start = f", {len(cold)} cold starts of {cold[len(cold) // 2]:.0f} ms" if cold else ""
        mean = sum(report.billed for report in found) / len(found)
        yield f"{name:9} {len(found)} invocations, {mean:.0f} ms billed on average{start}"
    every = [report for found in reports.values() for report in found]
    consumed["GB-s"] = sum(report.billed * report.megabytes / 1024 / 1000 for report in every)
    consumed["invocations"] = len(every)
    in_all = re.search(r"\| in all \| \d+ \| (\d+) \| (\d+) \|", COST.read_text("utf-8"))
    if in_all and traffic.messages:
        document = (int(in_all[1]) - 5) * traffic.messages + traffic.parts
        yield f"write units: docs/cost.md says {document} for the traffic alone"
    if not every:
        return
    dollars = sum(consumed[what] * price for what, price in DOLLARS_A_MILLION.items()) / 1e6
    yield f"cost: ${dollars:.4f} for " + ", ".join(
        f"{number:.0f} {what}" for what, number in consumed.items()
    )


def _units(stack: Stack, kind: str, began: float) -> float:
    """Return the capacity units that both tables and their indexes consumed."""
    return sum(
        float(point["Sum"])
        for table in (stack.messages_table, stack.replies_table)
        for index in INDEXES
        for point in _statistics(stack, f"Consumed{kind}CapacityUnits", table, index, began)
    )


def _statistics(stack: Stack, metric: str, table: str, index: str | None, began: float) -> list[Any]:
    dimensions = [{"Name": "TableName", "Value": table}]
    if index:
        dimensions.append({"Name": "GlobalSecondaryIndexName", "Value": index})
    points: list[Any] = stack.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/DynamoDB",
        MetricName=metric,
        Dimensions=dimensions,
        StartTime=began,
        EndTime=time.time(),
        Period=60,
        Statistics=["Sum"],
    )["Datapoints"]
    return points


def _reports(stack: Stack, log_group: str, began: float) -> list[Report]:
    """Return the reports of a function's invocations. Lambda writes them with SystemLogLevel INFO."""
    pages = (
        stack.client("logs")
        .get_paginator("filter_log_events")
        .paginate(
            logGroupName=log_group,
            startTime=int(began * 1000),
            filterPattern='{ $.type = "platform.report" }',
        )
    )
    found = []
    for message in (event["message"] for page in pages for event in page["events"]):
        # The emulator does not filter, and has no such lines.
        if '"platform.report"' in message:
            metrics = json.loads(message)["record"]["metrics"]
            init = metrics.get("initDurationMs", 0)
            found.append(Report(metrics["billedDurationMs"], init, metrics["memorySizeMB"]))
    return found
