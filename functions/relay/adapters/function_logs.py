"""The logs of the functions, in CloudWatch Logs."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from typing import Any

from relay.log_fields import REFUSED


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

    def __init__(self, logs: Any, groups: Mapping[str, str]) -> None:
        self._logs = logs
        self._groups = groups

    def since(self, moment: float, functions: Iterable[str] = ()) -> Iterator[LogLine]:
        """Return the lines of these functions, by default of all, since `moment` (Unix seconds), in order."""
        return merge(*(self._lines(name, moment) for name in functions or self._groups))

    def refused(self, moment: float, limit: int) -> list[LogLine]:
        """Return the lines of what callback refused since `moment` (Unix seconds), at most `limit`."""
        found = self._lines("callback", moment, filterPattern=f'"{REFUSED}"')
        return list(islice((line for line in found if line.fields.get("message") == REFUSED), limit))

    def refusals(self, bot: str, moment: float, limit: int = 100) -> list[str]:
        """Return why callback refused requests for a bot since `moment` (Unix seconds), at most `limit`."""
        found = self._lines("callback", moment, filterPattern=f'"{REFUSED}" "{bot}"')
        own = (line.fields["reason"] for line in found if line.fields.get("bot") == bot)
        return list(islice(own, limit))

    def _lines(self, function: str, moment: float, **more: str) -> Iterator[LogLine]:
        pages = self._logs.get_paginator("filter_log_events").paginate(
            logGroupName=self._groups[function], startTime=int(moment * 1000), **more
        )
        for page in pages:
            for event in page["events"]:
                yield LogLine(event["timestamp"] / 1000, function, event["message"].rstrip())
