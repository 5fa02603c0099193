"""What the page shows of a part of a reply."""

import json

from relay.domain.keys import stamp_of
from relay.domain.part import ReplyPart
from relay.domain.segments import text_of
from relay.domain.timestamps import unix_seconds
from relay_console.view_item import ViewItem


def part_item(part: ReplyPart) -> ViewItem:
    """Return a part as the list of a turn's parts shows it."""
    return {
        "kind": "part",
        "id": f"part:{part['part']}",
        "key": part["part"],
        "turn": turn_id(part),
        "sequence": _sequence(part),
        "final": part["is_final"],
        "at": part["received_at"],
        "length": None if is_unread(part) else len(text_of(part["message"])),
    }


def is_unread(part: ReplyPart) -> bool:
    """Tell whether a part's body is in the bucket only: it was not read from there, or is gone."""
    return "overflow" in part and not part["message"]


def part_detail(part: ReplyPart) -> ViewItem:
    """Return the protocol of a part."""
    return {
        "stamp": stamp_of(part["part"]),
        "sequence": _sequence(part),
        "final": part["is_final"],
        "stream": part["stream"],
        "reply_to": part["reply_to"],
        "created_at": part["created_at"],
        "signed_at": part["sent_at"],
        "received_at": part["received_at"],
        "skew": clock_skew(part),
        "digest": part["digest"],
        "secret": part.get("verified_with"),
        "normalized": part.get("normalized", False),
        "overflow": part.get("overflow"),
        "raw": json.dumps(part, ensure_ascii=False, indent=2, default=str),
    }


def _sequence(part: ReplyPart) -> str:
    # A browser cannot hold a number past 2^53.
    return str(part["sequence"])


def turn_id(part: ReplyPart) -> str:
    """Return the id of the turn that a part begins or continues."""
    return f"turn:{part['reply_to'] or part['part']}"


def clock_skew(part: ReplyPart) -> float:
    """Return the seconds from the signed time of a part to its reception."""
    return round(unix_seconds(part["received_at"]) - unix_seconds(part["sent_at"]), 1)
