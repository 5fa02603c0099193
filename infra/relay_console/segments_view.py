"""What the conversation shows of the segments of a message or a reply."""

import json
import re
from collections.abc import Iterable

from relay.domain.segments import Segment
from relay_console.view_item import ViewItem

MAX_TEXT = 20_000
"""Characters of a text that the conversation shows; the raw JSON has all of it."""

_PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+")


def shown_segments(segments: Iterable[Segment]) -> list[ViewItem]:
    """Return segments as the page shows them: each with its type and what can be shown of it."""
    return [_shown_segment(segment) for segment in segments]


def _shown_segment(segment: Segment) -> ViewItem:
    kind = str(segment.get("type"))
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
