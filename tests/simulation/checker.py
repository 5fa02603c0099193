"""What must be true of a world when it has gone quiet: a function for each promise of the relay."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from math import floor, inf
from typing import Any

from relay.adapters.bot_cache import MIN_REFRESH_INTERVAL
from relay.adapters.dynamodb import from_item
from relay.adapters.langbot import ATTEMPT_TIMEOUT, max_attempt_seconds
from relay.adapters.replies_table import MAX_PAGES
from relay.domain.admission import LEASES, MAX_PAUSE, MERGED_SLOT_TIMEOUT, PAUSED_TOO_LONG
from relay.domain.attempt import KEY_LIFETIME, MAX_RELOAD_WAIT
from relay.domain.keys import OPERATOR, UNANSWERED, message_key, session_key
from relay.domain.message import PATHS
from relay.domain.part import session_id_in
from relay.domain.record import current
from relay.domain.signing import SIGNATURE_TOLERANCE
from relay.domain.timestamps import unix_seconds
from simulation.connections import Post
from simulation.deployed_relay import PREFIX
from simulation.dynamodb_expressions import Item
from simulation.faults import IN_FLIGHT_LIMIT, Trouble
from simulation.model_dynamodb import size_of
from simulation.model_lambda import MAX_SKEW
from simulation.model_langbot import Accepted, LangBot, Part
from simulation.people import Said
from simulation.planned_stops import Stop
from simulation.simulation import Outcome

Key = tuple[str, str]

CAN_LOSE_A_PART = (
    Trouble.GATEWAY,
    Trouble.SERVICES,
    Trouble.OUTAGES,
    Trouble.DEATHS,
    Trouble.THROTTLES,
    Trouble.SECRETS,
)
"""With one of these, four attempts of LangBot can fail."""

AWAY = "their secret was away"
NOT_YET_KNOWN = "LangBot got their secret first"
FORGOTTEN = "their secret was taken out"
"""Why the relay does not know a secret."""


@dataclass
class Findings:
    """What a world has left, in the form in which the promises are checked."""

    outcome: Outcome
    counted: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """What was not as it should be for a reason that the documents name."""

    def all_items(self, table: str) -> Iterable[Item]:
        """Return the items of a table, with those that have expired or were erased as they were last."""
        items = self.outcome.deployment.tables[table]
        erased = {key: versions[-1] for key, versions in items.erased.items()}
        return (erased | items.expired | items.items).values()

    @cached_property
    def records(self) -> dict[Key, dict[str, Any]]:
        items = map(from_item, self.all_items("MessagesTable"))
        records: Iterator[Any] = (current(item) for item in items if "state" in item)
        return {(record["session"], record["message"]): record for record in records}

    @cached_property
    def parts(self) -> dict[str, list[dict[str, Any]]]:
        """The stored parts of each session, in order."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for item in self.all_items("RepliesTable"):
            found[item["session"]["S"]].append(from_item(item))
        return {session: sorted(parts, key=lambda part: part["part"]) for session, parts in found.items()}

    @cached_property
    def accepted(self) -> dict[str, list[Accepted]]:
        """What LangBot accepted, by the SQS id of the message."""
        found: dict[str, list[Accepted]] = defaultdict(list)
        for bot in self.outcome.langbots.values():
            for message in bot.accepted:
                found[message.key.partition(".")[0]].append(message)
        return found

    @cached_property
    def emitted(self) -> dict[str, tuple[LangBot, Part]]:
        """What LangBot emitted, by its digest."""
        return {
            hashlib.sha256(part.raw).hexdigest(): (bot, part)
            for bot in self.outcome.langbots.values()
            for part in bot.parts
        }

    @cached_property
    def events(self) -> dict[str, list[dict[str, Any]]]:
        """The details of the published events, by their type."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for _, kind, detail in self.outcome.deployment.events.published:
            found[kind].append(detail)
        return found

    def unknown(self, bot: str, field: str, secret: str, since: float, until: float) -> str | None:
        """Return why the relay did not know a secret of a bot for all of a time, or None if it did."""
        values = self.outcome.deployment.secrets.history[PREFIX + bot]
        known = False
        for (begins, value), (ends, _) in pairwise([*values, (inf, {})]):
            has = secret in _listed(value.get(field))
            if begins <= until and ends > since and not has:
                return AWAY if not value else FORGOTTEN if known else NOT_YET_KNOWN
            known = known or has
        return None

    def secrets_not_read(self, since: float, until: float) -> bool:
        """Tell whether AWS refused to read a secret in that time."""
        failed = self.outcome.faults.failed_calls
        return any(service == "secretsmanager" and since <= at <= until for service, at in failed)

    def pages(self, session: str) -> int:
        """Return how many pages the parts of a session fill at the least."""
        items = self.all_items("RepliesTable")
        size = sum(size_of(item) for item in items if item["session"]["S"] == session)
        return size // self.outcome.scenario.page_bytes

    def has_expired(self, record: dict[str, Any]) -> bool:
        """Tell whether DynamoDB has deleted a record."""
        expired = self.outcome.deployment.tables["MessagesTable"].expired
        return (record["session"], record["message"]) in expired

    def was_erased(self, record: dict[str, Any]) -> bool:
        """Tell whether a record was erased. What push or settle writes of its message then is not all."""
        return (record["session"], record["message"]) in self.outcome.deployment.tables[
            "MessagesTable"
        ].erased

    def was_given_up(self, part: Part, moment: float) -> bool:
        """Tell whether the message of a part was unanswered by then, so that no rotation waited for it."""
        return any(
            record.get("accepted_message_id") == part.reply_to
            and "unanswered_at" in record
            and unix_seconds(record["unanswered_at"]) < moment
            for record in self.records.values()
        )

    def had_to_leave(self, record: dict[str, Any]) -> bool:
        """Tell whether a message was parked because PushQueue keeps none for longer."""
        scenario = self.outcome.scenario
        waited = unix_seconds(record["parked_at"]) - unix_seconds(record["queued_at"])
        return waited >= scenario.queue_retention - scenario.retention_margin

    def excused_until(self, record: dict[str, Any]) -> float:
        """Return until when the bot of a parked message was paused before that; 0 if it was not."""
        parked_at = unix_seconds(record["parked_at"])
        ends = [
            stop.resumes_at
            for stop in self.outcome.diary.stops
            if stop.bot.name == record.get("bot") and stop.paused_at < parked_at
        ]
        return min(max(ends, default=0), parked_at)

    def record_of(self, said: Said) -> dict[str, Any] | None:
        sent = said.sent
        return self.records.get((session_key(sent.bot, sent.session_id), message_key(sent.sequence_number)))

    def with_resends(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        """Return a record and those of its resends, in order."""
        chain = [record]
        while resend := self.records.get((chain[-1]["session"], chain[-1].get("resent_as", ""))):
            chain.append(resend)
        return chain

    @cached_property
    def lost_tasks(self) -> list[str]:
        """The lines of the log that name a task whose outcome was given up."""
        return [line for line in self.outcome.log if line.startswith("the outcome of a task is lost")]

    def finals(self, session: str, reply_to: object) -> list[dict[str, Any]]:
        """Return the stored final parts of a turn."""
        return [p for p in self.parts.get(session, []) if p["reply_to"] == reply_to and p["is_final"]]

    def begun_by(self, session: str, reply_to: object) -> list[dict[str, Any]]:
        """Return the records of a session whose message began a turn, or may have: their id is not known."""
        return [
            record
            for record in self.records.values()
            if record["session"] == session and record.get("accepted_message_id", reply_to) == reply_to
        ]

    def absorbing(self, record: dict[str, Any]) -> Iterator[str]:
        """Yield the messages before an unanswered one whose turns ended after LangBot had accepted it.

        They answer it, if it has no part of its own. Settle does not find those that were erased.
        """
        if record["session"] in self.outcome.diary.erasing:
            return
        parts = self.parts.get(record["session"], [])
        own = record.get("accepted_message_id")
        if any(part["reply_to"] == own for part in parts):
            return
        for part in parts:
            ended_at = min(unix_seconds(part["sent_at"]), unix_seconds(part["received_at"]))
            late = ended_at - unix_seconds(record["delivered_at"])
            if part["is_final"] and part["reply_to"] and late > INDEX_AND_CLOCKS:
                for earlier in self.records.values():
                    if (
                        earlier["session"] == record["session"]
                        and earlier["message"] < record["message"]
                        and earlier.get("accepted_message_id") == part["reply_to"]
                    ):
                        yield earlier["message_id"]

    @cached_property
    def attempts(self) -> dict[str, list[Post]]:
        """The attempts at each bot, by their beginning; the requests of one attempt count as its last."""
        found: dict[str, list[Post]] = defaultdict(list)
        for post in sorted(self.outcome.posts, key=lambda post: post.began):
            of_bot = found[post.bot]
            for number, one in enumerate(of_bot):
                # Only a 401 makes an attempt sign with another secret.
                same = (one.process, one.key, one.status) == (post.process, post.key, 401)
                if same and 0 <= post.began - one.ended < SECOND_SIGNATURE:
                    of_bot[number] = replace(post, began=one.began)
                    break
            else:
                of_bot.append(post)
        return found

    def setting(self, name: str) -> list[int]:
        """Return the values that a parameter had."""
        first = self.outcome.scenario, name.lower().removesuffix("_seconds")
        return [getattr(*first), *(int(one[name]) for one in self.outcome.diary.deployed)]


AWS_TROUBLES = (
    Trouble.SERVICES,
    Trouble.OUTAGES,
    Trouble.DEATHS,
    Trouble.DUPLICATES,
    Trouble.THROTTLES,
    Trouble.GARBLED,
)
NOT_COUNTED = (*AWS_TROUBLES, Trouble.UPGRADE)
"""With one of these, not every attempt ends in a record or in the state of its bot."""

INDEX_AND_CLOCKS = 15
"""Seconds by which two times can differ that different processes wrote."""

MAX_RACE = 1
"""Seconds after a failure in which an attempt can begin that was admitted before it was known."""

ADMISSION = 0.1
"""Seconds between the write that admits an attempt and its beginning, at the most."""

TRIAL_SESSION = "relay-test-"
"""How the sessions begin in which `relay connect` tests a connection."""

SECOND_SIGNATURE = 1
"""Seconds within which an attempt signs once more, with another secret. The next attempt is later."""

SLOW_OR_UNCOUNTED = frozenset(Trouble) - {
    Trouble.ATTACKERS,
    Trouble.GATEWAY,
    Trouble.INVALID,
    Trouble.PUSHES,
    Trouble.SECRETS,
}
"""Without these no attempt lasts longer than a second, and every message that LangBot has uses a slot."""

Promise = Callable[[Findings], Iterator[str]]


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def goes_quiet(findings: Findings) -> Iterator[str]:
    """The world goes quiet, within the bound."""
    if not findings.outcome.quiet:
        yield "it did not go quiet"


def has_one_true_state(findings: Findings) -> Iterator[str]:
    """Every message sent is in exactly one state, and the state is true."""
    for name, queue in findings.outcome.deployment.queues.items():
        for message in queue.expired:
            yield f"{name} has deleted {message.id} at the end of its retention"
    for said in findings.outcome.diary.said:
        record = findings.record_of(said)
        if record is None:
            yield f"{said.sent.message_id} has no record"
    for item in findings.outcome.deployment.tables["MessagesTable"].expired.values():
        if "state" in item and (
            item["state"]["S"] == "retrying"
            or item.get("awaiting", {"S": OPERATOR})["S"] not in (OPERATOR, UNANSWERED)
        ):
            yield f"{item['message_id']['S']} was deleted while it was {item['state']['S']}"
    for record in findings.records.values():
        if findings.was_erased(record):
            continue
        for fault in _faults_of(findings, record):
            yield f"{record['message_id']} is {record['state']}, {fault}"


def _faults_of(findings: Findings, record: dict[str, Any]) -> Iterator[str]:
    diary, session = findings.outcome.diary, record["session"]
    ids = {message.id for message in findings.accepted.get(record["message_id"], [])}
    if record["state"] in ("delivered", "answered", "unanswered") and not ids:
        # docs/limits.md: a 503 is lost, or push dies before it has written that into the record.
        if _refusal_was_lost(findings, record["message_id"]):
            findings.counted["delivered though refused"] += 1
        else:
            yield "and LangBot never accepted it"
    match record["state"]:
        case "answered" if not record["answered_by"]:
            if record["answer_part"] not in [part["part"] for part in findings.parts.get(session, [])]:
                yield "by a push that is not stored"
        case "answered" if record["answer_kind"] == "unfinished":
            if findings.finals(session, record["answered_by"]):
                yield "unfinished, and its final part is stored"
        case "answered":
            if not findings.finals(session, record["answered_by"]):
                yield "without a final part"
            if record["answer_kind"] == "merged":
                if findings.finals(session, record.get("accepted_message_id")):
                    yield "indirectly, and it has a reply of its own"
                began = findings.begun_by(session, record["answered_by"])
                if not any(one["message"] < record["message"] for one in began):
                    yield "indirectly, and by no earlier message's turn"
            elif record["answered_by"] not in ids:
                # docs/limits.md: a reply can be recorded for the wrong message if two responses were lost.
                if _has_unidentified(findings, session):
                    findings.counted["replies recorded for another message"] += 1
                else:
                    yield f"by {record['answered_by']}, which is not among its {ids}"
        case "delivered":
            if record.get("expect_reply", True):
                yield "and waits for nothing any more"
        case "unanswered":
            if findings.finals(session, record.get("accepted_message_id")):
                yield "and its reply is stored"
            for message in findings.absorbing(record):
                yield f"and the turn of {message} was after it, and it has no part of its own"
            if "too many parts" in record["last_error"] and findings.pages(session) < MAX_PAGES:
                yield f"and its session has {findings.pages(session)} pages of parts"
        case "parked":
            if record["awaiting"] != OPERATOR:
                yield "and no operator sees it"
            if ids and record["reason"].startswith("answered"):
                yield "and LangBot accepted it"
        case "resent":
            resend = findings.records.get((session, record["resent_as"]), {})
            if resend.get("resend_of") != record["message"]:
                yield "and no message is its resend"
            elif resend["state"] == "dropped" and resend["message_id"] not in diary.dropped:
                yield f"and its only resend was dropped: {resend['drop_reason']}"
            if record["message_id"] not in diary.resent and not max(findings.setting("MAX_RESENDS")):
                yield "and nobody asked for it"
        case "dropped":
            of_the_command = record["drop_reason"] == "it was only a test"
            if not of_the_command and record["message_id"] not in diary.dropped and "resend_of" not in record:
                yield "and nobody asked for it"
        case state:
            yield f"{state} for ever"


def _refusal_was_lost(findings: Findings, message_id: str) -> bool:
    told = [
        process
        for bot in findings.outcome.langbots.values()
        for key, process in bot.burned.items()
        if key.startswith(f"{message_id}.")
    ]
    not_written = findings.outcome.faults.has(Trouble.SERVICES, Trouble.OUTAGES)
    return any(process is None or process.dead or not_written for process in told)


def _has_unidentified(findings: Findings, session: str) -> bool:
    bot, _, session_id = session.partition("#")
    accepted = findings.outcome.langbots[bot].accepted
    not_written = findings.outcome.faults.has(Trouble.SERVICES, Trouble.OUTAGES, Trouble.DEATHS)
    if session in findings.outcome.diary.erasing:
        return True
    return not_written or any(not one.told for one in accepted if one.session == session_id)


def is_accepted_once(findings: Findings) -> Iterator[str]:
    """LangBot accepted no message twice, except when the outcome was unknown and LangBot forgot the key, or
    an operator asked for it."""
    for message_id, accepted in findings.accepted.items():
        for first, second in pairwise(accepted):
            if first.key_forgotten_at is None or first.key_forgotten_at > second.at:
                yield f"{message_id} was accepted under {first.key} and then {second.key}"
            findings.counted["accepted twice, key forgotten"] += 1
    by_text: dict[tuple[str, str], set[str]] = defaultdict(set)
    for message_id, accepted in findings.accepted.items():
        by_text[accepted[0].session, accepted[0].text].add(message_id)
    records = {record["message_id"]: record for record in findings.records.values()}
    for (_, text), ids in by_text.items():
        known = [records[message_id] for message_id in ids if message_id in records]
        if sum("resend_of" not in record for record in known) > 1:
            yield f"{text[:10]!r} was accepted twice: {sorted(ids)}"
        for record in known:
            original = findings.records.get((record["session"], record.get("resend_of", "")))
            if original and original.get("resent_as") != record["message"]:
                yield f"{record['message_id']} was accepted, but {original['message_id']} has another resend"
        asked = findings.outcome.diary.resent
        by_itself = [one for one in known if "resent_as" in one and one["message_id"] not in asked]
        if len(by_itself) > max(findings.setting("MAX_RESENDS")):
            yield f"{text[:10]!r} was resent too often: {sorted(ids)}"


def resends_many_in_order(findings: Findings) -> Iterator[str]:
    """What an operator resent together is resent once, and each session's messages in their order."""
    together = findings.outcome.diary.resent_together
    times = Counter((session, message) for run in together for session, message, _ in run)
    yield from (f"{key} was resent {count} times" for key, count in times.items() if count > 1)
    for run in together:
        resends: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for session, message, resend in run:
            resends[session].append((message, resend))
        for session, pairs in resends.items():
            by_message = [resend for _, resend in sorted(pairs)]
            if by_message != sorted(by_message):
                yield f"messages of {session} that were resent together are in another order"


