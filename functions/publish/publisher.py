"""Publishes changes of items as events."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from relay import environment
from relay.adapters.event_bus import EventBus
from relay.adapters.messages_table import MessagesTable
from relay.adapters.overflow_bucket import count_values
from relay.adapters.replies_table import MAX_PAGES, RepliesTable
from relay.adapters.workflow_tasks import TaskRefused, WorkflowTasks
from relay.domain.event import (
    MAX_EVENT_REPLY_BYTES,
    Event,
    about,
    as_json,
    begins_after,
    event_of_change,
    json_bytes,
    reply_completed,
)
from relay.domain.part import ReplyPart
from relay.domain.record import MessageRecord
from relay.domain.segments import Segment
from relay.domain.settlement import FinalPart, merge_candidates
from relay.domain.states import State
from relay.domain.task import ERRORS, cause_of, ended
from relay.domain.timestamps import Clock
from relay.domain.turn import effective_parts
from relay.log_fields import error_fields
from relay.metrics import Metric, Metrics

log = logging.getLogger(__name__)


MAX_BODIES = 10
"""Bodies of a bot that are read from the overflow bucket for one batch."""

MAX_BODY_BYTES = 6 * MAX_EVENT_REPLY_BYTES + 4096
"""Bytes of a body from the bucket that are read as JSON. What an event can hold has at most six times as many
bytes in a body, if all is escaped."""

MAX_BODY_VALUES = MAX_EVENT_REPLY_BYTES // 2
"""Values of such a body: each has two bytes or more, and what separates it."""

MAX_EFFECTIVE_PARTS = 100
"""Parts that make up a reply. More of the largest would not fit into publish's memory, nor into an event."""

MAX_VALUES = 100_000
"""Values of a bot's parts that are read for one batch. To read so many takes half a second of CPU, and a long
reply of 1,000 parts has 20,000."""

GIVE_UP_AFTER = 23 * 3600
"""Seconds after which a change that cannot be published is given up. The stream forgets it an hour later, and
then nothing would say which event is lost."""

_TIME_TO_READ = 30
"""Seconds, of publish's time-out of 60, that must be left to begin with a record."""

_TIME_TO_PUBLISH = 15
"""Seconds that must be left to read on: the next page of a turn may take ten, at 512 MB."""


class PublishFailed(Exception):
    """Nothing of a batch could be published."""


class _TooLarge(Exception):
    """An event cannot hold the reply."""


@dataclass(frozen=True)
class StreamRecord:
    """A change of an item, `number` in its table's stream; {} is an item that is missing.

    `changed_at` in Unix seconds.
    """

    number: str
    old: Mapping[str, Any]
    new: Mapping[str, Any]
    changed_at: float


@dataclass
class _Budget:
    """What may be read for one batch: as long as there is time, and of each bot so many values."""

    seconds_left: Callable[[], float]
    values: dict[str, int] = field(default_factory=dict)

    def has_time(self) -> bool:
        return self.seconds_left() >= _TIME_TO_READ

    def allows(self, bot: str) -> bool:
        return self.values.get(bot, 0) < MAX_VALUES and self.seconds_left() >= _TIME_TO_PUBLISH

    def spend(self, part: ReplyPart) -> None:
        bot = part["bot"]
        values = MAX_VALUES // MAX_BODIES if "overflow" in part else count_values(part, MAX_VALUES)
        self.values[bot] = self.values.get(bot, 0) + values


