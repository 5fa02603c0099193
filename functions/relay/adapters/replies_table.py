"""RepliesTable: the reply parts, each once and in order."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from relay.adapters.dynamodb import IS_NEW, Table
from relay.adapters.overflow_bucket import OverflowBucket, OverflowingItem, part_path, put_item
from relay.domain.attempt import KEY_LIFETIME
from relay.domain.keys import stamp_of
from relay.domain.part import ReplyPart, with_body, without_body
from relay.domain.segments import Segment
from relay.domain.signing import SIGNATURE_TOLERANCE
from relay.domain.timestamps import UtcText, host_clock_offset, unix_seconds, utc_text

_WITHOUT_TEXT = "#session, #part, reply_to, is_final, created_at, sent_at, received_at"
_NO_VALUES: Mapping[str, Any] = {}


class RepliesTable:
    """The parts: to store one is one conditional write and no read. All methods raise botocore's errors."""

    def __init__(self, table: Table, bucket: OverflowBucket) -> None:
        self._table = table
        self._bucket = bucket

    @property
    def name(self) -> str:
        return self._table.name

    def store(self, part: ReplyPart, raw: bytes) -> bool:
        """Store a part with its raw body; return False if it was stored before."""
        path = part_path(part["bot"], part["digest"])
        if "altered" in part:
            self._bucket.put(path, raw)
        entry = OverflowingItem(part, without_body(part), raw, path)
        return put_item(self._table, self._bucket, entry, IS_NEW, {})

    def read(self, session: str, part: str) -> ReplyPart | None:
        """Return the part with this key, as it is stored, or None."""
        return cast(ReplyPart | None, self._table.get({"session": session, "part": part}))

    def newest(self, session: str, count: int) -> list[ReplyPart]:
        """Return the last `count` parts of a session in order, as they are stored."""
        return self._newest(session, count, ConsistentRead=True)[::-1]

    def newest_final(self, session: str, reply_to: str) -> ReplyPart | None:
        """Return the last final part of a turn, if it is among the last ten parts of its session."""
        finals = self._newest(
            session,
            10,
            {":reply_to": reply_to, ":yes": True},
            FilterExpression="reply_to = :reply_to AND is_final = :yes",
            ConsistentRead=True,
        )
        return finals[0] if finals else None

    def clock_offset(self, session: str) -> float:
        """Return the seconds by which the stamp of a session's newest part is ahead of UTC; 0 without one."""
        newest = self._newest(session, 1, ProjectionExpression="#part, created_at")
        return host_clock_offset(stamp_of(newest[0]["part"]), newest[0]["created_at"]) if newest else 0

    def turns_with_parts(self, session: str, since: UtcText) -> set[str]:
        """Return the turns of a session that have a part stamped after `since`."""
        return {part["reply_to"] for part in self._parts(session, since, ProjectionExpression=_WITHOUT_TEXT)}

    def parts_around(self, session: str, delivered_at: UtcText) -> list[ReplyPart]:
        """Return the parts of a session since a message was accepted, in order and without their text.

        LangBot may have accepted it KEY_LIFETIME seconds before `delivered_at`; and its clock, which stamps
        them, may be off by SIGNATURE_TOLERANCE.
        """
        earliest = unix_seconds(delivered_at) - KEY_LIFETIME - SIGNATURE_TOLERANCE
        since = utc_text(earliest + self.clock_offset(session))
        return list(self._parts(session, since, ProjectionExpression=_WITHOUT_TEXT))

    def turn_up_to(self, last: ReplyPart, since: str) -> list[ReplyPart]:
        """Return the parts of a turn up to `last`, in order, of those stamped after `since`."""
        parts = self._table.query(
            "#session = :session AND #part BETWEEN :since AND :last",
            {
                ":session": last["session"],
                ":since": since,
                ":last": last["part"],
                ":reply_to": last["reply_to"],
            },
            FilterExpression="reply_to = :reply_to",
            # A stream can show the last part before every replica has it.
            ConsistentRead=True,
        )
        return cast(list[ReplyPart], list(parts))

    def parts_after(self, session: str, after: str) -> Iterator[ReplyPart]:
        """Return the parts of a session in order, as stored; `after` is a part's key, or "" for all."""
        # No key sorts before a space.
        return self._parts(session, after or " ", ConsistentRead=True)

    def whole(self, part: ReplyPart) -> ReplyPart:
        """Return a part with its body, also if that is in the overflow bucket."""
        return with_body(part, self._raw(part)) if "overflow" in part else part

    def message_of(self, part: ReplyPart) -> list[Segment] | None:
        """Return the segments of a part, or None if its body is no longer in the overflow bucket."""
        if "overflow" not in part:
            return part["message"]
        raw = self._raw(part)
        return None if raw is None else with_body(part, raw)["message"]

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

    def _parts(self, session: str, after: str, **more: Any) -> Iterator[ReplyPart]:
        condition = "#session = :session AND #part > :after"
        found = self._table.query(condition, {":session": session, ":after": after}, **more)
        return (cast(ReplyPart, item) for item in found)