def sends_nothing_that_is_cancelled(findings: Findings) -> Iterator[str]:
    """A message is not sent after the relay has confirmed that it is cancelled."""
    cancelled = findings.outcome.diary.cancelled
    for post in findings.outcome.posts:
        message_id = post.key.partition(".")[0]
        if post.began > cancelled.get(message_id, inf):
            yield f"{message_id} was sent {post.began - cancelled[message_id]:.1f} s after it was cancelled"
    if findings.outcome.faults.has(Trouble.UPGRADE):
        return  # earlier code takes no lease that says that an attempt is under way
    for record in findings.records.values():
        is_sent = record["state"] in ("delivered", "answered", "unanswered")
        # Of an erased message the command could not know that it was sent before.
        if record["message_id"] in cancelled and is_sent and not findings.was_erased(record):
            yield f"{record['message_id']} was cancelled, and is {record['state']}"


def keeps_parts_once(findings: Findings) -> Iterator[str]:
    """Every part for which the relay answered 2xx is stored once; every part that LangBot delivered is
    stored. None is refused for good."""
    stored: dict[str, int] = defaultdict(int)
    for items in findings.parts.values():
        for item in items:
            stored[item["digest"]] += 1
    for digest, times in stored.items():
        if times > 1:
            yield f"{digest[:8]} is stored {times} times"
    for digest, (_, part) in findings.emitted.items():
        if part.delivered and not stored[digest]:
            yield f"a part of {part.reply_to or 'a push'} was delivered and is not stored: {part.text[:40]!r}"
    for received in findings.outcome.deployment.received:
        digest = hashlib.sha256(received.raw).hexdigest()
        if digest not in findings.emitted:
            continue
        if received.answered == 200 and not stored[digest]:
            yield f"a part was answered 200 and is not stored: {received.raw[:80]!r}"
        part = findings.emitted[digest][1]
        # A request can be late: then LangBot has tried again.
        if received.answered and 400 <= received.answered < 500 and not part.delivered:
            reason = findings.unknown(
                received.bot,
                "outbound_secret",
                part.secret,
                received.at - MIN_REFRESH_INTERVAL,
                received.until,
            )
            # LangBot signs a part once, on its own clock. Then it tries again, and callback can be late.
            age = received.until - float(received.headers["X-LB-Timestamp"])
            if age > SIGNATURE_TOLERANCE - MAX_SKEW:
                findings.counted["parts refused, their signature had expired"] += 1
            elif reason and reason != FORGOTTEN:
                findings.counted[f"parts refused, {reason}"] += 1
            elif reason and findings.was_given_up(part, received.at):
                findings.counted["parts refused, their message was unanswered before"] += 1
            else:
                yield f"a part was answered {received.answered}: {received.raw[:80]!r}"
    if not findings.outcome.faults.has(*CAN_LOSE_A_PART):
        for _, part in findings.emitted.values():
            if part.given_up and 401 not in part.seen:
                yield f"a part of {part.reply_to or 'a push'} was lost: {part.seen}"


