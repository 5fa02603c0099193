"""What happens to a message after an attempt: it is delivered, tried again, or parked."""

import math
from dataclasses import dataclass, replace

from relay.domain.attempt import Attempt, Delivery, Outcome, Verdict, idempotency_key
from relay.domain.record import MessageRecord, accepted_record, parked_record, retrying_record
from relay.domain.timestamps import utc_text

BACKOFF_CAP = 60
"""Seconds between two attempts at the most: short for a bot that has recovered, far below KEY_LIFETIME."""

VISIBILITY_CAP = 43_000
"""Seconds. SQS lets a message be invisible for 12 hours from its receive, and refuses a longer one. The 200 s
less are more than push has until it sets it."""


@dataclass(frozen=True)
class Policy:
    """How long a message is tried and a reply is awaited, both in seconds, and a record is kept, in days.

    `ends_tasks` tells whether a message may have a task that waits for its reply.
    """

    retry_for: int
    answer_deadline: int
    keep_days: int
    ends_tasks: bool = False


@dataclass(frozen=True)
class Conclusion:
    """What follows for a message: the record to write, and after how many seconds push handles it again.

    Without a record nothing is written. If `retry_in` is None, the message leaves the queue. `attempt` is the
    one that was made, if any.
    """

    record: MessageRecord | None = None
    retry_in: int | None = None
    attempt: Attempt | None = None


def conclude(delivery: Delivery, attempt: Attempt, now: float, policy: Policy) -> Conclusion:
    """Decide what happens to a message after `attempt`, which ended at `now` (Unix seconds).

    It is parked `retry_for` seconds after its first failure, or after the end of a later pause of its bot,
    and before SQS would delete it. Only attempts count: a message that merely waited is not parked for that.
    """
    if attempt.outcome.verdict is Verdict.ACCEPTED:
        record = accepted_record(delivery, attempt, now, policy.keep_days, policy.answer_deadline)
        return Conclusion(record, attempt=attempt)
    return replace(conclude_failure(delivery, attempt.outcome, now, policy), attempt=attempt)


def conclude_failure(delivery: Delivery, outcome: Outcome, now: float, policy: Policy) -> Conclusion:
    """Decide what happens to a message that was not accepted, or could not even be tried."""
    key = idempotency_key(delivery.queued.message_id, delivery.history)
    history = delivery.history.after(outcome, key, now)
    delivery = replace(delivery, history=history)
    first_failed_at = history.first_failed_at or now
    counts_from = max(first_failed_at, delivery.excused_until)
    left = min(counts_from + policy.retry_for, delivery.queued.must_leave_at()) - now
    if outcome.permanent or left <= 0:
        tried = f"tried for {now - first_failed_at:.0f} s, {history.attempts} times; at last {outcome.reason}"
        reason = outcome.reason if outcome.permanent else tried
        return Conclusion(parked_record(delivery, outcome.reason, reason, now, policy.keep_days))
    # The last attempt is made when the time is up, not long after it.
    wanted = min(max(backoff(history.attempts), outcome.retry_after), outcome.max_wait)
    wait = min(wanted, max(left, 1), VISIBILITY_CAP)
    record = retrying_record(delivery, outcome.reason, now, policy.keep_days)
    record["next_attempt_at"] = utc_text(now + wait)
    record["retry_until"] = utc_text(now + left)
    return Conclusion(record, retry_in=math.ceil(wait))


def backoff(failures: int) -> int:
    """Return the seconds to wait after that many failed attempts: 2, 4, 8, … BACKOFF_CAP."""
    return min(1 << min(failures, 10), BACKOFF_CAP)
