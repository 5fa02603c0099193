"""Boots LangBot, gives it a bot, a pipeline and a runner plugin, and changes them while it runs."""

import io
import json
import os
import socket
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import requests

from relay.domain.signing import sign

PLUGIN = Path(__file__).with_name("plugin")
RUNTIME = Path(__file__).with_name("plugin_runtime.py")
LANGBOT = Path(__file__).with_name("patient_langbot.py")
RUNNER = "plugin:relay/Peer/default"
AGENT = "plugin:relay/Peer/agent"
DISCARD = "DISCARD"
"""LangBot accepts messages that begin with this, and discards them."""

HOLDS = 16
"""Turns that LangBot keeps, here and not the 100 that it keeps by default: its work for each takes long."""

RUNS_AT_ONCE = 6
"""Turns that LangBot runs in parallel, here and not the 20 by default."""

BOOT_SECONDS = 400
# Ends the command and all that it started when this process closes the pipe or dies, however it dies.
UNTIL_STDIN_CLOSES = 'exec 3<&0; (cat <&3 >/dev/null; kill -KILL 0) & exec "$@" </dev/null 3<&-'


class PeerFailed(Exception):
    """LangBot did not do what a test needs of it; the text ends with the last lines of its log."""


@dataclass(frozen=True)
class Settings:
    """What a test sets in LangBot; `aggregation_delay` in seconds."""

    callback_url: str
    inbound_secret: str
    outbound_secret: str
    aggregation: bool = False
    aggregation_delay: float = 1.5


