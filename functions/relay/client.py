"""The client: sends messages through the push queue and reads conversations from the tables."""

import json
import logging
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import boto3
from botocore.exceptions import ClientError

from relay.edge.ledger import Ledger
from relay.edge.queues import MAX_MESSAGE
from relay.edge.replies import whole
from relay.edge.table import query
from relay.rules.ledger import State, from_utc, message_key
from relay.rules.message import InvalidMessage, parse, request_body, session_key
from relay.rules.part import ZONES, utc
from relay.rules.segments import Segment
from relay.rules.turn import Turn, turns

log = logging.getLogger(__name__)

LOOK = 60
"""Seconds for which whoever looks through ParkedQueue hides its messages from others, at the most."""

# What SQS takes for a message group id.
_GROUP = re.compile(r"[!-~]{1,128}")


class StackNotFound(Exception):
    """There is no such stack, or it is not a LangBot Relay."""


class Parked(Exception):
    """The message will not be tried again unless somebody asks, or was dropped; the text is the reason."""


class NotOpen(Exception):
    """The message did not end badly, so there is nothing to do about it; the text says what became of it."""


class NotAnswered(TimeoutError):
    """There is no finished reply in time; the text says what became of the message."""


@dataclass(frozen=True)
class Stack:
    """Where a deployed relay is: its outputs, and for a local one its endpoint."""

    push_queue_url: str
    parked_queue_url: str
    messages_table: str
    replies_table: str
    overflow_bucket: str
    region: str | None = None
    endpoint_url: str | None = None

    @classmethod
    def from_file(cls, path: str | Path = ".local/outputs.json") -> Self:
        """The local stack, from the file that `make local` writes. Raises StackNotFound."""
        try:
            outputs = json.loads(Path(path).read_text("utf-8"))
        except FileNotFoundError:
            raise StackNotFound(f"no local stack here: there is no {path}; `make local` starts one") from None
        return cls._from_outputs(outputs)

    @classmethod
    def from_cloudformation(cls, name: str) -> Self:
        """A deployed stack, with the credentials and region that boto3 finds. Raises StackNotFound."""
        cloudformation = boto3.client("cloudformation")
        try:
            stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        except ClientError as error:
            raise StackNotFound(f"stack {name}: {error.response['Error']['Message']}") from None
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
        return cls._from_outputs(outputs | {"Region": cloudformation.meta.region_name})

    @classmethod
    def _from_outputs(cls, outputs: dict[str, str]) -> Self:
        try:
            return cls(
                push_queue_url=outputs["PushQueueUrl"],
                parked_queue_url=outputs["ParkedQueueUrl"],
                messages_table=outputs["MessagesTableName"],
                replies_table=outputs["RepliesTableName"],
                overflow_bucket=outputs["OverflowBucketName"],
                region=outputs.get("Region"),
                endpoint_url=outputs.get("EndpointUrl"),
            )
        except KeyError as missing:
            raise StackNotFound(f"this is not a LangBot Relay: it has no output {missing}") from None

    def client(self, service: str) -> Any:
        """A boto3 client for this stack."""
        local = {"aws_access_key_id": "test", "aws_secret_access_key": "test"} if self.endpoint_url else {}
        return boto3.client(  # type: ignore[call-overload]
            service, region_name=self.region, endpoint_url=self.endpoint_url, **local
        )


@dataclass(frozen=True)
class Sent:
    """A message that is on the push queue; with the session it names the message in the ledger."""

    bot: str
    session_id: str
    message_id: str
    sequence_number: str


class Queue:
    """The push queue of a stack."""

    def __init__(self, stack: Stack) -> None:
        self._url = stack.push_queue_url
        self._sqs = stack.client("sqs")

    def push(
        self,
        session_id: str,
        text: str | None = None,
        *,
        message: list[Segment] | None = None,
        bot: str = "default",
        action: str = "push",
        session_type: str | None = None,
        sender: dict[str, str] | None = None,
        expect_reply: bool | None = None,
        deduplication_id: str | None = None,
    ) -> Sent:
        """Sends a message as the session's next: a text, or LangBot's segments.

        The same text twice is two messages; a `deduplication_id` of the caller's makes a repeat
        within five minutes one. Raises InvalidMessage, which names the field, and botocore's errors.
        """
        fields = {
            "session_id": session_id,
            "text": text,
            "message": message,
            "bot": bot,
            "action": action,
            "session_type": session_type,
            "sender": sender,
            "expect_reply": expect_reply,
        }
        try:
            body = json.dumps({k: v for k, v in fields.items() if v is not None}, ensure_ascii=False)
            size = len(body.encode())
        except UnicodeEncodeError:
            raise InvalidMessage("a text holds a lone surrogate") from None
        request_body(parse(body), session_type)
        if size > MAX_MESSAGE:
            raise InvalidMessage(f"the message is {size} bytes; SQS takes {MAX_MESSAGE}")
        answer = self._sqs.send_message(
            QueueUrl=self._url,
            MessageBody=body,
            MessageGroupId=group_id(bot, session_id),
            MessageDeduplicationId=deduplication_id or uuid4().hex,
        )
        return Sent(bot, session_id, answer["MessageId"], answer["SequenceNumber"])


