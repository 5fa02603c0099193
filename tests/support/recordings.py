"""Traffic recorded on a real LangBot 4.11.2: the exact bodies and headers of its callbacks."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORDINGS = sorted(Path(__file__).parents[1].joinpath("data/captures").glob("*.jsonl"))


@dataclass(frozen=True)
class Callback:
    raw: bytes
    timestamp: str
    signature: str


def callbacks(recording: Path) -> list[Callback]:
    """Return the callbacks of a recording in the order in which they came."""
    return [
        Callback(
            raw=row["raw_body"].encode(),
            timestamp=dict(row["headers"])["X-LB-Timestamp"],
            signature=dict(row["headers"])["X-LB-Signature"],
        )
        for row in _rows(recording)
        if row["kind"] == "callback"
    ]


def recorded(name: str) -> list[Callback]:
    """Return the callbacks of the recording `name`."""
    return callbacks(_path(name))


def rows(name: str) -> list[dict[str, Any]]:
    """Return all requests and callbacks of the recording `name`, as they were recorded."""
    return _rows(_path(name))


def _path(name: str) -> Path:
    return next(path for path in RECORDINGS if path.stem == name)


def _rows(recording: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in recording.read_text("utf-8").splitlines()]