def rotates_without_a_gap(findings: Findings) -> Iterator[str]:
    """LangBot refused no attempt for its signature that was made when push had to know LangBot's secret."""
    for record in findings.records.values():
        for entry in record.get("last_attempts", ()):
            if entry.get("status") == 401:
                began = unix_seconds(entry["at"])
                # A secret that cannot be read takes longer.
                ended = began + max(ATTEMPT_TIMEOUT["push"], entry["ms"] / 1000)
                langbot = findings.outcome.langbots[record["bot"]]
                secret = langbot.inbound_at(began)
                if langbot.inbound_at(began - MAX_SKEW) != langbot.inbound_at(ended):
                    continue  # it was saved between two requests of the attempt, by a clock that may be off
                since = began - MIN_REFRESH_INTERVAL
                if findings.secrets_not_read(since, ended):
                    continue  # the last good secret serves, for hours
                reason = findings.unknown(record["bot"], "inbound_secret", secret, since, ended)
                if reason in (None, FORGOTTEN):
                    yield f"{record['message_id']} was refused with a secret that push should have known"


def spares_a_paused_bot(findings: Findings) -> Iterator[str]:
    """A paused bot gets no attempt but of a test. A drained one has no turn, and no attempt under way."""
    tests = {one["message_id"] for one in findings.records.values() if TRIAL_SESSION in one["session"]}
    for stop in findings.outcome.diary.stops:
        for post in findings.outcome.posts:
            if post.bot != stop.bot.name or post.key.partition(".")[0] in tests:
                continue
            if stop.paused_at + ADMISSION < post.began < stop.resumes_at:
                yield f"{post.bot} got an attempt {post.began - stop.paused_at:.1f} s after it was paused"
            # Earlier code takes no lease that says that an attempt is under way.
            sees_attempts = not findings.outcome.faults.has(Trouble.UPGRADE)
            if sees_attempts and post.began < stop.drained_at < post.ended:
                yield f"{post.bot} was drained during an attempt"
        if not findings.outcome.faults.has(*AWS_TROUBLES, Trouble.PUSHES):
            yield from _open_turns(findings, stop)


