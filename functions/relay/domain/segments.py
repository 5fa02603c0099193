"""A message as LangBot writes it: a list of segments, of which the Plain ones are text."""

from collections.abc import Iterable
from typing import Any

Segment = dict[str, Any]


def text_of(segments: Iterable[Segment]) -> str:
    """Join the Plain segments to the text that people read."""
    return "".join(s["text"] for s in segments if s.get("type") == "Plain" and isinstance(s.get("text"), str))


def readable(segments: Iterable[Segment]) -> str:
    """Return what segments say to people: their texts, and each other segment by its type, as [Image]."""
    shown = (text_of([s]) if s.get("type") == "Plain" else f"[{s.get('type')}]" for s in segments)
    return "".join(shown)


def begins_with(text: str, earlier: str) -> bool:
    """Tell whether a text goes on from an earlier snapshot of it, which can end within a character.

    What is left of that character was read as U+FFFD.
    """
    return text.startswith(earlier.rstrip("\N{REPLACEMENT CHARACTER}"))


def collapse(segments: list[Segment]) -> list[Segment]:
    """Return the reply in the response to a sync call.

    While LangBot streams, that response holds every cumulative snapshot as a segment of its own; in a group
    each has its own At before it. Of consecutive snapshots the last one is the reply.
    """
    reply: list[Segment] = []
    plain = -1  # index of the last Plain segment in the reply
    for segment in segments:
        if segment.get("type") == "Plain":
            lead = reply[plain + 1 :]
            if (
                plain >= len(lead)
                and reply[plain - len(lead) : plain] == lead
                and begins_with(str(segment.get("text")), str(reply[plain].get("text")))
            ):
                del reply[plain:]
            plain = len(reply)
        reply.append(segment)
    return reply
