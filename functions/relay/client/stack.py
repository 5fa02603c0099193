"""Stack: where a deployed relay is."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any, Self

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from relay.adapters.admission_control import AdmissionControl
from relay.adapters.awaiting_index import AwaitingIndex
from relay.adapters.aws import lazy_client
from relay.adapters.dynamodb import Table, with_fast_reads
from relay.adapters.function_logs import FunctionLogs
from relay.adapters.message_queue import MessageQueue
from relay.adapters.messages_table import MessagesTable
from relay.adapters.overflow_bucket import OverflowBucket
from relay.adapters.replies_table import RepliesTable
from relay.errors import StackNotFound

_WITHOUT_FILES = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
    "ca_bundle": (None, None, None, None),
}
"""botocore's settings by name: what names them in a file and in the environment, and their values."""


@dataclass(frozen=True)
class Stack:
    """A deployed relay: its outputs, and for a local one its endpoint.

    >>> stack = Stack.from_cloudformation("langbot-relay")
    >>> PushQueue(stack).push("ticket-1", "Where is my order?")
    """

    push_queue_url: str
    messages_table: str
    replies_table: str
    overflow_bucket: str
    bot_secret_prefix: str
    default_callback_url: str
    log_groups: Mapping[str, str] = field(hash=False)
    region: str | None = None
    endpoint_url: str | None = None

    @classmethod
    def from_file(cls, path: str | Path = ".local/outputs.json") -> Self:
        """Return the local stack, from the file that `make local` writes. Raise StackNotFound."""
        try:
            outputs = json.loads(Path(path).read_text("utf-8"))
        except FileNotFoundError:
            raise StackNotFound(f"no local stack here: there is no {path}; `make local` starts one") from None
        except ValueError:
            raise StackNotFound(f"{path} is not JSON; `make local` writes it") from None
        # Without an endpoint the library would send with real credentials to the queue that the file names.
        if not isinstance(outputs, dict) or not outputs.get("EndpointUrl"):
            raise StackNotFound(
                f"{path} has no EndpointUrl, so its stack is not local: `make local` starts a local one; "
                "name a deployed one with --stack or Stack.from_cloudformation"
            )
        return cls._from_outputs(outputs)

    @classmethod
    def from_cloudformation(cls, name: str) -> Self:
        """Return a deployed stack, by the credentials and region that boto3 finds. Raise StackNotFound."""
        # boto3 reads AWS_DEFAULT_REGION alone; the AWS CLI and other SDKs read this one first.
        cloudformation = boto3.client("cloudformation", region_name=os.environ.get("AWS_REGION") or None)
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
                messages_table=outputs["MessagesTableName"],
                replies_table=outputs["RepliesTableName"],
                overflow_bucket=outputs["OverflowBucketName"],
                bot_secret_prefix=outputs["BotSecretPrefix"],
                default_callback_url=outputs["CallbackUrl"],
                log_groups={
                    name: outputs[f"{name.capitalize()}LogGroupName"]
                    for name in ("push", "callback", "settle", "publish")
                },
                region=outputs.get("Region"),
                endpoint_url=outputs.get("EndpointUrl"),
            )
        except KeyError as missing:
            raise StackNotFound(f"this is not a LangBot Relay: it has no output {missing}") from None

    @property
    def name(self) -> str:
        """Return the name of the stack in CloudFormation."""
        return self.bot_secret_prefix.partition("/")[0]

    def callback_url(self, bot: str) -> str:
        """Return the URL to which LangBot must post the replies of a bot."""
        return self.default_callback_url.removesuffix("default") + bot

    @cache  # noqa: B019 - there are few stacks, and clients are shared on purpose
    def client(self, service: str) -> Any:
        """Return the boto3 client for a service of this stack. It is made once, and threads may share it."""
        if self.endpoint_url is None:
            client = boto3.client(service, region_name=self.region)  # type: ignore[call-overload]
            return with_fast_reads(client)
        # Profiles and proxies are for other work: they must not reach a local stack.
        session = botocore.session.Session(_WITHOUT_FILES)
        client = boto3.Session(botocore_session=session).client(  # type: ignore[call-overload]
            service,
            region_name=self.region,
            endpoint_url=self.endpoint_url,
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - no secret
            config=Config(proxies={}),
        )
        return with_fast_reads(client)

    def now(self) -> float:
        """Return AWS's time in whole Unix seconds: the clock of this computer may be off.

        Raise botocore's errors.
        """
        # This call needs no permission.
        response = self.client("sts").get_caller_identity()["ResponseMetadata"]
        return parsedate_to_datetime(response["HTTPHeaders"]["date"]).timestamp()

    def open_messages_table(self) -> MessagesTable:
        """Open MessagesTable for reading and writing."""
        return MessagesTable(Table(self.client("dynamodb"), self.messages_table), self.open_overflow_bucket())

    def open_awaiting_index(self) -> AwaitingIndex:
        """Open the index of what waits for reading."""
        return AwaitingIndex(Table(self.client("dynamodb"), self.messages_table))

    def open_admission_control(self) -> AdmissionControl:
        """Open the states of the bots for changing; it admits no message."""
        table = Table(self.client("dynamodb"), self.messages_table)
        return AdmissionControl(table, max_in_flight=0, answer_deadline=0)

    def open_message_queue(self) -> MessageQueue:
        """Open PushQueue for sending."""
        return MessageQueue(self.client("sqs"), self.push_queue_url)

    def open_replies_table(self) -> RepliesTable:
        """Open RepliesTable for reading and writing."""
        return RepliesTable(Table(self.client("dynamodb"), self.replies_table), self.open_overflow_bucket())

    def open_logs(self) -> FunctionLogs:
        """Open the functions' logs for reading."""
        return FunctionLogs(self.client("logs"), self.log_groups)

    def open_overflow_bucket(self) -> OverflowBucket:
        """Open OverflowBucket for reading and writing."""
        return OverflowBucket(lazy_client(lambda: self.client("s3")), self.overflow_bucket)