def _open_turns(findings: Findings, stop: Stop) -> Iterator[str]:
    """Yield the turns of a drained bot that went on. What is not known to be accepted is sent again."""
    deadline = min(findings.setting("ANSWER_DEADLINE_SECONDS"))
    for message in stop.bot.accepted:
        if message.told and stop.drained_at - deadline < message.at < stop.drained_at:
            parts = [part for part in stop.bot.parts if part.reply_to == message.id]
            ended = any(part.is_final and part.at < stop.drained_at for part in parts)
            if not ended and any(stop.drained_at < part.at for part in parts):
                yield f"{stop.bot.name} was drained, and {message.id} went on"


def keeps_order(findings: Findings) -> Iterator[str]:
    """A session's parts read in emission order; its messages reached LangBot in queue order, resends
    aside."""
    for session, parts in findings.parts.items():
        emitted = [
            findings.emitted[part["digest"]][1].at for part in parts if part["digest"] in findings.emitted
        ]
        if emitted != sorted(emitted):
            if findings.outcome.langbots[session.partition("#")[0]].clock_was_set:
                findings.counted["sessions out of order, LangBot's clock was set"] += 1
            else:
                yield f"the parts of {session} are out of order"
    for bot in findings.outcome.langbots.values():
        reached: dict[str, list[int]] = defaultdict(list)
        seen: set[str] = set()
        for message in bot.accepted:
            message_id = message.key.partition(".")[0]
            if message_id not in seen:
                seen.add(message_id)
                reached[message.session].append(int(message_id.partition("-")[2]))
        for session_id, numbers in reached.items():
            if numbers != sorted(numbers):
                yield f"the messages of {bot.name} {session_id} arrived as {numbers}"