@dataclass(frozen=True)
class EventPublisher:
    """Publishes events. The same change gives an event of the same id, however often it is delivered.

    It also ends the tasks that wait for what becomes of a message, if the stack has `tasks`.
    """

    messages_table: MessagesTable
    replies_table: RepliesTable
    event_bus: EventBus
    metrics: Metrics
    tasks: WorkflowTasks | None = None
    clock: Clock = environment.now

    def publish(self, records: Iterable[StreamRecord], seconds_left: Callable[[], float]) -> list[str]:
        """Publish what is an event; return the numbers of the records that must be delivered again.

        Records are among them if too little time is left: publish needs up to half of it to read a long turn.
        Raise PublishFailed if nothing could be published, so that an outage shows as the function's errors.
        """
        events: dict[str, Event] = {}
        failed: list[StreamRecord] = []
        batch = list(records)
        budget = _Budget(seconds_left)
        for record in batch:
            if not budget.has_time():
                failed.append(record)
                continue
            try:
                if event := self._event(record, budget):
                    events[record.number] = event
                if self.tasks and (state := ended(record.old, record.new)):
                    self._end_task(self.tasks, cast(MessageRecord, record.new), state, budget)
            except TaskRefused as error:
                self._give_up(record, {"error": str(error)}, "the outcome of a task is lost")
            except (ClientError, BotoCoreError) as error:
                log.error("a change cannot be read and is tried again", extra=error_fields(error))
                failed.append(record)
            except Exception as error:
                # Another try would fail as well, and hold up everything behind it for a day.
                self._give_up(record, error_fields(error))
        refused = self.event_bus.publish(events.values())
        failed += [
            one for one in batch if (event := events.get(one.number)) is not None and event.id in refused
        ]
        published = len(events) - len(refused)
        if failed:
            log.warning("events are published later", extra={"published": published, "failed": len(failed)})
        again = [record.number for record in failed if not self._is_lost(record)]
        if again and not published and len(again) == len(failed):
            raise PublishFailed(f"none of {len(again)} events; they are tried again")
        return again

    def _is_lost(self, record: StreamRecord) -> bool:
        if self.clock() - record.changed_at < GIVE_UP_AFTER:
            return False
        self._give_up(record, {"error": "not published for 23 hours"})
        return True

    def _give_up(
        self, record: StreamRecord, why: Mapping[str, object], what: str = "an event is lost"
    ) -> None:
        """Name in the log the item whose change is not published, and count it for an alarm."""
        item = record.new or record.old
        # The `message` of a part is what it says.
        fields = {"session": item.get("session"), "item": item.get("part") or item.get("message")}
        log.error(what, extra={**why, **fields})
        self.metrics.count(Metric.LOST_EVENTS)

    def _event(self, record: StreamRecord, budget: _Budget) -> Event | None:
        """Return the event of a change, if it is one. Raise botocore's errors."""
        if "part" in record.new:
            return self._reply_completed(cast(ReplyPart, record.new), budget)
        return event_of_change(record.old, record.new, record.changed_at)

    def _end_task(self, tasks: WorkflowTasks, record: MessageRecord, state: State, budget: _Budget) -> None:
        """End the task of a message: with its reply, or with the error for its state."""
        if state in ERRORS:
            tasks.fail(record["reply_to_task"], ERRORS[state], cause_of(record))
            return
        output = about(record)
        if last := self.replies_table.read(record["session"], record["answer_part"]):
            begun, _ = self._begun_by(FinalPart.of(last))
            read = self._read_turn(last, begun, budget)
            output = dict(reply_completed(last, *read, [record], self.replies_table.name).data)
        tasks.succeed(record["reply_to_task"], as_json(output))

    def _begun_by(self, final: FinalPart) -> tuple[MessageRecord | None, list[MessageRecord]]:
        """Return the message that a turn answers, and those after it, the last one first."""
        answered = final.reply_to or final.quoted
        return self.messages_table.back_to_reply(final.session, answered) if answered else (None, [])

    def _reply_completed(self, last: ReplyPart, budget: _Budget) -> Event:
        final = FinalPart.of(last)
        record, later = self._begun_by(final)
        known = [record] if record else []
        read = self._read_turn(last, record, budget)
        if record and final.reply_to and budget.allows(last["bot"]):
            known += self._merged(final, later)
        return reply_completed(last, *read, known, self.replies_table.name)

    def _read_turn(
        self, last: ReplyPart, record: MessageRecord | None, budget: _Budget
    ) -> tuple[str, int, list[Segment] | None]:
        """Return the key of the first part of a turn, how many are final, and what the parts say.

        `record` is the message that began the turn, if it is known.
        """
        final, turn = FinalPart.of(last), iter([last])
        if final.reply_to:
            since = begins_after(final, record)
            if not budget.allows(last["bot"]):
                return since, 1, None
            turn = self.replies_table.turn_up_to(last, since, MAX_PAGES)
        # Nothing of the turn is there if the part was deleted meanwhile. It is all that is known then.
        first = next(turn, last)
        read = _Read()
        parts = read.each(chain([first], turn), budget)
        reply = self._reply(parts)
        for _ in parts:  # what an event cannot hold counts as well
            pass
        # The last part is missing if the pages or the budget ended before it.
        complete = read.last == last["part"]
        return first["part"], read.finals + (not complete), reply if complete else None

    def _merged(self, final: FinalPart, newest_first: list[MessageRecord]) -> list[MessageRecord]:
        """Return the messages with a context that LangBot merged into a turn. Without one nothing is read."""
        with_context = [record for record in reversed(newest_first) if "context" in record]
        return self.replies_table.merged(final, merge_candidates(final, with_context))

    def _reply(self, parts: Iterable[ReplyPart]) -> list[Segment] | None:
        """Return what the parts say, or None if an event cannot hold it."""
        try:
            effective = effective_parts(self._whole(parts), MAX_EFFECTIVE_PARTS)
        except _TooLarge:
            return None
        reply: list[Segment] = []
        left = MAX_EVENT_REPLY_BYTES
        for part in effective:
            if (left := left - json_bytes(part["message"])) < 0:
                return None
            reply += part["message"]
        return reply if len(effective) <= MAX_EFFECTIVE_PARTS else None

    def _whole(self, parts: Iterable[ReplyPart]) -> Iterator[ReplyPart]:
        """Yield the parts with their bodies. Raise _TooLarge."""
        for part in parts:
            message = self.replies_table.message_of(part, MAX_BODY_BYTES, MAX_BODY_VALUES)
            # What a part says stays in the reply. So a body that is too large ends the reading of bodies.
            if message is None or ("overflow" in part and json_bytes(message) > MAX_EVENT_REPLY_BYTES):
                raise _TooLarge
            yield {**part, "message": message}


@dataclass
class _Read:
    """What of a turn was read: up to which part, by its key, and how many are final."""

    last: str = ""
    finals: int = 0

    def each(self, parts: Iterable[ReplyPart], budget: _Budget) -> Iterator[ReplyPart]:
        """Yield the parts that the budget allows."""
        for part in parts:
            self.last = part["part"]
            self.finals += part["is_final"]
            budget.spend(part)
            yield part
            if not budget.allows(part["bot"]):
                return
