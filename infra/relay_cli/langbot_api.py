"""LangBot's HTTP API, by an API key: its bots, their routes and their logs."""

import argparse
import os
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from relay_cli.terminal import CommandFailed, complain, one_line

if TYPE_CHECKING:  # it is imported when a command needs it
    import requests

Json = dict[str, Any]

API_KEY = "LANGBOT_API_KEY"
"""The environment variable with the API key: a shell keeps the arguments of its commands."""

_TIMEOUT = 30
"""Seconds for a response. LangBot can take 20 to reload a bot."""

_NOT_APPLIED = "bot_apply_failed"


def _answer(required: tuple[str, ...] = (), **properties: Json) -> Json:
    return {"type": "object", "required": list(required), "properties": properties}


_OBJECT: Json = {"type": "object"}
_OBJECTS: Json = {"type": "array", "items": _OBJECT}
_OBJECTS_OR_NONE = _OBJECTS | {"type": ["array", "null"]}
_ID: Json = {"type": "string", "minLength": 1}
_BOT = _answer(
    ("uuid", "name", "adapter_config"),
    uuid=_ID,
    name={"type": "string"},
    adapter_config=_OBJECT,
    adapter_runtime_values={"type": ["object", "null"]},
    event_bindings=_OBJECTS_OR_NONE,
    plugin_processors=_OBJECTS_OR_NONE,
)
_ROUTE = _answer(
    ("matched", "target_type"),
    target_uuid={"type": ["string", "null"]},
    target={"type": ["object", "null"]},
)


def add_options(parser: argparse.ArgumentParser, required: bool) -> None:
    """Add the options that say where LangBot is."""
    parser.add_argument(
        "--langbot",
        required=required,
        metavar="URL",
        help="where LangBot is, e.g. https://langbot.example.com",
    )
    parser.add_argument(
        "--api-key", metavar="KEY", help=f"an API key of LangBot; better in the variable {API_KEY}"
    )


def from_options(options: argparse.Namespace) -> "LangBotApi":
    """Return the API that the options name. Raise CommandFailed if one is missing."""
    key = (options.api_key or os.environ.get(API_KEY, "")).strip()
    if not key or not (key.isascii() and key.isprintable()):
        raise CommandFailed(
            2, f"an API key of LangBot is needed in {API_KEY}: make one in LangBot's settings, API Keys"
        )
    try:
        url = urlsplit(options.langbot.strip())
    except ValueError:
        url = urlsplit("")
    if url.scheme not in ("http", "https") or not url.hostname:
        raise CommandFailed(2, "--langbot must be an address such as https://langbot.example.com")
    if "@" in url.netloc:  # it is printed, and kept in the bot's secret
        raise CommandFailed(2, "--langbot must be without a user and a password")
    address = f"{url.scheme}://{url.netloc}{url.path.rstrip('/')}"
    if is_readable_on_the_way(address):
        complain(f"relay: warning: the API key goes to {address} in plain text")
    return LangBotApi(address, key)


def is_readable_on_the_way(address: str) -> bool:
    """Tell whether others can read what goes to an address: it is not encrypted, and leaves this computer."""
    url = urlsplit(address)
    host = url.hostname or ""
    try:
        is_loopback = ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    return url.scheme == "http" and not is_loopback