def stores_and_tells_nothing_else(findings: Findings) -> Iterator[str]:
    """Nothing unsigned was stored; no secret, signature or text is in a log, or in an event beyond its
    contract."""
    deployment = findings.outcome.deployment
    for session, parts in findings.parts.items():
        if any("FORGED" in str(part) for part in parts):
            yield f"a forged part is stored in {session}"
    if any(b"FORGED" in raw for raw in deployment.s3.objects.values()):
        yield "a forged body is in the bucket"
    for line in findings.outcome.log:
        if any(word in line for word in ("SECRET", "PRIVATE", "REPLY", "TOKEN", "CONTEXT", "sha256=")):
            yield f"a log line tells too much: {line[:200]}"
    for kind, events in findings.events.items():
        text = json.dumps(events)
        if any(word in text for word in ("PRIVATE", "SECRET", "TOKEN")) or (
            kind != "Reply Completed" and "REPLY" in text
        ):
            yield f"an event {kind} tells too much"


def parks_for_good_reasons(findings: Findings) -> Iterator[str]:
    """No message was parked without having been tried, for the peer's fault before its time, or by anything
    but LangBot or its own invalidity at once."""
    refused = {key.partition(".")[0] for bot in findings.outcome.langbots.values() for key in bot.refused}
    for record in findings.records.values():
        if "parked_at" not in record:
            continue
        parked, reason = record["message_id"], record["reason"]
        if reason.startswith("tried for"):
            began = max(unix_seconds(record["first_failed_at"]), floor(findings.excused_until(record)))
            # The command takes the time of a pause from a server, in whole seconds.
            tried_for = unix_seconds(record["parked_at"]) - began
            if tried_for < min(findings.setting("RETRY_FOR_SECONDS")) and not findings.had_to_leave(record):
                yield f"{parked} was parked after {tried_for:.0f} s"
        elif reason == PAUSED_TOO_LONG:
            if findings.excused_until(record) < unix_seconds(record["parked_at"]):
                yield f"{parked} was parked for a pause, and its bot was not paused"
            if not findings.had_to_leave(record):
                yield f"{parked} was parked for a pause before its time"
        elif reason.startswith("no bot"):
            if record["bot"] not in ("nobody", *findings.outcome.diary.secret_gone):
                yield f"{parked} was parked though its bot is known: {reason}"
        elif record["attempts"] == 0:
            if "action" in record and not findings.had_to_leave(record):
                yield f"{parked} was parked without an attempt: {reason}"
        elif reason.startswith("answered 413"):
            continue  # it is about this message, also from a proxy
        elif record.get("action") != "reset" and parked not in refused and not findings.had_to_leave(record):
            yield f"{parked} was parked by another than LangBot: {reason}"


