"""What the values that a check has read mean. Nothing here has a side effect."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from relay.domain.admission import BotState
from relay.domain.bot import Bot, weakness
from relay.domain.diagnosis import RefusedCallback, command, diagnose_refusals, pluralize
from relay.domain.message import LATE_AFTER, LEAVES_SOON, leaves_queue_at
from relay.domain.signing import SIGNATURE_TOLERANCE, Refusal
from relay.domain.timestamps import UtcText, date_and_time, utc_text
from relay.domain.trigger import fault_of
from relay_cli.finding import Finding, fault, note, ok
from relay_cli.langbot_api import Json

SAVE_AGAIN = "If its form is right, save it there again: LangBot may not use what its form has"

FEW_EXECUTIONS = 50
"""Free parallel executions below which a burst of callbacks can be throttled. A new account has ten."""

CALLBACKS_A_SECOND = 15
"""What one LangBot posts while it streams, as measured."""


def secret_finding(bot: Bot, connect: str) -> Finding:
    """Judge a bot's secret; `connect` is the command that connects the bot."""
    if bot.unusable:
        advice = f"correct it with {command('bots', 'set', bot.name)} or {connect}"
        return fault("secret", bot.unusable, advice)
    if not bot.url:
        return fault("secret", "it has no url", f"{connect} sets it")
    if weak := weakness(bot):
        return note("secret", f"weak: {weak}", f"`relay bots rotate {bot.name}` renews it")
    if len(bot.inbound_secrets) > 1 or len(bot.outbound_secrets) > 1:
        return note("secret", "a rotation is under way", f"`relay bots rotate {bot.name}` finishes it")
    return ok("secret", "valid")


def url_finding(status: int, body: Json, connect: str) -> Finding:
    """Judge the response to a signed request without a message.

    LangBot checks the signature first. Then it misses the message, so it accepts nothing.
    """
    text = str(body.get("msg") or body.get("error") or "")
    answered = f"answered {status}" + (f": {text}" if text else "")
    match status, body.get("code"):
        case 400, 40001:
            return ok("url", "LangBot answers, and accepts inbound_secret")
        case 401, 40101 if "expired" in text:
            return fault("url", answered, "set the clock of LangBot's host, or of this computer")
        case 401, 40101:
            advice = f"LangBot has another Inbound Signing Secret; {connect} sets it. {SAVE_AGAIN}"
            return fault("url", answered, advice)
        case 404, _ if text == "Bot not found":
            advice = f"the bot is off, or the url names none; {connect} sets both right. {SAVE_AGAIN}"
            return fault("url", answered, advice)
        case 405, _:
            return fault("url", answered, "it must be the Inbound Webhook URL, without a slash at its end")
    return fault("url", f"{answered}, and not as LangBot does", "look at what is in front of LangBot")


def signature_finding(status: int, connect: str) -> Finding:
    """Judge the response to the same request without a signature."""
    if status == 401:
        return ok("signatures", "LangBot refuses a message without one")
    advice = f"switch Require Inbound Signature on; {connect} does it"
    return fault("signatures", f"LangBot answered {status} to a request without one", advice)


def clock_finding(check: str, ahead: float) -> Finding:
    """Judge a clock that is `ahead` of AWS's by so many seconds, as far as whole seconds tell."""
    text = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} AWS"
    if abs(ahead) <= 2:
        return ok(check, "as AWS's")
    if abs(ahead) <= SIGNATURE_TOLERANCE / 5:
        return ok(check, text)
    advice = f"set it by NTP: signatures over {SIGNATURE_TOLERANCE} s off are refused"
    return fault(check, text, advice)


def circuit_finding(bot: str, state: BotState) -> Finding:
    """Judge a bot's circuit breaker."""
    if state.probe_at and state.failures:
        text = f"{pluralize(state.failures, 'attempt')} in a row failed: {state.last_error}"
        return fault("circuit", text, f"fix the cause, then {command('bots', 'retry', bot)}")
    return ok("circuit", "closed")


