"""A turn: the parts of one reply_to, read as the reply that LangBot meant."""

from collections.abc import Iterable
from dataclasses import dataclass

from relay.domain.part import ReplyPart
from relay.domain.segments import Segment, text_of


@dataclass(frozen=True)
class Turn:
    """One reply. `finished` tells whether its last run ended; a turn that broke off never finishes."""

    reply_to: str
    parts: tuple[ReplyPart, ...]
    message: tuple[Segment, ...]
    finished: bool

    @property
    def text(self) -> str:
        """The reply's Plain segments, joined."""
        return text_of(self.message)


def turns(parts: Iterable[ReplyPart]) -> list[Turn]:
    """Return the turns of a session's parts, by their first part; the parts come in order.

    A proactive push (reply_to "") is a turn of its own.
    """
    grouped: dict[tuple[str, str], list[ReplyPart]] = {}
    for part in parts:
        key = (part["reply_to"], "" if part["reply_to"] else part["part"])
        grouped.setdefault(key, []).append(part)
    return [_turn(reply_to, own) for (reply_to, _), own in grouped.items()]


def effective_parts(parts: Iterable[ReplyPart]) -> list[ReplyPart]:
    """Return those of a turn's parts, in order, whose segments are the reply: the ones not replaced later.

    A run ends with a final part. Within it a streamed part carries the whole text so far.
    """
    done: list[ReplyPart] = []
    run: list[ReplyPart] = []
    for part in parts:
        run = [part] if part["stream"] else [*run, part]
        if part["is_final"]:
            done, run = done + run, []
    return done + run


def _turn(reply_to: str, parts: list[ReplyPart]) -> Turn:
    return Turn(
        reply_to=reply_to,
        parts=tuple(parts),
        message=tuple(segment for part in effective_parts(parts) for segment in part["message"]),
        finished=bool(parts[-1]["is_final"]),
    )