def publishes_what_is_true(findings: Findings) -> Iterator[str]:
    """What was promised to be published was, at least once, with one id for one thing; nothing untrue was."""
    for kind, at in (("Message Parked", "parked_at"), ("Message Unanswered", "unanswered_at")):
        told = {
            (event["data"]["key"]["session"], event["data"]["key"]["message"])
            for event in findings.events[kind]
        }
        erased = findings.outcome.deployment.tables["MessagesTable"].erased
        true = {key for key, record in findings.records.items() if at in record}
        true |= {key for key, versions in erased.items() if any(at in one for one in versions)}
        yield from (f"{kind} was not published of {key}" for key in true - told)
        yield from (f"{kind} was published of {key}" for key in told - true)
    told = {
        (event["data"]["read"]["session"], event["data"]["read"]["last"])
        for event in findings.events["Reply Completed"]
    }
    true = {
        (session, part["part"])
        for session, parts in findings.parts.items()
        for part in parts
        if part["is_final"]
    }
    yield from (f"Reply Completed was not published of {key}" for key in true - told)
    yield from (f"Reply Completed was published of {key}" for key in told - true)
    things: dict[str, set[str]] = defaultdict(set)
    ids: dict[str, set[str]] = defaultdict(set)
    for events in findings.events.values():
        for event in events:
            thing = _thing(event)
            things[event["id"]].add(thing)
            ids[thing].add(event["id"])
    yield from (f"one event id for {sorted(same)}" for same in things.values() if len(same) > 1)
    yield from (f"several event ids for {thing}" for thing, same in ids.items() if len(same) > 1)


def _thing(event: dict[str, Any]) -> str:
    """Return what an event is about; two events about one thing have one id."""
    data, of = event["data"], tuple[str, ...]()
    match event["type"]:
        case "Reply Completed":
            of = data["read"]["session"], data["read"]["last"]
        case "Message Parked" | "Message Unanswered":
            of = data["key"]["session"], data["key"]["message"], event["time"]
        case _:
            of = data["bot"], data["unreachable_since"]
    return f"{event['type']} {of}"


def publishes_each_context(findings: Findings) -> Iterator[str]:
    """Each event about a message has its context, also if it is about a resend or a merged message."""
    contexts = {said.sent.message_id: said.fields.get("context") for said in findings.outcome.diary.said}
    for kind, events in findings.events.items():
        for data in (event["data"] for event in events):
            for told in (data, *data.get("merged", [])):
                first = told.get("original_message_id", told.get("message_id"))
                if first in contexts and told.get("context") != contexts[first]:
                    yield f"{kind} of {first} has the context {told.get('context')}"


def ends_tasks_truly(findings: Findings) -> Iterator[str]:
    """Each task that waits for a message is told at least once what became of it, first of all the truth."""
    deployment = findings.outcome.deployment
    for said in findings.outcome.diary.said:
        record, token = findings.record_of(said), said.fields.get("reply_to_task")
        if record is None or token is None or record["session"] in findings.outcome.diary.erasing:
            continue
        chain = findings.with_resends(record)
        if told := deployment.tasks.outcomes[token]:
            for fault in _faults_of_outcome(findings, chain, *told[0]):
                yield f"the task of {said.sent.message_id} was told {told[0][1]}, {fault}"
        elif any(f"'{one['message']}'" in line for one in chain for line in findings.lost_tasks):
            findings.counted["tasks given up, AWS denied it"] += 1
        else:
            yield f"the task of {said.sent.message_id} waits, which is {chain[-1]['state']}"


ENDED_AT = {
    "MessageUnanswered": "unanswered_at",
    "MessageParked": "parked_at",
    "MessageDropped": "dropped_at",
}