def pause_findings(bot: str, state: BotState, now: float) -> Iterator[Finding]:
    """Judge the pause of a bot by an operator, if it is paused, at `now` (Unix seconds)."""
    if state.paused_since:
        since, parked_from = state.paused_since, leaves_queue_at(state.paused_since)
        text = (
            f"an operator paused it at {date_and_time(utc_text(since))}; messages since then are parked from "
            f"{date_and_time(utc_text(parked_from))} on"
        )
        ends_soon = now > parked_from - LEAVES_SOON
        yield (fault if ends_soon else note)("pause", text, f"{command('bots', 'resume', bot)} resumes it")


def slots_finding(bot: str, in_flight: int, most: int) -> Finding:
    """Judge how many messages of a bot wait for a reply."""
    if most and in_flight >= most:
        advice = f"LangBot is slow or silent; {command('bots', 'test', bot)} tells which"
        return fault("slots", f"all {most} are taken, so other messages wait", advice)
    return ok("slots", f"{in_flight} of {most} taken" if most else f"{in_flight} taken, no limit")


def callback_finding(status: int) -> Finding:
    """Judge the response of the callback URL to a request without a signature."""
    if status == 401:
        return ok("callback URL", "reachable, and refuses what is not signed")
    advice = "look into the log of callback; 403, 404 and 429 come from API Gateway"
    return fault("callback URL", f"answered {status} instead of 401", advice)


def refusal_finding(refused: Sequence[RefusedCallback], callback_url: str, last: UtcText) -> Finding:
    """Judge what callback refused in the last hour for one bot, which need not exist; the last was at `last`.

    `callback_url` is that of the bot, or of the one that its name is most like.
    """
    diagnosis = diagnose_refusals(refused, callback_url)
    text = f"{diagnosis.summary}; the last at {date_and_time(last)}"
    # Anybody can post what is not signed.
    is_signed = refused[-1].reason not in (Refusal.NO_TIMESTAMP, Refusal.NO_SIGNATURE)
    return (fault if is_signed else note)("callbacks", text, diagnosis.advice)


def queue_finding(check: str, waiting: int, advice: str) -> Finding:
    """Judge a queue on which no message should be."""
    text = pluralize(waiting, "message")
    return fault(check, text, advice) if waiting else ok(check, text)


def age_finding(ages: Sequence[float], late: bool, waiting: int, paused: Sequence[str]) -> Finding:
    """Judge the push queue by the ages of its oldest message in the last minutes, in seconds.

    `late`: push had a message that was older than LATE_AFTER, and no pause excused it. SQS leaves out what it
    has received often. The age of a message says nothing while some bots are `paused`.
    """
    if late:
        text = f"{pluralize(waiting, 'message')}, and push tries some that are over {LATE_AFTER} s old"
        return fault("push queue", text, "`relay bots list` says which bot fails")
    if not ages:
        return note("push queue", f"{pluralize(waiting, 'message')}; CloudWatch has no age of the oldest")
    oldest = max(ages)
    text = f"{pluralize(waiting, 'message')}, the oldest {oldest:.0f} s old"
    if oldest > LATE_AFTER and paused:
        return note("push queue", f"{text}; paused: {', '.join(paused)}", "`relay bots list` shows the bots")
    if oldest > LATE_AFTER:
        return fault("push queue", text, "`relay bots list` says which bot fails")
    return ok("push queue", text)


def trigger_findings(mappings: Sequence[Json]) -> Iterator[Finding]:
    """Judge the event source mappings, which hand messages, parts and changes of tables to the functions."""
    stopped = [one for one in mappings if fault_of(one)]
    for one in stopped:
        function, source = (one[name].rpartition(":")[2] for name in ("FunctionArn", "EventSourceArn"))
        command = f"aws lambda update-event-source-mapping --enabled --uuid {one['UUID']}"
        yield fault("triggers", f"{function} gets nothing from {source}: {fault_of(one)}", command)
    if not stopped:
        yield ok("triggers", f"all {len(mappings)} are enabled")


def alarm_findings(alarms: Sequence[Json], topic: bool, confirmed: int) -> Iterator[Finding]:
    """Judge the alarms of a stack; `topic`: it has one for them; `confirmed`: who gets its mail."""
    for alarm in alarms:
        if alarm["StateValue"] == "ALARM":
            yield fault("alarm", alarm["AlarmName"], alarm.get("AlarmDescription", ""))
    if topic and not confirmed:
        advice = "open the mail of AWS and confirm the subscription"
        yield fault("alarms", f"{len(alarms)} alarms, and the mail is not confirmed", advice)
    elif topic:
        yield ok("alarms", f"{len(alarms)} alarms, sent by mail")
    else:
        advice = "deploy with AlarmEmail=you@example.com, unless a rule on the event bus takes them"
        yield note("alarms", f"{len(alarms)} alarms, and no mail", advice)


