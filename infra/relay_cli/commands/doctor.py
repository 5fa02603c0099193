"""relay doctor: check a stack and its bots from end to end, and send no message."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import chain, islice, starmap
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import relay
from relay.adapters.queue_size import queue_size
from relay.domain.admission import BotState
from relay.domain.bot import Bot, parse_bot
from relay.domain.diagnosis import RefusedCallback, command
from relay.domain.record import MessageRecord
from relay.domain.signing import Refusal, sign
from relay.domain.states import State
from relay.domain.timestamps import DAY, utc_text
from relay.log_fields import PROBE
from relay_cli import health, langbot_api
from relay_cli.arguments import STACK
from relay_cli.connection import RelayBot, find_bot, plan, without_query
from relay_cli.deployment import Deployment
from relay_cli.finding import Finding, fault, note, ok, show
from relay_cli.langbot_api import Json, LangBotApi, response_fields
from relay_cli.routes import read_routes
from relay_cli.terminal import CommandFailed

if TYPE_CHECKING:  # it is imported when a command needs it
    import requests

    from relay.adapters.function_logs import LogLine

SILENT_MESSAGES = 3
"""Unanswered messages of an agent whose runs are looked for."""

REFUSED_FOR = 3600
"""Seconds for which a refused callback counts."""

MOST_NAMES = 100
"""Names of bots that do not exist of which the nearest bot is looked for, those with most callbacks."""

SHOWN_NAMES = 3
"""Names of bots that do not exist and that are shown, those with most callbacks."""


def add_commands(commands: Any) -> None:
    """Add the command to the command line."""
    doctor = commands.add_parser("doctor", parents=[STACK], help="check a stack and its bots, say what to do")
    doctor.add_argument("--bot", help="which bot (default: all)")
    langbot_api.add_options(doctor, required=False)
    doctor.set_defaults(run=run_doctor)


def run_doctor(stack: relay.Stack, options: argparse.Namespace) -> int:
    """Print a line for each check; return 1 if one of them found a fault."""
    api = langbot_api.from_options(options) if options.langbot else None
    return 0 if show(check(stack, options.bot, api), options) else 1


def check(stack: relay.Stack, only: str | None, api: LangBotApi | None) -> Iterator[Finding]:
    """Check a stack, and one of its bots or all."""
    doctor = _Doctor(stack)
    for name, look in (
        ("deletion", doctor.deletion),
        ("event bus", doctor.event_bus),
        ("queues", doctor.queues),
        ("triggers", doctor.triggers),
        ("alarms", doctor.alarms),
        ("roles", doctor.roles),
        ("concurrency", doctor.concurrency),
        ("API throttle", doctor.throttle),
        ("callback URL", doctor.callback_url),
        ("callbacks", partial(doctor.unknown_bots, only)),
    ):
        yield from _tried(name, look)
    admin = relay.BotAdmin(stack)
    for name in [only] if only else admin.names():
        looks = {"bot": partial(doctor.bot, name, api), "callbacks": partial(doctor.refusals, name)}
        for found in chain.from_iterable(starmap(_tried, looks.items())):
            yield replace(found, check=f"{name}: {found.check}")


def _tried(name: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Return what a check finds; if AWS refuses it or has none of it, return that it was skipped."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield from look()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        yield note(name, f"could not be checked: {error.operation_name} was answered {code}")
    except BotoCoreError as error:
        yield note(name, f"could not be checked: {error}")


class _Doctor:
    """The checks. They raise botocore's errors."""

    def __init__(self, stack: relay.Stack) -> None:
        self._stack = stack
        self._deployment = Deployment(stack)
        self._admin = relay.BotAdmin(stack)
        self._aws_clock: float | None = None

    def deletion(self) -> Iterator[Finding]:
        if self._deployment.is_protected:
            yield ok("deletion", "CloudFormation refuses it")
            return
        command = "aws cloudformation update-termination-protection --enable-termination-protection"
        advice = f"for production: {command} --stack-name {self._stack.name}"
        yield note("deletion", "a deletion by mistake would take all tables, queues and secrets", advice)

    def event_bus(self) -> Iterator[Finding]:
        events = self._stack.client("events")
        name = self._deployment.parameters["EventBus"]
        try:
            events.describe_event_bus(Name=name)
        except events.exceptions.ResourceNotFoundException:
            yield fault("event bus", f"there is no {name}", "make it, or deploy with another EventBus")
        else:
            yield ok("event bus", f"{name} is there")

    def queues(self) -> Iterator[Finding]:
        ages = self._maxima(
            {
                "Namespace": "AWS/SQS",
                "MetricName": "ApproximateAgeOfOldestMessage",
                "Dimensions": [{"Name": "QueueName", "Value": self._stack.push_queue_url.rpartition("/")[2]}],
            },
            seconds=900,
        )
        late = {
            "Namespace": f"LangBotRelay/{self._stack.name}",
            "MetricName": "LateMessages",
            "Dimensions": [],
        }
        states = map(BotState.of, self._stack.open_messages_table().bot_items())
        paused = [str(state.item["message"]) for state in states if state.paused_since]
        waiting = self._size(self._stack.push_queue_url)
        yield health.age_finding(ages, bool(self._maxima(late, 900)), waiting, paused)
        parked = self._stack.open_awaiting_index().count_parked()
        yield health.queue_finding("parked", parked, "`relay waiting` says why; resend or drop them")
        if spill := self._deployment.resources.get("SpillQueue"):
            advice = "RepliesTable or OverflowBucket does not take parts: look into the log of callback"
            yield health.queue_finding("spilled", self._size(spill), advice)

    def _size(self, queue_url: str) -> int:
        return queue_size(self._stack.client("sqs"), queue_url)

    def _maxima(self, metric: Json, seconds: int) -> list[float]:
        """Return the maxima of a metric in the last seconds: by the hour, or by the minute."""
        now = time.time()
        found = self._stack.client("cloudwatch").get_metric_statistics(
            **{name: metric[name] for name in ("Namespace", "MetricName", "Dimensions")},
            StartTime=now - seconds,
            EndTime=now,
            Period=60 if seconds <= 3600 else 3600,
            Statistics=["Maximum"],
        )
        return [point["Maximum"] for point in found["Datapoints"]]

    def triggers(self) -> Iterator[Finding]:
        functions = self._stack.client("lambda")
        mappings: list[Json] = []
        for name in ("PushFunction", "CallbackFunction", "SettleFunction", "PublishFunction"):
            found = functions.list_event_source_mappings(FunctionName=self._deployment.resources[name])
            mappings += found["EventSourceMappings"]
        yield from health.trigger_findings(mappings)

    def alarms(self) -> Iterator[Finding]:
        # Not by a prefix: the name of another stack can go on with a dash.
        names = [of for name, of in self._deployment.resources.items() if name.endswith("Alarm")]
        found = self._stack.client("cloudwatch").describe_alarms(AlarmNames=names)
        topic = self._deployment.resources.get("AlarmTopic")
        confirmed = 0
        if topic:
            listed = self._stack.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
            confirmed = sum(one["SubscriptionArn"].startswith("arn:") for one in listed)
        alarms = found["MetricAlarms"]
        yield from health.alarm_findings(alarms, bool(topic), confirmed)
        # The relay writes a value of its own only when there is something to count.
        of_aws = [one for one in alarms if one["Namespace"].startswith("AWS/")]
        silent = [one["AlarmName"] for one in of_aws if not self._maxima(one, DAY)]
        yield health.metric_finding(silent, len(of_aws))

    def roles(self) -> Iterator[Finding]:
        cloudformation = self._stack.client("cloudformation")
        roles = [name for name in self._deployment.resources if name.endswith("Role")]
        changed = []
        for role in roles:
            found = cloudformation.detect_stack_resource_drift(
                StackName=self._stack.name, LogicalResourceId=role
            )
            if found["StackResourceDrift"]["StackResourceDriftStatus"] != "IN_SYNC":
                changed.append(role)
        yield health.role_finding(changed, len(roles))

    def concurrency(self) -> Iterator[Finding]:
        limit = self._stack.client("lambda").get_account_settings()["AccountLimit"]
        used = {"Namespace": "AWS/Lambda", "MetricName": "UnreservedConcurrentExecutions", "Dimensions": []}
        most = max(self._maxima(used, DAY), default=0)
        yield health.concurrency_finding(limit["UnreservedConcurrentExecutions"], most)
        parameters = self._deployment.parameters
        names = ("PushReservedConcurrency", "PushMaximumConcurrency")
        yield health.reserved_finding(*(int(parameters[name]) for name in names))

    def throttle(self) -> Iterator[Finding]:
        stages = self._stack.client("apigatewayv2").get_stages(
            ApiId=self._deployment.resources["CallbackApi"]
        )
        account = self._stack.client("apigateway").get_account()["throttleSettings"]["rateLimit"]
        yield health.throttle_finding(stages["Items"][0].get("DefaultRouteSettings", {}), account)

    def callback_url(self) -> Iterator[Finding]:
        response = _post(self._stack.callback_url(PROBE), {})
        if isinstance(response, str):
            yield fault("callback URL", response, "API Gateway must be reachable for LangBot too")
            return
        yield health.callback_finding(response.status_code)
        self._aws_clock = _ahead_of_here(response)
        if self._aws_clock is not None:
            yield health.clock_finding("clock here", -self._aws_clock)

    def unknown_bots(self, only: str | None) -> Iterator[Finding]:
        """Judge the callbacks for names that no bot has, each of which can be a slip in LangBot's form.

        With `only`, those whose name is most like that bot's.
        """
        lines = self._stack.open_logs().refusals(
            "reason", Refusal.UNKNOWN_BOT, self._stack.now() - REFUSED_FOR
        )
        bots = self._admin.names()
        nearest = {
            name: (get_close_matches(name, bots, n=1, cutoff=0) or ["default"])[0]
            for name, _ in Counter(str(line.fields["bot"]) for line in lines).most_common(MOST_NAMES)
        }
        names = [name for name in nearest if only in (None, nearest[name])]
        for name in names[:SHOWN_NAMES]:
            of_name = [line for line in lines if line.fields["bot"] == name]
            yield _refusal_finding(of_name, self._stack.callback_url(nearest[name]))

    def refusals(self, name: str) -> Iterator[Finding]:
        """Judge the callbacks for a bot that were refused."""
        lines = self._stack.open_logs().refusals("bot", name, self._stack.now() - REFUSED_FOR)
        if lines:
            yield _refusal_finding(lines, self._stack.callback_url(name))
        else:
            yield ok("callbacks", "none was refused in the last hour")

    def bot(self, name: str, api: LangBotApi | None) -> Iterator[Finding]:
        secret = self._admin.secret(name)
        if secret is None:
            yield fault("secret", "there is none", f"`relay connect --bot {name}` makes it")
            return
        bot = parse_bot(name, secret)
        connect = self._connect(bot, api)
        yield health.secret_finding(bot, connect)
        state = self._admin.state(name)
        yield health.circuit_finding(name, state)
        yield from health.pause_findings(name, state, self._stack.now())
        most = int(self._deployment.parameters["MaxInFlight"])
        yield health.slots_finding(name, len(self._admin.open_messages(name)), most)
        if bot.url and bot.inbound_secrets:
            yield from self._at_its_url(bot, connect)
        if api is None:
            text = f"not read: give --langbot URL, and an API key in {langbot_api.API_KEY}"
            yield note("LangBot's form", text)
            return
        try:
            yield from self._in_langbot(RelayBot(name, secret, self._stack.callback_url(name)), api)
        except CommandFailed as failed:
            yield fault("LangBot's API", str(failed))

    @staticmethod
    def _connect(bot: Bot, api: LangBotApi | None) -> str:
        """Return the command that connects a bot; a LangBot that is not given is most likely at its url."""
        url = urlsplit(without_query(bot))
        langbot = api.url if api else f"{url.scheme}://{url.netloc}" if url.netloc else "URL"
        return command("connect", "--bot", bot.name, "--langbot", langbot)

    def _at_its_url(self, bot: Bot, connect: str) -> Iterator[Finding]:
        now = str(int(time.time()))
        signature = sign(bot.inbound_secrets[0], now, b"{}")
        signed = _post(bot.endpoint(""), {"X-LB-Timestamp": now, "X-LB-Signature": signature})
        if isinstance(signed, str):
            text = f"{signed}, seen from this computer"
            yield note("url", text, f"`relay bots test {bot.name}` tells whether Lambda reaches it")
            return
        found = health.url_finding(signed.status_code, response_fields(signed), connect)
        yield found
        if found.ok:
            unsigned = _post(bot.endpoint(""), {})
            if not isinstance(unsigned, str):
                yield health.signature_finding(unsigned.status_code, connect)
        ahead = _ahead_of_here(signed)
        if ahead is not None and self._aws_clock is not None:
            yield health.clock_finding("clock of LangBot", ahead - self._aws_clock)

    def _in_langbot(self, relay_bot: RelayBot, api: LangBotApi) -> Iterator[Finding]:
        connect = self._connect(relay_bot.bot, api)
        found = find_bot(api.http_bots(), relay_bot, f"{self._stack.name}-{relay_bot.name}")
        if found is None:
            yield fault("LangBot's form", "LangBot has no bot for it", f"{connect} makes it")
            return
        yield from health.form_findings(plan(relay_bot, found).changes, connect)
        yield from read_routes(api, found, relay_bot.name)
        yield health.log_finding(api.log(found["uuid"]))
        agents = {
            str(route.get("target_uuid"))
            for route in found.get("event_bindings") or []
            if route.get("target_type") == "agent"
        }
        if agents:
            runs = [run for agent in agents for run in api.runs(agent)]
            for record in self._silent(relay_bot.name):
                yield health.run_finding(record["message_id"], record["accepted_message_id"], runs)

    def _silent(self, name: str) -> Iterator[MessageRecord]:
        """Return unanswered messages of a bot that LangBot has accepted."""
        silent = (
            record
            for record in relay.Messages(self._stack).awaiting_operator(bot=name)
            if record["state"] == State.UNANSWERED and "accepted_message_id" in record
        )
        return islice(silent, SILENT_MESSAGES)


def _refusal_finding(lines: Sequence[LogLine], callback_url: str) -> Finding:
    refused = [RefusedCallback(line.fields["bot"], line.fields["reason"]) for line in lines]
    return health.refusal_finding(refused, callback_url, utc_text(lines[-1].at))


def _post(url: str, headers: dict[str, str]) -> requests.Response | str:
    """Post an empty JSON object; return the response, or why there was none."""
    import requests

    try:
        return requests.post(url, b"{}", headers=headers, timeout=10, allow_redirects=False)
    except requests.RequestException as error:
        return f"no response: {type(error).__name__}"


def _ahead_of_here(response: requests.Response) -> float | None:
    """Return the seconds by which the clock of a server is ahead of this computer's, as far as it says."""
    try:
        return parsedate_to_datetime(response.headers["Date"]).timestamp() - int(time.time())
    except (KeyError, ValueError):
        return None