def _faults_of_outcome(
    findings: Findings, chain: list[dict[str, Any]], at: float, outcome: str, data: dict[str, Any]
) -> Iterator[str]:
    record = next((one for one in chain if one["message_id"] == data["message_id"]), None)
    if record is None:
        yield "of another message"
    elif outcome != "success":
        if ENDED_AT[outcome] not in record:
            yield f"and it is {record['state']}"
    elif record["state"] != "answered":
        yield f"and it is {record['state']}"
    elif "read" in data:
        stored = findings.parts.get(record["session"], [])
        last = next(part for part in stored if part["part"] == data["read"]["last"])
        emitted = findings.emitted.get(last["digest"])
        if emitted and emitted[1].text not in data.get("text", emitted[1].text):
            yield "without the text of the part that answers it"
        own_came = findings.finals(record["session"], record.get("accepted_message_id"))
        waited = at - unix_seconds(last["sent_at"])
        if (
            last["reply_to"] not in ("", record.get("accepted_message_id"))
            and own_came
            and waited < MERGED_SLOT_TIMEOUT - INDEX_AND_CLOCKS
            and not findings.outcome.faults.has(Trouble.CLOCKS)
        ):
            yield f"with another message's turn, {waited:.0f} s after it"


def keeps_bots_apart(findings: Findings) -> Iterator[str]:
    """No bot waited for another's fault longer than the bound; no bot got more than it can hold."""
    scenario, faults = findings.outcome.scenario, findings.outcome.faults
    for bot in findings.outcome.langbots.values():
        if bot.dropped_turns and faults.has(Trouble.SILENCE):
            # A slot is given back after 180 s, and the silent turns of one session run one after the other.
            findings.counted["turns dropped behind silent ones"] += bot.dropped_turns
        elif bot.dropped_turns and scenario.max_in_flight:
            yield f"{bot.name} had {bot.most_in_hand} turns at once, and dropped {bot.dropped_turns}"
        if bot.most_in_hand > scenario.max_in_flight > 0 and not faults.scenario.troubles & SLOW_OR_UNCOUNTED:
            yield f"{bot.name} had {bot.most_in_hand} turns at once of {scenario.max_in_flight}"
        # If a FIFO queue is full, it hands out the messages of no bot.
        if bot.healthy and not bot.replies_by_push and scenario.queue_limit == IN_FLIGHT_LIMIT:
            for message in {one.text: one for one in reversed(bot.accepted)}.values():
                said = next((one for one in findings.outcome.diary.said if one.text == message.text), None)
                if said and message.at - said.at > _longest_wait(findings):
                    yield f"{said.sent.message_id} of {bot.name} waited {message.at - said.at:.0f} s"


def _longest_wait(findings: Findings) -> float:
    faults = findings.outcome.faults
    if faults.has(*AWS_TROUBLES, Trouble.ACTIONS, Trouble.SECRETS, Trouble.OPERATORS):
        return (
            findings.outcome.scenario.storm
            + 3 * KEY_LIFETIME
            + 4 * max(findings.setting("ANSWER_DEADLINE_SECONDS"))
        )
    return 60 if findings.outcome.scenario.max_in_flight in (0, 50) else 600


def makes_few_attempts_at_once(findings: Findings) -> Iterator[str]:
    """No more attempts are under way at a bot than it has leases."""
    faults = findings.outcome.faults
    # Earlier code took no such leases.
    for bot, attempts in findings.attempts.items():
        for one in attempts:
            at_once = sum(other.began <= one.began < other.ended for other in attempts)
            if at_once > LEASES and not faults.has(Trouble.UPGRADE):
                yield f"{bot} had {at_once} attempts at once"


def counts_attempts(findings: Findings) -> Iterator[str]:
    """A record has as many attempts as were made."""
    if findings.outcome.faults.has(*NOT_COUNTED):
        return
    made = Counter(one.key.partition(".")[0] for of_bot in findings.attempts.values() for one in of_bot)
    for record in findings.records.values():
        if not findings.was_erased(record) and record["attempts"] != made[record["message_id"]]:
            yield f"{record['message_id']} has {record['attempts']} attempts, of {made[record['message_id']]}"


def spares_a_failing_bot(findings: Findings) -> Iterator[str]:
    """A bot that fails gets one attempt at a time, and after each failure none for 2, 4, 8, ... 60 s."""
    if findings.outcome.faults.has(*NOT_COUNTED, Trouble.ROTATIONS):
        return
    for bot, attempts in findings.attempts.items():
        moments = [(one.began, "begins", one) for one in attempts]
        moments += [(_seen_end(one), "ends", one) for one in attempts]
        failures, failed_at, next_at = 0, 0.0, 0.0
        # A probe by a sync call can last longer than the next one waits.
        probes = list[Post]()
        for moment, what, one in sorted(moments, key=lambda entry: entry[0]):
            if what == "begins" and failures and moment > failed_at + MAX_RACE:
                if moment < next_at - MAX_RACE:
                    early = next_at - moment
                    yield f"{bot} got an attempt {early:.0f} s too early, after {failures} failures"
                probes.append(one)
                next_at = moment + max_attempt_seconds("push")
            elif what == "ends" and (one in probes or not failures):
                if _is_failure(one):
                    failures, failed_at = failures + 1, moment
                    at_most = MAX_RELOAD_WAIT if one.status == 404 else MAX_PAUSE
                    next_at = moment + min(2**failures, at_most)
                else:
                    failures = 0


def _seen_end(attempt: Post) -> float:
    """Return when push knew the end of an attempt: it does not wait for a connection that hangs longer."""
    seconds = ATTEMPT_TIMEOUT["sync" if attempt.path == PATHS["sync"] else "push"]
    return min(attempt.ended, attempt.began + seconds)


