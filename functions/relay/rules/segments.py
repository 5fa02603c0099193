"""A message as LangBot writes it: a list of segments, of which the Plain ones are text."""

from collections.abc import Iterable
from typing import Any

Segment = dict[str, Any]


def text_of(segments: Iterable[Segment]) -> str:
    """The text for people: the Plain segments, joined."""
    return "".join(s["text"] for s in segments if s.get("type") == "Plain" and isinstance(s.get("text"), str))


def collapse(segments: list[Segment]) -> list[Segment]:
    """The reply in the answer of a sync call.

    While streaming, LangBot puts every cumulative snapshot into it as a segment of its own, in a
    group each with its own At before it; of a row of such snapshots the last one is the reply.
    """
    reply: list[Segment] = []
    plain = -1  # where the last Plain segment stands in the reply
    for segment in segments:
        if segment.get("type") == "Plain":
            lead = reply[plain + 1 :]
            if (
                plain >= len(lead)
                and reply[plain - len(lead) : plain] == lead
                and str(segment.get("text")).startswith(str(reply[plain].get("text")))
            ):
                del reply[plain:]
            plain = len(reply)
        reply.append(segment)
    return reply
