"""What becomes of a message in LangBot, by its route."""

from collections.abc import Iterator
from typing import Any

from relay.domain.diagnosis import command
from relay_cli.finding import Finding, fault, note, ok
from relay_cli.langbot_api import Json, LangBotApi

_PLAIN = {"type": "Plain", "text": "hello"}
_AT = {"type": "At", "target": "http_bot"}
KINDS: dict[str, Json] = {
    "person": {"chat_type": "person", "message_chain": [_PLAIN]},
    "group, addressed": {"chat_type": "group", "message_chain": [_AT, _PLAIN]},
    "group": {"chat_type": "group", "message_chain": [_PLAIN]},
}
"""The kinds of messages that LangBot's default routes tell apart."""


def read_routes(api: LangBotApi, bot: Json, name: str) -> Iterator[Finding]:
    """Return what the routes of a bot in LangBot mean for its replies; `name` is its name here.

    Raise CommandFailed.
    """
    results = {kind: api.route(bot["uuid"], event) for kind, event in KINDS.items()}
    if None in results.values():
        return iter([pipeline_of(bot)])
    taken = {kind: result for kind, result in results.items() if result}
    agents = {
        uuid: api.agent(uuid)
        for result in taken.values()
        if result["target_type"] == "agent" and result["matched"] and (uuid := result.get("target_uuid"))
    }
    return route_findings(bot, taken, agents, name)


def pipeline_of(bot: Json) -> Finding:
    """Return what a release before 4.11 does with all messages of a bot."""
    if bot.get("use_pipeline_uuid"):
        return ok("route", "all messages go to one pipeline")
    return fault("route", "the bot has no pipeline", "choose one in LangBot, in the bot's form")


def route_findings(
    bot: Json, results: dict[str, Json], agents: dict[str, Json], name: str
) -> Iterator[Finding]:
    """Return what LangBot's dry-runs of each kind of message mean.

    `agents` are the agents among the targets. A group message that needs the At is no fault, but people must
    know.
    """
    for kind in ("person", "group, addressed"):
        yield _of_kind(f"route ({kind})", results[kind], agents, name)
    if results["group, addressed"]["matched"] and not results["group"]["matched"]:
        yield note(
            "route (group)",
            "LangBot ignores a message to a group without an At",
            f"{command('bots', 'set', name, '--group-at')} adds it to each message to a group",
        )
    if any(one.get("enabled", True) for one in bot.get("plugin_processors") or []):
        yield note(
            "event processor",
            "a processor runs beside the route, and its replies mix with the route's",
            "expect more than one reply to a message, or switch it off in LangBot",
        )


def _of_kind(check: str, result: Json, agents: dict[str, Any], bot: str) -> Finding:
    kind, uuid, reason = result.get("target_type"), result.get("target_uuid"), result.get("reason", "")
    if kind == "discard":
        return fault(check, "LangBot discards it", "change the bot's route in LangBot")
    if not result["matched"] and kind:
        return fault(check, f"its route is dead: {reason}", "change the bot's route in LangBot")
    if not result["matched"]:
        return fault(
            check,
            "no route: LangBot accepts it and says nothing",
            "add a route from message.received to a pipeline in LangBot",
        )
    name = (result.get("target") or {}).get("target_name") or uuid
    if kind != "agent":
        return ok(check, f"to the {kind} {name}")
    if not agents.get(str(uuid), {}).get("component_ref"):
        return fault(check, f"the agent {name} has no runner", "choose a runner for it in LangBot")
    return note(
        check,
        f"to the agent {name}, whose replies can be pushes that name no message",
        f"{command('bots', 'set', bot, '--replies', 'push')} lets each push find its message",
    )