def _is_failure(attempt: Post) -> bool:
    """Tell whether the response to an attempt says for certain that the bot does not work."""
    return attempt.status in (None, 401, 404, 429) or (attempt.status >= 500 and attempt.path != "/reset")


def sends_what_was_said(findings: Findings) -> Iterator[str]:
    """What LangBot accepted is what was said in the session."""
    said = findings.outcome.diary.tried
    for bot in findings.outcome.langbots.values():
        for message in bot.accepted:
            known = (bot.name, message.session, message.text) in said
            if not known and not message.session.startswith(TRIAL_SESSION):
                yield f"{message.id} of {bot.name} {message.session} says {message.text[:20]!r}"


def tells_readers_the_end(findings: Findings) -> Iterator[str]:
    """`Conversation.wait` gives the reply to a message, or to its last resend, or says why there is none.

    LangBot can still reply after an operator has dropped the message: its reader may get that reply.
    """
    if any(table.expired for table in findings.outcome.deployment.tables.values()):
        return
    for said in findings.outcome.diary.said:
        record = findings.record_of(said)
        got = findings.outcome.waits.get(said.sent.message_id)
        if record is None or got is None:
            continue  # another promise says so
        if record["session"] in findings.outcome.diary.erasing:
            continue
        chain = findings.with_resends(record)
        answered = next((one for one in chain if one["state"] == "answered"), None)
        # Which of several finals it is depends on how many parts came after them.
        replies = _replies(findings, answered or chain[-1])
        has_reply = got.startswith("says ") and any(text in got for text in replies)
        if chain[-1]["state"] == "parked":
            told = got == f"MessageParked: {chain[-1]['reason']}"
        elif answered:
            told = has_reply
        elif chain[-1]["state"] == "dropped":
            told = has_reply or got.startswith("MessageParked")
        else:
            told = got.startswith("ReplyTimeout")
        if not told:
            yield f"{said.sent.message_id} is {chain[-1]['state']}, and its reader got {got[:60]!r}"


def erases_a_session_and_no_more(findings: Findings) -> Iterator[str]:
    """Of an erased session only what came later is left; of another one, and of what push needs, all is."""
    diary, deployment = findings.outcome.diary, findings.outcome.deployment
    tables = deployment.tables
    expired = {
        item["overflow"]["S"]
        for one in tables.values()
        for item in one.expired.values()
        if "overflow" in item
    }
    for erasure in diary.erased:
        for name, key, item in erasure.items:
            # A part that callback or LangBot sent twice can come again.
            if tables[name].items.get(key) is item and key not in tables[name].erased:
                yield f"{key} is still in {name}"
        for path, raw in erasure.bodies.items():
            # The body of an item that expires meanwhile expires as well, by the rule of the bucket.
            if deployment.s3.objects.get(path) is raw and path not in {*deployment.s3.erased, *expired}:
                yield f"{path} of {erasure.session} is still in the bucket"
    for table in tables.values():
        for key, versions in table.erased.items():
            if key[0] not in diary.erasing:
                yield f"{key} was erased with another session"
            if {"S": "retrying"} in [item.get("state") for item in versions]:
                yield f"{key} was erased while push retried it"
    erased_at = deployment.tables["MessagesTable"].erased_at
    for key, versions in deployment.tables["MessagesTable"].erased.items():
        message_id = versions[-1]["message_id"]["S"]
        for post in findings.outcome.posts:
            if post.key.startswith(f"{message_id}.") and post.began > erased_at[key]:
                yield f"{message_id} was sent again after it was erased"
    for path, raw in deployment.s3.erased.items():
        if session_id_in(raw) not in {session.partition("#")[2] for session in diary.erasing}:
            yield f"{path} was erased with another session"


def _replies(findings: Findings, record: dict[str, Any]) -> list[str]:
    """Return the texts of the parts that can be the end of the reply to a message."""
    session, stored = record["session"], findings.parts.get(record["session"], [])
    ends = [part for part in stored if part["part"] == record.get("answer_part")]
    for reply_to in (record.get("answered_by"), record.get("accepted_message_id")):
        ends += findings.finals(session, reply_to) if reply_to else []
    # What push has stored of a sync call LangBot has not emitted.
    return [
        findings.emitted[part["digest"]][1].text if part["digest"] in findings.emitted else ""
        for part in ends
    ]


PROMISES: tuple[Promise, ...] = (
    goes_quiet,
    has_one_true_state,
    is_accepted_once,
    resends_many_in_order,
    sends_nothing_that_is_cancelled,
    keeps_parts_once,
    rotates_without_a_gap,
    spares_a_paused_bot,
    keeps_order,
    stores_and_tells_nothing_else,
    parks_for_good_reasons,
    publishes_what_is_true,
    publishes_each_context,
    ends_tasks_truly,
    keeps_bots_apart,
    makes_few_attempts_at_once,
    counts_attempts,
    spares_a_failing_bot,
    sends_what_was_said,
    tells_readers_the_end,
    erases_a_session_and_no_more,
)


def check(outcome: Outcome) -> tuple[list[str], dict[str, int]]:
    """Return each broken promise, and the counts of what the documents except."""
    findings = Findings(outcome)
    broken = [f"{promise.__name__}: {fault}" for promise in PROMISES for fault in promise(findings)]
    return broken, findings.counted