class LangBotApi:
    """The API of one LangBot. All methods raise CommandFailed, and never with a value of a configuration."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self._headers = {"X-API-Key": key}

    def version(self) -> str:
        """Return LangBot's release, e.g. `v4.11.2`."""
        info = _checked(self._call("GET", "system/info"), _OBJECT)
        return one_line(str(info.get("version", "of an unknown release")))

    def http_bots(self) -> list[Json]:
        """Return the HTTP bots, each with its `adapter_config`, which has its secrets in clear."""
        listed = _checked(self._call("GET", "platform/bots"), _answer(("bots",), bots=_OBJECTS))["bots"]
        bots = [bot for bot in listed if bot.get("adapter") == "http_bot"]
        if any("adapter_config" not in bot for bot in bots):
            raise CommandFailed(1, "the API key of LangBot needs the scope resource.manage too")
        checked: list[Json] = _checked(bots, {"type": "array", "items": _BOT})
        return checked

    def bot(self, uuid: str) -> Json:
        """Return a bot as it is now."""
        bot: Json = _checked(self._call("GET", f"platform/bots/{uuid}"), _answer(("bot",), bot=_BOT))["bot"]
        return bot

    def create_bot(self, name: str, adapter_config: Json) -> Json:
        """Make an HTTP bot that is switched on. LangBot gives it a route to its default pipeline."""
        fields = {"name": name, "description": "", "adapter": "http_bot", "enable": True}
        created = self._call("POST", "platform/bots", fields | {"adapter_config": adapter_config})
        return self.bot(_checked(created, _answer(("uuid",), uuid=_ID))["uuid"])

    def save_bot(self, uuid: str, adapter_config: Json) -> None:
        """Replace a bot's whole `adapter_config` and switch the bot on. LangBot reloads the bot.

        LangBot can fail to, and goes on with the former values whether it has kept the new ones or not (3 of
        54 times under load, 4.11.2). It takes them when the bot is saved again.
        """
        path, body = f"platform/bots/{uuid}", {"adapter_config": adapter_config, "enable": True}
        response = self._send("PUT", path, body)
        if response.status_code >= 500 or response_fields(response).get("code") == _NOT_APPLIED:
            response = self._send("PUT", path, body)
        self._data("PUT", path, response)

    def route(self, uuid: str, event: Json) -> Json | None:
        """Return which route a message of a bot would take, or None if LangBot is older than 4.11."""
        body = {
            "event_type": "message.received",
            "event_data": event,
            "context": {"bot_account_id": "http_bot"},
        }
        return self._optional("POST", f"platform/bots/{uuid}/event-routes/dry-run", _ROUTE, body)

    def agent(self, uuid: str) -> Json:
        """Return an agent."""
        found: Json = (self._optional("GET", f"agents/{uuid}", _answer(agent=_OBJECT)) or {}).get("agent", {})
        return found

    def runs(self, agent: str) -> list[Json]:
        """Return an agent's latest runs."""
        schema = _answer(items=_OBJECTS)
        found: list[Json] = (self._optional("GET", f"agents/{agent}/runs", schema) or {}).get("items", [])
        return found

    def log(self, uuid: str) -> list[Json]:
        """Return what LangBot has logged about a bot since it was saved, at most a hundred lines."""
        body = {"from_index": -1, "max_count": 100}
        answer = self._call("POST", f"platform/bots/{uuid}/logs", body)
        lines: list[Json] = _checked(answer, _answer(("logs",), logs=_OBJECTS))["logs"]
        return lines

    def _optional(self, method: str, path: str, schema: Json, body: Json | None = None) -> Json | None:
        response = self._send(method, path, body)
        if response.status_code in (404, 405):
            return None
        found: Json = _checked(self._data(method, path, response), schema)
        return found

    def _call(self, method: str, path: str, body: Json | None = None) -> Any:
        return self._data(method, path, self._send(method, path, body))

    def _send(self, method: str, path: str, body: Json | None) -> "requests.Response":
        import requests

        try:
            return requests.request(
                method,
                f"{self.url}/api/v1/{path}",
                json=body,
                headers=self._headers,
                timeout=_TIMEOUT,
                allow_redirects=False,  # the key is for this address only
            )
        except (requests.RequestException, ValueError) as error:  # ValueError is of an odd redirect
            raise CommandFailed(
                1, f"LangBot at {self.url} cannot be reached: {type(error).__name__}; check --langbot"
            ) from None

    def _redirected(self, path: str, location: str) -> str:
        """Return what is wrong, and what to do, if a call for `path` is redirected to `location`."""
        asked = f"{self.url}/api/v1/{path}"
        url = urlsplit(urljoin(asked, location))
        # A query or a user can hold a secret.
        target = f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"
        if target.endswith(f"/api/v1/{path}"):
            return f"LangBot redirects: give --langbot {target.removesuffix(f'/api/v1/{path}')}"
        return f"{self.url} is not the API of LangBot: it redirects to {target}; look at what is in front"

    def _data(self, method: str, path: str, response: "requests.Response") -> Any:
        status = response.status_code
        if 300 <= status < 400 and (location := response.headers.get("Location")):
            raise CommandFailed(1, self._redirected(path, location))
        if status == 401:
            raise CommandFailed(1, "LangBot does not know this API key")
        if status == 403:
            raise CommandFailed(
                1, "the API key of LangBot needs the scopes resource.view and resource.manage"
            )
        fields = response_fields(response)
        if "code" not in fields:
            raise CommandFailed(
                1, f"{self.url} is not the API of LangBot: {method} {path} was answered {status}"
            )
        # A refusal is without the values of a configuration; an error of LangBot's own may have them.
        why = fields.get("msg") if status < 500 else "its log says why"
        if fields["code"] == _NOT_APPLIED:
            raise CommandFailed(
                1, f"LangBot keeps the bot's new form but does not use it ({why}): restart LangBot"
            )
        if fields["code"] != 0:
            raise CommandFailed(1, f"LangBot answered {method} {path} with {status}: {why}")
        return fields.get("data")


def _checked(answer: Any, schema: Json) -> Any:
    """Return an answer of LangBot's that has the form of a schema. Raise CommandFailed, without a value."""
    import fastjsonschema

    try:
        return fastjsonschema.validate(schema, answer)
    except fastjsonschema.JsonSchemaValueException as fault:
        raise CommandFailed(
            1, f"LangBot answered in a form that this command does not know: {fault.message}"
        ) from None


def response_fields(response: "requests.Response") -> Json:
    """Return the JSON object in a response, or an empty one if it has none."""
    try:
        fields = response.json()
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}
