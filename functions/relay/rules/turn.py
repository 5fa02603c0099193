"""A turn: the parts of one reply_to, read as the reply that LangBot meant."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from relay.rules.segments import Segment, text_of


@dataclass(frozen=True)
class Turn:
    """One reply. `finished` says whether its last run ended: a turn that broke midway never does."""

    reply_to: str
    parts: tuple[dict[str, Any], ...]
    message: tuple[Segment, ...]
    finished: bool

    @property
    def text(self) -> str:
        """The reply's Plain segments, joined."""
        return text_of(self.message)


def turns(parts: Iterable[dict[str, Any]]) -> list[Turn]:
    """The turns of a session's parts, which come in order, by their first part.

    A proactive push (reply_to "") is a turn of its own.
    """
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for part in parts:
        key = (part["reply_to"], "" if part["reply_to"] else part["part"])
        grouped.setdefault(key, []).append(part)
    return [_turn(reply_to, own) for (reply_to, _), own in grouped.items()]


def standing(parts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of a turn's parts, in order, those whose segments are the reply; what a later one replaced is not."""
    # A run ends with a final part. Within it a streamed part carries the whole text so far.
    done: list[dict[str, Any]] = []
    run: list[dict[str, Any]] = []
    for part in parts:
        run = [part] if part["stream"] else [*run, part]
        if part["is_final"]:
            done, run = done + run, []
    return done + run


def _turn(reply_to: str, parts: list[dict[str, Any]]) -> Turn:
    return Turn(
        reply_to=reply_to,
        parts=tuple(parts),
        message=tuple(segment for part in standing(parts) for segment in part["message"]),
        finished=bool(parts[-1]["is_final"]),
    )
