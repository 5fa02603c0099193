"""Traffic recorded on a real LangBot 4.11.2: the exact bodies and headers of its callbacks."""

import json
from dataclasses import dataclass
from pathlib import Path

RECORDINGS = sorted(Path(__file__).parents[1].joinpath("data/captures").glob("*.jsonl"))


@dataclass(frozen=True)
class Callback:
    raw: bytes
    timestamp: str
    signature: str


def callbacks(recording: Path) -> list[Callback]:
    """The callbacks of a recording in the order in which they came."""
    rows = [json.loads(line) for line in recording.read_text("utf-8").splitlines()]
    return [
        Callback(
            raw=row["raw_body"].encode(),
            timestamp=dict(row["headers"])["X-LB-Timestamp"],
            signature=dict(row["headers"])["X-LB-Signature"],
        )
        for row in rows
        if row["kind"] == "callback"
    ]


def recorded(name: str) -> list[Callback]:
    """The callbacks of the recording `name`."""
    return callbacks(next(path for path in RECORDINGS if path.stem == name))
