"""The logs of the functions, in CloudWatch Logs."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any

from relay.log_fields import PROBE, REFUSED

if TYPE_CHECKING:
    from mypy_boto3_logs.client import CloudWatchLogsClient


@dataclass(frozen=True, order=True)
class LogLine:
    """A line; `at` in Unix seconds."""

    at: float
    function: str
    text: str

    @property
    def fields(self) -> dict[str, Any]:
        """What the line says as JSON, {} if it is none."""
        try:
            fields = json.loads(self.text)
        except ValueError:
            return {}
        return fields if isinstance(fields, dict) else {}


class FunctionLogs:
    """The log groups of a stack, by function. All methods raise botocore's errors."""

    def __init__(self, logs: "CloudWatchLogsClient", groups: Mapping[str, str]) -> None:
        self._logs = logs
        self._groups = groups

    def since(self, moment: float, functions: Iterable[str] = ()) -> Iterator[LogLine]:
        """Return the lines of these functions, by default of all, since `moment` (Unix seconds), in order."""
        return merge(*(self._lines(name, moment) for name in functions or self._groups))

    def refused(self, moment: float, limit: int) -> list[LogLine]:
        """Return the lines of what callback refused since `moment` (Unix seconds), at most `limit`."""
        return list(islice(self._refused(moment), limit))

    def refusals(self, field: str, value: str, moment: float, until: float | None = None) -> list[LogLine]:
        """Return the lines of what callback refused between two times (Unix seconds), at most a thousand.

        They are those with this value of a field, `bot` or `reason`.
        """
        end = {} if until is None else {"endTime": int(until * 1000)}
        found = self._refused(moment, value, **end)
        return list(islice((line for line in found if line.fields.get(field) == value), 1000))

    def _refused(self, moment: float, *words: str, **more: Any) -> Iterator[LogLine]:
        pattern = " ".join(f'"{word}"' for word in (REFUSED, *words))
        for line in self._lines("callback", moment, filterPattern=pattern, **more):
            if line.fields.get("message") == REFUSED and line.fields.get("bot") != PROBE:
                yield line

    def _lines(self, function: str, moment: float, **more: Any) -> Iterator[LogLine]:
        pages = self._logs.get_paginator("filter_log_events").paginate(
            logGroupName=self._groups[function], startTime=int(moment * 1000), **more
        )
        for page in pages:
            for event in page["events"]:
                yield LogLine(event["timestamp"] / 1000, function, event["message"].rstrip())