def group_id(bot: str, session_id: str) -> str:
    """The message group of a session, valid for SQS whatever the session is called."""
    key = session_key(bot, session_id)
    return key if _GROUP.fullmatch(key) else sha256(key.encode()).hexdigest()


class Messages:
    """What became of messages, and what somebody can do about those that ended badly.

    Whatever is cut off halfway can be done again: it ends the same.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._sqs = stack.client("sqs")
        self._ledger = Ledger(
            stack.client("dynamodb"), stack.messages_table, stack.client("s3"), stack.overflow_bucket
        )

    def parked(self) -> Iterator[dict[str, Any]]:
        """The entries of all parked messages, in the order of their parking."""
        return self._ledger.parked()

    def of_session(self, session_id: str, bot: str = "default") -> Iterator[dict[str, Any]]:
        """The entries of a session's messages, in queue order.

        A message that cannot be read stands under its message group and the bot "".
        """
        return self._ledger.of_session(session_key(bot, session_id))

    def body(self, item: dict[str, Any]) -> str:
        """The message of an entry, as it was queued."""
        return self._ledger.body(item)

    def resend(self, item: dict[str, Any]) -> Sent | None:
        """Sends a parked or unanswered message again, as its session's next; None where that was done before.

        However often and by how many it is asked for, it is sent once: push sees to that, by the entry.
        Raises NotOpen, and InvalidMessage for one that would only be parked again.
        """
        match item["state"]:
            case State.RESENT:
                sent = None
            case State.PARKED | State.UNANSWERED:
                sent = self._send(item)
            case state:
                raise NotOpen(f"the message is {state}: only a parked or unanswered one can be sent again")
        self._off_the_parked_queue(item)
        return sent

    def _send(self, item: dict[str, Any]) -> Sent:
        body = self.body(item)
        message = parse(body)
        answer = self._sqs.send_message(
            QueueUrl=self._stack.push_queue_url,
            MessageBody=body,
            MessageGroupId=group_id(message.bot, message.session_id),
            MessageDeduplicationId=f"resend-{item['message_id']}",
            MessageAttributes={"resend_of": {"DataType": "String", "StringValue": item["message"]}},
        )
        return Sent(message.bot, message.session_id, answer["MessageId"], answer["SequenceNumber"])

    def drop(self, item: dict[str, Any], reason: str) -> None:
        """Closes a parked or unanswered message for good, with a reason. Raises NotOpen."""
        if not self._ledger.drop(item, reason, time.time()):
            state = (self._ledger.read(item) or item)["state"]
            if state != State.DROPPED:
                raise NotOpen(f"the message is {state}: only a parked or unanswered one can be dropped")
        self._off_the_parked_queue(item)

    def _off_the_parked_queue(self, item: dict[str, Any]) -> None:
        """Deletes a message from ParkedQueue, if it is there; waits while others hide it by looking."""
        deadline = time.monotonic() + LOOK
        while (found := self._delete(item["message_id"])) is None and time.monotonic() < deadline:
            # Not in step with others who look for theirs.
            time.sleep(random.uniform(0.1, 1))  # noqa: S311
        if not found and item["state"] == State.PARKED:
            log.warning("not seen on ParkedQueue; if the alarm stays up, give the same command again")

    def _delete(self, message_id: str) -> bool | None:
        """Whether it deleted a message of ParkedQueue; None where others hide some, and it may be theirs.

        What else it looked at is seen again at once.
        """
        url = self._stack.parked_queue_url
        others: dict[str, str] = {}
        try:
            while messages := self._look(url):
                known = len(others)
                found = None
                for message in messages:
                    if message["Attributes"]["MessageDeduplicationId"] == message_id:
                        found = message
                    else:
                        others[message["MessageId"]] = message["ReceiptHandle"]
                if found:
                    self._sqs.delete_message(QueueUrl=url, ReceiptHandle=found["ReceiptHandle"])
                    return True
                if len(others) == known:  # the first ones are back already: too many to look through
                    return None
            # While it holds them: what was let go since would be no proof.
            return False if self._holds_all(len(others)) else None
        finally:
            handles = list(others.values())
            for begin in range(0, len(handles), 10):
                # Where that fails, they are seen again a little later.
                self._sqs.change_message_visibility_batch(
                    QueueUrl=url,
                    Entries=[
                        {"Id": str(n), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                        for n, handle in enumerate(handles[begin : begin + 10])
                    ],
                )

    def _holds_all(self, held: int) -> bool:
        """Whether ParkedQueue has no more than so many messages, as far as SQS knows."""
        answer = self._sqs.get_queue_attributes(
            QueueUrl=self._stack.parked_queue_url,
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )
        return sum(int(count) for count in answer["Attributes"].values()) <= held

    def _look(self, url: str) -> list[dict[str, Any]]:
        answer = self._sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            AttributeNames=["MessageDeduplicationId"],
            VisibilityTimeout=LOOK,
            WaitTimeSeconds=1,
        )
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        return messages


class Conversation:
    """The replies of one session."""

    def __init__(self, stack: Stack, session_id: str, bot: str = "default") -> None:
        self._stack = stack
        self._session = session_key(bot, session_id)
        self._dynamodb = stack.client("dynamodb")
        self._s3: Any = None

    def parts(self, after: str = "") -> list[dict[str, Any]]:
        """The raw parts in order, overflow resolved; `after` is the `part` of one, or where to begin."""
        return list(self._parts(after))

    def turns(self) -> list[Turn]:
        """The turns of the session, each with its reply, finished or not."""
        return turns(self._parts(""))

    def wait(self, message: Sent, timeout: float = 60) -> Turn:
        """The finished turn that answers `message`, for which it waits `timeout` seconds.

        That is its own turn; if there is none by then, the one that it was merged into. Some bots
        speak again after a final part, and nothing says so beforehand: `turns` has it then.

        Raises Parked, and NotAnswered when the time is over.
        """
        ledger = Ledger(self._dynamodb, self._stack.messages_table)
        key = {"session": self._session, "message": message_key(message.sequence_number)}
        deadline = time.monotonic() + timeout
        while True:
            item = ledger.read(key) or {}
            match item.get("state"):
                case State.PARKED:
                    raise Parked(item["reason"])
                case State.DROPPED:
                    raise Parked(f"dropped: {item['drop_reason']}")
                case State.RESENT:
                    key["message"] = item["resent_as"]
                    continue
            if turn := self._finished(item, item.get("accepted_message_id")):
                return turn
            if time.monotonic() >= deadline:
                if turn := self._finished(item, item.get("answered_by")):
                    return turn
                state = item.get("state", "still on the push queue")
                raise NotAnswered(f"no finished reply within {timeout:g} s; the message is {state}")
            time.sleep(0.3)

    def _finished(self, item: dict[str, Any], reply_to: str | None) -> Turn | None:
        """The turn `reply_to` of the message `item`, if it is finished."""
        if reply_to is None:
            return None
        # Nothing of the reply can bear an earlier stamp than this, wherever LangBot's host is; of a turn
        # that took in later messages, the final part is later too.
        since = utc(from_utc(item["delivered_at"]) - ZONES)
        own = [part for part in self._parts(since) if part["reply_to"] == reply_to]
        return turns(own)[0] if own and own[-1]["is_final"] else None

    def _parts(self, after: str) -> Iterator[dict[str, Any]]:
        found = query(
            self._dynamodb,
            self._stack.replies_table,
            "#s = :s AND #p > :p",
            {"#s": "session", "#p": "part"},
            # No key sorts before a space.
            {":s": self._session, ":p": after or " "},
            ConsistentRead=True,
        )
        return map(self._resolved, found)

    def _resolved(self, part: dict[str, Any]) -> dict[str, Any]:
        if "overflow" not in part:
            return part
        self._s3 = self._s3 or self._stack.client("s3")
        return whole(part, self._s3, self._stack.overflow_bucket)
