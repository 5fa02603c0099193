"""A turn: the parts of one reply_to, read as the reply that LangBot meant."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Self

from relay.domain.part import ReplyPart
from relay.domain.segments import Segment, begins_with, readable, text_of

MAX_OPEN = 8
"""Parts that a streamed part may continue: the latest that are neither final nor replaced. There are several
if a text restarted, or if two streams mix: LangBot 4.11.2 mixes a pipeline's with an event processor's."""


@dataclass(frozen=True)
class Turn:
    """One reply. `finished` tells whether its last part is final; a turn that broke off never finishes."""

    reply_to: str
    parts: tuple[ReplyPart, ...]
    message: tuple[Segment, ...]
    finished: bool

    @property
    def text(self) -> str:
        """The reply's Plain segments, joined."""
        return text_of(self.message)

    @property
    def paragraphs(self) -> list[str]:
        """What the reply says to people, by the parts that make it up."""
        return [readable(part["message"]) for part in effective_parts(self.parts)]


def turns(parts: Iterable[ReplyPart]) -> list[Turn]:
    """Return the turns of a session's parts, by their first part; the parts come in order.

    A proactive push (reply_to "") is a turn of its own.
    """
    grouped: dict[tuple[str, str | None], list[ReplyPart]] = {}
    for part in parts:
        key = (part["reply_to"], None if part["reply_to"] else part["part"])
        grouped.setdefault(key, []).append(part)
    return [_turn(reply_to, own) for (reply_to, _), own in grouped.items()]


def effective_parts(parts: Iterable[ReplyPart], most: float = inf) -> list[ReplyPart]:
    """Return those of a turn's parts, in order, whose segments are the reply: the ones not replaced later.

    Once there are more than `most`, return those so far.

    A streamed part continues an earlier one, unless that was final, if it has all of it: its text begins with
    that one's text, and it has that one's other segments. Then it replaces the latest one that it continues.
    Any other part adds to the reply, and erases nothing: LangBot 4.10.7 to 4.10.11 begin a new text after
    a tool round, and end a reply with its attachments alone or with a blank part.
    """
    effective: dict[int, ReplyPart] = {}
    open_parts: deque[_Snapshot] = deque(maxlen=MAX_OPEN)
    for number, part in enumerate(parts):
        snapshot = _Snapshot.of(number, part)
        if part["stream"] and open_parts:
            last = open_parts[-1]
            continued = next((old for old in reversed(open_parts) if snapshot.continues(old)), None)
            if continued:
                open_parts.remove(continued)
                del effective[continued.number]
            elif not snapshot.text:
                if part["is_final"]:
                    open_parts.pop()
                if _in_order(snapshot.others, last.others):
                    continue  # it repeats at most the At that begins each part for a group
        effective[number] = part
        if len(effective) > most:
            break
        if not part["is_final"]:
            open_parts.append(snapshot)
    return list(effective.values())


def looks_complete(last_parts: Sequence[ReplyPart]) -> bool:
    """Tell whether a turn without a final part may be complete; `last_parts` are its last one or two.

    LangBot marks no part as final if the last chunk of its model has an empty list of tool calls. If a turn
    fails, LangBot replaces the text by an error message. Only the second begins a new text. (All releases as
    of 4.11.2.) A turn that a restart of LangBot cut off looks complete as well.
    """
    if not last_parts or "overflow" in last_parts[-1]:
        return bool(last_parts)
    *before, last = (text_of(part.get("message", [])) for part in last_parts)
    return bool(last) and all(begins_with(last, text) for text in before)


@dataclass(frozen=True)
class _Snapshot:
    """What the part `number` of a turn says: its text, and its segments that are no text."""

    number: int
    text: str
    others: list[Segment]

    @classmethod
    def of(cls, number: int, part: ReplyPart) -> Self:
        message = part["message"]
        return cls(number, text_of(message), [s for s in message if s.get("type") != "Plain"])

    def continues(self, earlier: "_Snapshot") -> bool:
        return begins_with(self.text, earlier.text) and _in_order(earlier.others, self.others)


def _in_order(some: Iterable[Segment], segments: Iterable[Segment]) -> bool:
    """Tell whether all of `some` are among `segments`, in the same order."""
    left = iter(segments)
    return all(segment in left for segment in some)


def _turn(reply_to: str, parts: list[ReplyPart]) -> Turn:
    return Turn(
        reply_to=reply_to,
        parts=tuple(parts),
        message=tuple(segment for part in effective_parts(parts) for segment in part["message"]),
        finished=bool(parts[-1]["is_final"]),
    )
