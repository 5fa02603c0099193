"""What the conversation shows of the segments of a message or a reply."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from operator import itemgetter

from relay.domain.segments import Segment
from relay_console.view_item import ViewItem

MAX_TEXT = 20_000
"""Characters of a text that the conversation shows; the raw JSON has all of it."""

MAX_SEGMENTS, MAX_FURTHER = 200, 2000
"""Segments that are shown of a message or a part, and in all those beyond the first of each: a browser takes
0.3 ms for each, and shows nothing meanwhile."""

MAX_CHARACTERS, MIN_TEXT = 12_000_000, 1000
"""Characters that are shown in all, pictures included: two of the largest parts. Beyond them, each message
and part shows so many of its first text."""

MAX_NAME = 100
"""Characters of the name of a sender or of a segment's type."""

_PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+")


def shown_segments(segments: Sequence[Segment]) -> ViewItem:
    """Return the segments that the page shows, with what can be shown of each, and how many are left out."""
    shown = [_shown_segment(segment) for segment in segments[:MAX_SEGMENTS]]
    return {"segments": shown, "left_out": len(segments) - len(shown)}


def limited_segments(items: Iterable[ViewItem]) -> Iterator[ViewItem]:
    """Return messages and turns, newest first, with segments up to MAX_FURTHER and MAX_CHARACTERS in all."""
    further, characters = MAX_FURTHER, MAX_CHARACTERS
    for item in sorted(items, key=itemgetter("order"), reverse=True):
        bubbles = []
        for bubble in reversed(item.get("bubbles", [item])):
            if segments := bubble["segments"]:
                shown = _leading(segments[: 1 + further], characters)
                further -= max(0, len(shown) - 1)
                characters -= min(characters, sum(map(_length, shown)))
                left_out = bubble["left_out"] + len(segments) - len(shown)
                bubble = bubble | {"segments": shown, "left_out": left_out}
            bubbles.append(bubble)
        yield item | {"bubbles": bubbles[::-1]} if "bubbles" in item else bubbles[0]


def _leading(segments: Sequence[ViewItem], characters: int) -> list[ViewItem]:
    """Return the segments that have at most so many characters in all; of a first text, MIN_TEXT anyhow."""
    lengths = accumulate(map(_length, segments))
    shown = [segment for segment, end in zip(segments, lengths, strict=True) if end <= characters]
    first = segments[0]
    if not shown and "text" in first:
        return [text_segment(first["type"], first["text"], MIN_TEXT)]
    return shown


def _length(segment: ViewItem) -> int:
    return len(segment.get("text") or segment.get("picture") or "")


def _shown_segment(segment: Segment) -> ViewItem:
    kind = str(segment.get("type"))[:MAX_NAME]
    text = segment.get("text")
    if kind == "Plain" and isinstance(text, str):
        return text_segment(kind, text)
    picture = segment.get("base64")
    if kind == "Image" and isinstance(picture, str) and _PICTURE.fullmatch(picture):
        return {"type": kind, "picture": picture}
    # A picture elsewhere is not loaded: its host would see who looks at the conversation.
    label = json.dumps({name: value for name, value in segment.items() if name != "type" and value})
    return text_segment(kind, label, 300)


def text_segment(kind: str, text: str, limit: int = MAX_TEXT) -> ViewItem:
    """Return at most `limit` characters of a text, and whether it is cut."""
    return {"type": kind, "text": text[:limit], "cut": len(text) > limit}