def metric_finding(silent: Sequence[str], alarms: int) -> Finding:
    """Judge the alarms of AWS's own metrics by those whose metric had no value for a day."""
    if not silent:
        return ok("alarm metrics", f"each of {alarms} of AWS has values of the last day")
    text = f"none of the last day for {', '.join(silent)}"
    return note(
        "alarm metrics", text, "a stack that is in use has values of each: `relay bots test` makes some"
    )


def role_finding(changed: Sequence[str], roles: int) -> Finding:
    """Judge the functions' roles by those that are not as the template has them."""
    if not changed:
        return ok("roles", f"all {roles} are as deployed")
    text = f"not as deployed: {', '.join(changed)}"
    return fault(
        "roles", text, "CloudFormation shows the difference as drift; deploy again, or undo the change"
    )


def reserved_finding(reserved: int, most: int) -> Finding:
    """Judge the concurrency that is reserved for push, -1 for none, by what its queue alone may take."""
    if 0 <= reserved < most:
        advice = f"deploy with PushReservedConcurrency={most}, or -1"
        return fault("concurrency", f"{reserved} are reserved for push, whose queue takes {most}", advice)
    return ok("concurrency", f"push may have the {most} that its queue takes")


def concurrency_finding(unreserved: int, used: float) -> Finding:
    """Judge how many functions of the account can run at once, of which so many did in the last day."""
    text = (
        f"{unreserved} parallel executions for all functions without reserved ones, at most {used:.0f} used"
    )
    if unreserved - used < FEW_EXECUTIONS:
        return fault("concurrency", text, "raise Lambda's quota `Concurrent executions`")
    return ok("concurrency", text)


def throttle_finding(stage: Mapping[str, Any], account: float) -> Finding:
    """Judge how many callbacks a second API Gateway passes on; LangBot does not retry a 429."""
    own = stage.get("ThrottlingRateLimit")
    if own is None:
        return note("API throttle", f"the stage shows none of its own; {account:g} a second for all APIs")
    text = f"{own:g} callbacks a second, {account:g} for all APIs of the account"
    if min(own, account) < CALLBACKS_A_SECOND:
        advice = f"one LangBot posts up to {CALLBACKS_A_SECOND} a second: raise MaxCallbacksPerSecond"
        return fault("API throttle", text, advice)
    return ok("API throttle", text)


def form_findings(changes: Sequence[str], connect: str) -> Iterator[Finding]:
    """Judge what `relay connect` would change in LangBot."""
    if not changes:
        yield ok("LangBot's form", "callback URL and both secrets are the relay's")
    for change in changes:
        yield fault("LangBot's form", change, f"{connect} sets it")


def log_finding(lines: Sequence[Json]) -> Finding:
    """Judge LangBot's log of a bot, whose last lines these are, by the callbacks that it gave up."""
    lost = [str(line.get("text")) for line in lines if "http_bot callback" in str(line.get("text"))]
    if lost:
        return fault("LangBot's log", lost[-1], "those parts are lost; fix the cause first")
    return ok("LangBot's log", f"no callback was given up in its last {pluralize(len(lines), 'line')}")


def run_finding(message_id: str, accepted_id: str, runs: Sequence[Json]) -> Finding:
    """Tell what became of the agent's run for an unanswered message."""
    check = "agent's run"
    run = next((run for run in runs if str(run.get("event_id", "")).endswith(f":{accepted_id}")), None)
    if run is None:
        advice = "look at its routes in LangBot"
        return fault(check, f"message {message_id} is not among the agent's latest runs", advice)
    reason = run.get("status_reason") or "no reason is given"
    text = f"message {message_id}: {run.get('status')}, {reason}"
    if run.get("status") == "completed":
        return fault(check, text, "the agent ended without a reply: its runner must call a reply tool")
    return fault(check, text, "look into the agent's log in LangBot")