class Peer:
    """A LangBot of its own data folder `home` on free loopback ports, running while entered.

    To enter it starts its processes; `configure` waits until they are up.
    """

    def __init__(self, venv: Path, home: Path, model_url: str) -> None:
        self._bin = venv / "bin"
        self._home = home
        self._model_url = model_url
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._environment: dict[str, str] = {}
        self._http = requests.Session()
        self._url = f"http://127.0.0.1:{_free_port()}"
        self._pipeline = self._bot = self._model = ""
        self.settings = Settings("", "", "")

    def __enter__(self) -> Self:
        control, debug = str(_free_port()), str(_free_port())
        address = self._url.removeprefix("http://")
        self._environment = {
            **os.environ,
            "API__HOST": address.split(":")[0],
            "API__PORT": address.split(":")[1],
            "PLUGIN__RUNTIME_WS_URL": f"ws://127.0.0.1:{control}/control/ws",
            # Nothing that needs the internet, reports to LangBot's makers or runs a sandbox.
            "PLUGIN__ENABLE_MARKETPLACE": "false",
            "SPACE__DISABLE_TELEMETRY": "true",
            "SPACE__DISABLE_MODELS_SERVICE": "true",
            "BOX__ENABLED": "false",
            "CONCURRENCY__PENDING_QUERIES_PER_WORKSPACE": str(HOLDS),
            "CONCURRENCY__PIPELINE": str(RUNS_AT_ONCE),
            # On a busy machine LangBot ends turns without a reply at the default of 4 (docs/limits.md).
            "SYSTEM__BLOCKING_EXECUTOR__MAX_WORKERS": "64",
            "SYSTEM__BLOCKING_EXECUTOR__MAX_INFLIGHT_PER_SCOPE": "32",
            # The model holds its answers until a slow machine has seen all that a test wants to see before.
            "LLM_REQUEST_POLICY__FIRST_EVENT_TIMEOUT": "600",
            "LLM_REQUEST_POLICY__READ_TIMEOUT": "600",
            "LLM_REQUEST_POLICY__TOTAL_TIMEOUT": "600",
            # Its webhooks are how a test keeps LangBot busy: more than 100 must fit.
            "WEBHOOKS__MAX_INFLIGHT_REQUESTS": "128",
            "PYTHONUNBUFFERED": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }
        runtime = ["rt", "--ws-control-port", control, "--ws-debug-port", debug, "--skip-deps-check"]
        self._spawn("runtime", ["python", str(RUNTIME), *runtime])
        self._start()
        return self

    def restart(self) -> None:
        """End LangBot at once, and start it again. Its plugin runtime stays."""
        self._end("langbot")
        self._start()
        self._until("answers", lambda: self._http.get(f"{self._url}/api/v1/system/info", timeout=2).ok)
        self._until("has the plugin", self._has_plugin)
        self._until("has the bot", lambda: requests.post(self.bot_url, b"", timeout=5).status_code == 401)

    def __exit__(self, *_: object) -> None:
        for name in self._processes:
            self._end(name)
        self._http.close()

    @property
    def url(self) -> str:
        return self._url

    @property
    def bot_url(self) -> str:
        return f"{self._url}/bots/{self._bot}"

    def configure(self, settings: Settings) -> None:
        """Wait until LangBot is up, and give it a pipeline and a bot. Raise PeerFailed."""
        self._until("answers", lambda: self._http.get(f"{self._url}/api/v1/system/info", timeout=2).ok)
        login = {"user": "admin@example.com", "password": "Test-password-1"}
        self._call("POST", "user/init", login)
        token = self._call("POST", "user/auth", login)["token"]
        self._http.headers["Authorization"] = f"Bearer {token}"
        self._install_plugin()

        provider = {"name": "stub", "requester": "openai-chat-completions", "base_url": self._model_url}
        provider_uuid = self._call("POST", "provider/providers", provider | {"api_keys": ["sk-stub"]})["uuid"]
        model = {"name": "stub", "provider_uuid": provider_uuid, "abilities": [], "extra_args": {}}
        self._model = self._call("POST", "provider/models/llm", model)["uuid"]
        pipeline = {"name": "peer", "description": "", "emoji": "x", "is_default": True}
        self._pipeline = self._call("POST", "pipelines", pipeline)["uuid"]
        self.settings = settings
        self._save_pipeline()
        bot = {"name": "peer", "description": "", "adapter": "http_bot", "enable": False}
        self._bot = self._call("POST", "platform/bots", bot | {"adapter_config": self._adapter()})["uuid"]
        if self._call("GET", f"platform/bots/{self._bot}")["bot"].get("event_bindings") == []:
            # 4.11.0 gives a bot no routes. Later releases give it some, earlier ones have none.
            route = {"event_pattern": "message.received", "target_type": "pipeline"}
            self.change_bot(event_bindings=[route | {"target_uuid": self._pipeline}])
        # As LangBot's form does it: 4.10.6 cannot change a bot that was created enabled.
        self.change_bot(enable=True)

    def reconfigure(self, **changes: Any) -> None:
        """Change fields of Settings while LangBot runs.

        LangBot replaces a bot or pipeline that is saved: a saved bot forgets its idempotency keys
        and every callback that it had not sent yet.
        """
        before, self.settings = self.settings, replace(self.settings, **changes)
        bot_settings = ("callback_url", "inbound_secret", "outbound_secret")
        if any(getattr(before, name) != getattr(self.settings, name) for name in bot_settings):
            self.change_bot(adapter_config=self._adapter())
        if replace(before, **{name: getattr(self.settings, name) for name in bot_settings}) != self.settings:
            self._save_pipeline()

    def change_bot(self, **fields: Any) -> None:
        """Change fields of the bot, which reloads it."""
        self.save_bot(self._bot, **fields)

    def add_agent(self, kind: Literal["agent", "event_processor"] = "agent", runner: str = AGENT) -> str:
        """Create an agent, or a processor for beside a route; return its id."""
        config = {"runner": {"id": runner}, "runner_config": {runner: self._runs_model()} if runner else {}}
        agent = {"name": "peer", "kind": kind, "component_ref": runner, "config": config}
        uuid: str = self._call("POST", "agents", agent)["uuid"]
        return uuid

    def remove_agent(self, agent: str) -> None:
        self._call("DELETE", f"agents/{agent}")

    @contextmanager
    def routed(self, *agents: str) -> Iterator[None]:
        """Let the bot's messages go to these agents, instead of to its pipeline, until the end."""
        default = self._call("GET", f"platform/bots/{self._bot}")["bot"]["event_bindings"]
        route = {"event_pattern": "message.received", "target_type": "agent"}
        self.change_bot(event_bindings=[route | {"target_uuid": agent} for agent in agents])
        try:
            yield
        finally:
            self.change_bot(event_bindings=default)

    @contextmanager
    def processed(self, processor: str) -> Iterator[None]:
        """Let a processor have the bot's messages as well as its pipeline, until the end."""
        self.change_bot(plugin_processors=[{"processor_uuid": processor, "enabled": True}])
        try:
            yield
        finally:
            self.change_bot(plugin_processors=[])

    def failed_routes(self) -> set[str]:
        """Return why messages of the bot got nowhere, since the bot was last saved."""
        status = self._call("GET", f"platform/bots/{self._bot}/event-routes/status")
        routes = status["routes"] + status["unmatched_events"]
        return {route["reason"] for route in routes if route["failure_code"]}

    def runs(self, agent: str) -> dict[str, str]:
        """Return how an agent's runs have ended, by the id of the message that each was for."""
        ended = [run for run in self._call("GET", f"agents/{agent}/runs")["items"] if run["finished_at"]]
        return {run["event_id"].removeprefix(f"platform:{self._bot}:"): run["status"] for run in ended}

    def add_webhook(self, url: str) -> Callable[[], Any]:
        """Have LangBot ask `url` about each message before its pipeline; return what undoes that."""
        webhook = self._call("POST", "webhooks", {"name": "test", "url": url})["webhook"]
        return lambda: self._call("DELETE", f"webhooks/{webhook['id']}")

    def send_push(self, session_id: str, text: str) -> None:
        """Have LangBot say something in a session that replies to nothing."""
        target = {"target_type": "person", "target_id": session_id}
        message = {"message_chain": [{"type": "Plain", "text": text}]}
        key = self.api_key("resource.view", "runtime.operate")
        path = f"platform/bots/{self._bot}/send_message"
        self._call("POST", path, target | message, headers={"Authorization": None, "X-API-Key": key})

    def api_key(self, *scopes: str) -> str:
        """Make an API key with these scopes."""
        key: str = self._call("POST", "apikeys", {"name": "test", "scopes": list(scopes)})["key"]["key"]
        return key

    def http_bot(self, name: str) -> dict[str, Any]:
        """Return LangBot's bot of this name."""
        (bot,) = [one for one in self._call("GET", "platform/bots")["bots"] if one["name"] == name]
        return dict(bot)

    def make_agent(self, name: str) -> str:
        """Make an agent that has no runner; return its id."""
        config: dict[str, Any] = {"runner": {"id": ""}, "runner_config": {}}
        agent = {"name": name, "description": "", "kind": "agent", "config": config}
        return str(self._call("POST", "agents", agent)["uuid"])

    def save_bot(self, uuid: str, **fields: Any) -> None:
        """Save fields of a bot, as its form does."""
        self._call("PUT", f"platform/bots/{uuid}", fields)

    def talk_in_console(self, text: str) -> str:
        """Send a message to the bot as LangBot's own console does; return the session that it makes."""
        path = f"platform/bots/{self._bot}/test-inbound"
        session: str = self._call("POST", path, {"message": text})["session_id"]
        return session

    def post(self, session_id: str, text: str, key: str = "") -> requests.Response:
        """Post a message straight to the bot, signed, with an idempotency key if there is one."""
        body = json.dumps({"session_id": session_id, "message": [{"type": "Plain", "text": text}]}).encode()
        now = str(int(time.time()))
        headers = {"X-LB-Timestamp": now, "X-LB-Signature": sign(self.settings.inbound_secret, now, body)}
        if key:
            headers["X-LB-Idempotency-Key"] = key
        return requests.post(self.bot_url, body, headers=headers, timeout=30)

    def _adapter(self) -> dict[str, Any]:
        return {
            "inbound_secret": self.settings.inbound_secret,
            "outbound_secret": self.settings.outbound_secret,
            "callback_url": self.settings.callback_url,
            "default_session_type": "person",
            "signature_required": True,
            "callback_timeout": 15,
            "callback_max_retries": 3,
        }

    def _runs_model(self) -> dict[str, Any]:
        return {"model": {"primary": self._model, "fallbacks": []}}

    def _save_pipeline(self) -> None:
        path = f"pipelines/{self._pipeline}"
        config = self._call("GET", path)["pipeline"]["config"]
        config["trigger"]["message-aggregation"] = {
            "enabled": self.settings.aggregation,
            "delay": self.settings.aggregation_delay,
        }
        config["trigger"]["ignore-rules"] = {"prefix": [DISCARD], "regexp": []}
        config["safety"]["rate-limit"] = {"window-length": 60, "limitation": 100_000, "strategy": "drop"}
        # Releases before 4.11 read `runner` and its own settings, later ones `id` and `runner_config`.
        config["ai"]["runner"] = {"id": RUNNER, "runner": "local-agent", "expire-time": 0}
        config["ai"]["runner_config"] = {RUNNER: self._runs_model()}
        config["ai"]["local-agent"] = config["ai"].get("local-agent", {}) | self._runs_model()
        self._call("PUT", path, {"config": config})

    def _install_plugin(self) -> None:
        def connected() -> bool:
            return bool(self._call("GET", "system/status/plugin-system").get("is_connected"))

        self._until("has its plugin runtime", connected)
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w") as archive:
            for path in sorted(PLUGIN.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    archive.write(path, path.relative_to(PLUGIN))
        files = {"file": ("peer.lbpkg", package.getvalue(), "application/octet-stream")}
        task = f"system/tasks/{self._call('POST', 'plugins/install/local', files=files)['task_id']}"

        def installed() -> bool:
            runtime = self._call("GET", task)["runtime"]
            if runtime.get("exception"):
                raise self._failed(f"the plugin was not installed: {runtime['exception']}")
            return bool(runtime["done"]) and self._has_plugin()

        self._until("has the plugin", installed)

    def _start(self) -> None:
        self._spawn("langbot", ["python", str(LANGBOT), "--standalone-runtime"])

    def _has_plugin(self) -> bool:
        plugins = self._call("GET", "plugins")["plugins"]
        return [plugin["status"] for plugin in plugins] == ["initialized"]

    def _end(self, name: str) -> None:
        process = self._processes[name]
        assert process.stdin is not None
        process.stdin.close()
        process.wait()

    def _spawn(self, name: str, command: list[str]) -> None:
        with (self._home / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                ["bash", "-c", UNTIL_STDIN_CLOSES, name, str(self._bin / command[0]), *command[1:]],
                cwd=self._home,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _call(self, method: str, path: str, body: Any = None, files: Any = None, headers: Any = None) -> Any:
        for pause in (0, 0, 5, 10, 20):
            time.sleep(pause)
            response = self._http.request(
                method, f"{self._url}/api/v1/{path}", json=body, files=files, headers=headers, timeout=30
            )
            # Under load its database can be locked for a while, or a task of a saved bot not end.
            if response.status_code < 500 and "bot_apply_failed" not in response.text:
                break
        fields = response.json() if response.ok else {}
        if fields.get("code") != 0:
            raise self._failed(f"{method} {path} was answered {response.status_code}: {response.text[:300]}")
        return fields.get("data")

    def _until(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise self._failed(f"its process {name} ended with {process.returncode}", name)
            try:
                if condition():
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.3)
        raise self._failed(f"after {BOOT_SECONDS} s it was not seen that LangBot {what}")

    def _failed(self, why: str, process: str = "langbot") -> PeerFailed:
        log = self._home / f"{process}.log"
        last = log.read_text("utf-8", "replace").splitlines()[-30:]
        return PeerFailed("\n".join([why, f"The last lines of {log}:", *last]))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
