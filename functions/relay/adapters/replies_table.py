"""RepliesTable: the reply parts, each once and in order."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from relay.adapters.dynamodb import IS_NEW, Table
from relay.adapters.overflow_bucket import OverflowBucket, OverflowingItem, part_path, put_item
from relay.domain.keys import stamp_of
from relay.domain.part import ReplyPart, with_body, with_text, without_body, without_replaced_text
from relay.domain.segments import Segment
from relay.domain.signing import SIGNATURE_TOLERANCE
from relay.domain.strict_json import Malformed
from relay.domain.timestamps import MAX_UTC_OFFSET, UtcText, host_clock_offset, unix_seconds, utc_text

if TYPE_CHECKING:
    from relay.domain.record import MessageRecord
    from relay.domain.settlement import FinalPart

log = logging.getLogger(__name__)

_WITHOUT_TEXT = "#session, #part, reply_to, is_final, created_at, sent_at, received_at"

_MAX_RAW_BYTES = 6 * 400 * 1024
"""Bytes of a body that DynamoDB is asked to hold. An item has 400 KB, each byte at most an escape of six.
To write a part of 6 MB for DynamoDB in vain takes 30 MB of memory, for each of a spilled batch."""

MAX_PAGES = 16
"""Pages of 1 MB that are read of a session for one message at the most, so that no session stops the others.
A reply of 32 KB that is streamed in 1,000 parts has 16 MB."""

_NO_VALUES: Mapping[str, Any] = {}


class RepliesTable:
    """The parts: to store one is one conditional write and no read. All methods raise botocore's errors."""

    def __init__(self, table: Table, bucket: OverflowBucket) -> None:
        self._table = table
        self._bucket = bucket

    @property
    def name(self) -> str:
        """The name that DynamoDB has for it."""
        return self._table.name

    def store(self, part: ReplyPart, raw: bytes) -> bool:
        """Store a part with its raw body; return False if it was stored before."""
        path, item = part_path(part["bot"], part["digest"]), without_replaced_text(part)
        entry = OverflowingItem(item, without_body(part), raw, path, _MAX_RAW_BYTES, "normalized" in part)
        return put_item(self._table, self._bucket, entry, IS_NEW, {})

    def read(self, session: str, part: str) -> ReplyPart | None:
        """Return the part with this key, as it is stored, or None."""
        return cast(ReplyPart | None, self._table.get({"session": session, "part": part}))

    def newest(self, session: str, count: int) -> list[ReplyPart]:
        """Return the last `count` parts of a session in order, as they are stored."""
        found = self._table.query(
            "#session = :session",
            {":session": session},
            ScanIndexForward=False,
            Limit=count,
            ConsistentRead=True,
        )
        return cast(list[ReplyPart], list(islice(found, count))[::-1])

    def newest_final(self, session: str, reply_to: str) -> ReplyPart | None:
        """Return the last final part of a turn, if it is among its session's last ten parts and last 1 MB.

        One that was stored a moment ago can be missing.
        """
        finals = self._newest(
            session,
            10,
            {":reply_to": reply_to, ":yes": True},
            FilterExpression="reply_to = :reply_to AND is_final = :yes",
        )
        return finals[0] if finals else None

    def clock_offset(self, session: str) -> float:
        """Return the seconds by which the stamp of a session's newest part is ahead of UTC; 0 without one."""
        return _clock_offset(self._newest_times(session))

    def parts_since(self, session: str, since: UtcText) -> list[ReplyPart]:
        """Return the parts of a session stamped after `since`, in order and without their text.

        If they are over MAX_PAGES, the later ones are missing.
        """
        found = self._parts(session, since, max_pages=MAX_PAGES, ProjectionExpression=_WITHOUT_TEXT)
        return list(found)

    def once_for_all(self) -> "RepliesTable":
        """Return the table for one batch: what `parts_since` has read of a session it does not read again.

        A part that is stored meanwhile can be missing.
        """
        return _ReadOnce(self._table, self._bucket)

    def merged(self, final: "FinalPart", candidates: Sequence["MessageRecord"]) -> list["MessageRecord"]:
        """Return those of the `merge_candidates` of a final part that LangBot merged into its turn.

        Return none if the session has more parts than `parts_since` reads.
        """
        if not candidates:
            return []
        accepted_at = unix_seconds(candidates[0]["delivered_at"])
        parts = self.parts_since(final.session, final.on_host_clock(accepted_at))
        if parts and parts[-1]["part"] < final.part:
            log.warning(
                "a session has too many parts to find what was merged", extra={"session": final.session}
            )
            return []
        # Callback only stores parts, so it does not pay for this import.
        from relay.domain.settlement import merged

        return merged(candidates, {part["reply_to"] for part in parts})

    def parts_around(self, session: str, accepted_at: float) -> tuple[list[ReplyPart], bool]:
        """Return `parts_since` a time (Unix seconds), and whether those are all.

        LangBot's clock, which stamps them, may be off by SIGNATURE_TOLERANCE.
        """
        newest = self._newest_times(session)
        earliest = accepted_at - SIGNATURE_TOLERANCE
        parts = self.parts_since(session, utc_text(earliest + _clock_offset(newest)))
        # The session's first part may have come between the two reads.
        return parts, not (parts and newest) or parts[-1]["part"] >= newest[0]["part"]

    def turn_up_to(self, last: ReplyPart, since: str, max_pages: int | None = None) -> Iterator[ReplyPart]:
        """Return the parts of a turn up to `last`, in order, of those stamped after `since`.

        Read `max_pages` of the session's parts since then at the most, each when it is asked for.
        """
        found = self._table.query(
            "#session = :session AND #part BETWEEN :since AND :last",
            {
                ":session": last["session"],
                ":since": since,
                ":last": last["part"],
                ":reply_to": last["reply_to"],
            },
            max_pages,
            FilterExpression="reply_to = :reply_to",
            # A stream can show the last part before every replica has it.
            ConsistentRead=True,
        )
        return (cast(ReplyPart, item) for item in found)

    def parts_after(
        self, session: str, after: str, max_pages: int | None = None, consistent: bool = True
    ) -> Iterator[ReplyPart]:
        """Return the parts of a session in order, as stored; `after` is a part's key, or "" for all.

        Read `max_pages` of 1 MB at the most, each when it is asked for. For half of the read units, if not
        `consistent`, a part that was stored a moment ago can be missing.
        """
        # No key sorts before a space.
        return self._parts(session, after or " ", max_pages=max_pages, ConsistentRead=consistent)

    def keys_before(self, session: str, part: str) -> list[str]:
        """Return the keys before a part's that a later part can have, the last first; of 1 MB at the most.

        A host that moves to another zone stamps parts earlier, by twice MAX_UTC_OFFSET at the most.
        """
        since = unix_seconds(UtcText(stamp_of(part) + "Z")) - 2 * MAX_UTC_OFFSET
        found = self._table.first_page(
            "#session = :session AND #part BETWEEN :since AND :before",
            {":session": session, ":since": utc_text(since), ":before": part},
            ScanIndexForward=False,
            ProjectionExpression="#part",
        )
        return [item["part"] for item in found if item["part"] != part]

    def whole(self, part: ReplyPart) -> ReplyPart:
        """Return a part with its body and its text, also if the table has none."""
        if "overflow" not in part:
            return with_text(part)
        try:
            return with_body(part, self._raw(part))
        except Malformed:  # a version without this limit has stored it
            return with_body(part, None)

    def parts_before(self, session: str, before: str, limit: int) -> list[ReplyPart]:
        """Return the last parts of a session before a key, or before "~" for the end, in order, as stored.

        They are of one page, so at most `limit` and 1 MB. They may be a moment old.
        """
        found = self._table.first_page(
            "#session = :session AND #part < :before",
            {":session": session, ":before": before},
            ScanIndexForward=False,
            Limit=limit,
        )
        return cast(list[ReplyPart], found[::-1])

    def message_of(self, part: ReplyPart, max_bytes: int, max_values: int) -> list[Segment] | None:
        """Return the segments of a part.

        Return None if its body is no longer in the overflow bucket, or has more bytes or values there.
        """
        if "overflow" not in part:
            return part["message"]
        raw = self._raw(part)
        if raw is None or len(raw) > max_bytes:
            return None
        try:
            return with_body(part, raw, max_values)["message"]
        except Malformed:
            return None

    def _raw(self, part: ReplyPart) -> bytes | None:
        # The path follows from the part's own digest: what else an item says is no path to read.
        return self._bucket.find(part_path(part["bot"], part["digest"]))

    def _newest(
        self, session: str, count: int, values: Mapping[str, Any] = _NO_VALUES, **more: Any
    ) -> list[ReplyPart]:
        """Return those of the last `count` parts that `more` lets through, the newest first."""
        found = self._table.first_page(
            "#session = :session",
            {":session": session, **values},
            ScanIndexForward=False,
            Limit=count,
            **more,
        )
        return cast(list[ReplyPart], found)

    def _newest_times(self, session: str) -> list[ReplyPart]:
        return self._newest(session, 1, ProjectionExpression="#part, created_at")

    def _parts(self, session: str, after: str, **more: Any) -> Iterator[ReplyPart]:
        condition = "#session = :session AND #part > :after"
        found = self._table.query(condition, {":session": session, ":after": after}, **more)
        return (cast(ReplyPart, item) for item in found)


class _ReadOnce(RepliesTable):
    def __init__(self, table: Table, bucket: OverflowBucket) -> None:
        super().__init__(table, bucket)
        self._found: dict[str, tuple[str, list[ReplyPart]]] = {}

    def parts_since(self, session: str, since: UtcText) -> list[ReplyPart]:
        earliest, found = self._found.get(session, ("~", []))
        if since < earliest:
            found = super().parts_since(session, since)
            self._found[session] = since, found
        return [part for part in found if part["part"] > since]


def _clock_offset(newest: list[ReplyPart]) -> float:
    return host_clock_offset(stamp_of(newest[0]["part"]), newest[0]["created_at"]) if newest else 0
