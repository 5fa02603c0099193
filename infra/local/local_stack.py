"""The stack of template.yaml on this machine, in the emulator ministack; `make local`."""

import compileall
import fcntl
import io
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

import boto3
import requests
from botocore.exceptions import ClientError

from local.sample_bot import SampleBot
from relay_cli.terminal import say

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local"
REGION = "us-east-1"
NAME = "relay-local"
OUTPUTS = "outputs.json"
DEFAULT_PORT = 4566
API = "relay"
"""The id of the HTTP API, which is part of CallbackUrl."""
READY_WITHIN = 60
"""Seconds that the emulator, and then the stack, may take to come up."""


class StackError(Exception):
    """The stack cannot run; the text says why, and what to do."""


@dataclass(frozen=True)
class LocalStack:
    """A running stack; `outputs` is what outputs.json holds."""

    outputs: dict[str, str]

    def client(self, service: str) -> Any:
        """Return a boto3 client of this stack's AWS, with every right."""
        return _client(service, self.outputs["EndpointUrl"])

    def connect(self, url: str, inbound_secret: str, outbound_secret: str, bot: str = "default") -> None:
        """Write a bot's secret as one does after making the bot in LangBot."""
        name = self.outputs["BotSecretPrefix"] + bot
        text = json.dumps({"url": url, "inbound_secret": inbound_secret, "outbound_secret": outbound_secret})
        manager = self.client("secretsmanager")
        try:
            manager.put_secret_value(SecretId=name, SecretString=text)
        except manager.exceptions.ResourceNotFoundException:
            manager.create_secret(Name=name, SecretString=text)


@contextmanager
def local_stack(
    port: int = 0, parameters: Mapping[str, str] | None = None, folder: Path = LOCAL
) -> Iterator[LocalStack]:
    """Start the stack and end it; `port` 0 takes a free one, `folder` gets outputs.json and the log.

    Raises StackError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    outputs_file = folder / OUTPUTS
    port = port or _free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with _only_one(folder), _emulator(port, folder / "ministack.log"):
        outputs = _deploy(endpoint, parameters or {})
        # Who reads it reaches the stack with every right. A file that a crash left may be open to others.
        outputs_file.unlink(missing_ok=True)
        outputs_file.touch(0o600)
        outputs_file.write_text(json.dumps(outputs, indent=2) + "\n")
        try:
            yield LocalStack(outputs)
        finally:
            outputs_file.unlink(missing_ok=True)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Keep a second stack from overwriting the outputs of the first. The lock ends with the process."""
    with (folder / "local_stack.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(f"a local stack runs already, with {folder / OUTPUTS}; end it first") from None
        yield


@contextmanager
def _emulator(port: int, log: Path) -> Iterator[None]:
    python = LOCAL / "emulator/bin/python"
    if not python.exists():
        raise StackError("the emulator is not installed; start the stack with make, which installs it")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise StackError(
                f"port {port} is already in use; end what listens there, or name another in PORT"
            ) from None
    with tempfile.TemporaryDirectory(prefix="relay-local-", ignore_cleanup_errors=True) as scratch:
        # Nothing else of the environment: its AWS_* must not decide what the emulator or a function does.
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "TMPDIR": scratch,
            "HOME": scratch,
            "TZ": "UTC",
            "AUTH": "true",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "MINISTACK_HOST": "127.0.0.1",
            "MINISTACK_REGION": REGION,
            "S3_DATA_DIR": f"{scratch}/s3",
            "STATE_DIR": f"{scratch}/state",
            # Two emulators would meet on these listeners' fixed ports, and clear each other's containers.
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "DOCKER_HOST": f"unix://{scratch}/no-docker",
        }
        with log.open("wb") as output:
            child = subprocess.Popen(  # noqa: S603 - it starts what make installed
                [python, "-I", Path(__file__).with_name("emulator.py"), LOCAL / "package"],
                env=environment,
                cwd=scratch,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _wait_until_up(child, port, log)
            yield
        finally:
            child.communicate()  # closes its stdin, which ends it: see emulator.py


def _wait_until_up(child: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline and child.poll() is None:
        try:
            if requests.get(f"http://127.0.0.1:{port}/_ministack/health", timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.05)
    raise StackError(f"the emulator did not start; its log is {log}")


def _deploy(endpoint: str, parameters: Mapping[str, str]) -> dict[str, str]:
    """Do what `sam package` and `sam deploy` do, and add the routes that the emulator lacks."""
    bucket, key = f"{NAME}-code", "functions.zip"
    s3 = _client("s3", endpoint)
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key=key, Body=_functions())
    template, found = re.subn(
        r"^( *CodeUri:) functions/$",
        rf"\1 s3://{bucket}/{key}",
        (ROOT / "template.yaml").read_text(),
        flags=re.MULTILINE,
    )
    if not found:
        raise StackError("template.yaml has no line `CodeUri: functions/`")
    # By its URL, as `sam deploy` does: it is larger than a call may be.
    s3.put_object(Bucket=bucket, Key="template.yaml", Body=template)
    url = f"{endpoint}/{bucket}/template.yaml"
    outputs = _create(_client("cloudformation", endpoint), url, parameters)
    _add_routes(endpoint)
    if parameters.get("TaskOwners"):
        resource = {"StackName": NAME, "LogicalResourceId": "PublishRole"}
        role = _client("cloudformation", endpoint).describe_stack_resource(**resource)
        allow_tasks(_client("iam", endpoint), role["StackResourceDetail"]["PhysicalResourceId"])
    # The host name of the output would need a resolver; the emulator takes the same by path.
    outputs["CallbackUrl"] = f"{endpoint}/_aws/execute-api/{API}/callbacks/default"
    return outputs | {"EndpointUrl": endpoint, "Region": REGION}


def _functions() -> bytes:
    """Return the functions as a zip file. They are compiled in it, or each worker would compile them."""
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "functions"
        shutil.copytree(ROOT / "functions", source, ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(source, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(path for path in source.rglob("*") if path.is_file()):
                archive.write(path, path.relative_to(source))
    return buffer.getvalue()


def _create(cloudformation: Any, template_url: str, parameters: Mapping[str, str]) -> dict[str, str]:
    try:
        template = cloudformation.validate_template(TemplateURL=template_url)
        known = {parameter["ParameterKey"] for parameter in template["Parameters"]}
        if unknown := parameters.keys() - known:  # which the emulator would let pass
            raise StackError(
                f"template.yaml has no parameter {min(unknown)}; it has {', '.join(sorted(known))}"
            )
        cloudformation.create_stack(
            StackName=NAME,
            TemplateURL=template_url,
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            # The emulator's way to choose an API's id, so that LangBot's form is filled in only once.
            Tags=[{"Key": "ms-custom-id", "Value": API}],
        )
    except ClientError as error:
        raise StackError(f"the stack was refused: {error.response['Error']['Message']}") from None
    deadline = time.monotonic() + READY_WITHIN
    while True:
        stack = cloudformation.describe_stacks(StackName=NAME)["Stacks"][0]
        if stack["StackStatus"] == "CREATE_COMPLETE":
            return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        if stack["StackStatus"] != "CREATE_IN_PROGRESS" or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    events = cloudformation.describe_stack_events(StackName=NAME)["StackEvents"]
    failed = [
        f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}"
        for event in reversed(events)
        if event["ResourceStatus"].endswith("FAILED")
    ]
    raise StackError("\n  ".join([f"the stack ended as {stack['StackStatus']}", *failed]))


def _add_routes(endpoint: str) -> None:
    """Routes and integrations of the HttpApi, which the emulator does not read from its OpenAPI body."""
    cloudformation = _client("cloudformation", endpoint)
    gateway = _client("apigatewayv2", endpoint)
    functions = _client("lambda", endpoint)
    template = cloudformation.get_template(StackName=NAME, TemplateStage="Processed")["TemplateBody"]
    template = json.loads(template) if isinstance(template, str) else template
    (definition,) = (r for r in template["Resources"].values() if r["Type"] == "AWS::ApiGatewayV2::Api")
    for path, methods in definition["Properties"]["Body"]["paths"].items():
        for method, operation in methods.items():
            integration = operation["x-amazon-apigateway-integration"]
            logical = re.search(r"\$\{(\w+)\.Arn\}", json.dumps(integration["uri"]))
            if not logical:
                raise StackError(f"{method} {path} does not lead to a function")
            resource = cloudformation.describe_stack_resource(StackName=NAME, LogicalResourceId=logical[1])
            name = resource["StackResourceDetail"]["PhysicalResourceId"]
            created = gateway.create_integration(
                ApiId=API,
                IntegrationType="AWS_PROXY",
                IntegrationUri=functions.get_function(FunctionName=name)["Configuration"]["FunctionArn"],
                PayloadFormatVersion=integration["payloadFormatVersion"],
            )
            gateway.create_route(
                ApiId=API,
                RouteKey=f"{method.upper()} {path}",
                Target=f"integrations/{created['IntegrationId']}",
            )


def allow_tasks(iam: Any, publish_role: str) -> None:
    """Lets publish end every task: of these actions the emulator, unlike AWS, does not know the resource."""
    policy = {"RoleName": publish_role, "PolicyName": "publish"}
    document = iam.get_role_policy(**policy)["PolicyDocument"]
    for statement in document["Statement"]:
        if "states:SendTaskSuccess" in statement["Action"]:
            statement["Resource"] = "*"
    iam.put_role_policy(**policy, PolicyDocument=json.dumps(document))


def _client(service: str, endpoint: str) -> Any:
    return boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the emulator takes any
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def stack_from_environment() -> Iterator[SampleBot | None]:
    """Run the stack as PORT and PARAMETERS say, connected to BOT_URL or, without one, to a sample bot.

    Yields that sample bot. Raises StackError. SIGTERM ends the stack as Ctrl-C does.
    """
    environ = os.environ
    port = environ.get("PORT") or str(DEFAULT_PORT)
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise StackError(f"PORT must be a port number, not {port!r}")
    parameters = parse_parameters(environ.get("PARAMETERS", ""))
    url, inbound = environ.get("BOT_URL"), environ.get("BOT_INBOUND_SECRET")
    if url and not inbound:
        raise StackError("BOT_URL needs BOT_INBOUND_SECRET, the inbound secret of that bot in LangBot")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as ends:
        stack = ends.enter_context(local_stack(int(port), parameters))
        outbound = environ.get("BOT_OUTBOUND_SECRET", "")
        bot = None
        if not url or not inbound:
            inbound, outbound = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
            bot = ends.enter_context(SampleBot(stack.outputs["CallbackUrl"], inbound, outbound))
            url = bot.url
        stack.connect(url, inbound, outbound)
        yield bot


def parse_parameters(text: str) -> dict[str, str]:
    """Template parameters from `Name=Value Name=Value`. Raises StackError."""
    parameters = {}
    for pair in text.split():
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise StackError(f'PARAMETERS must read "Name=Value Name=Value"; {pair!r} is no such pair')
        parameters[name] = value
    return parameters


@contextmanager
def _console() -> Iterator[None]:
    """Serve the console at the port behind the stack's. The console prints its link."""
    port = int(os.environ.get("PORT") or DEFAULT_PORT) + 1
    command = [sys.executable, "-m", "relay_cli.main", "console", "--no-browser", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as console:  # noqa: S603
        try:
            yield
        finally:
            console.terminate()


def main() -> int:
    """Run the stack until Ctrl-C."""
    say("Starting the stack (a few seconds) ...")
    try:
        with stack_from_environment() as bot:
            for name, value in json.loads((LOCAL / OUTPUTS).read_text()).items():
                say(f"  {name:20} {value}")
            say(f"  {'bot':20} {bot.url if bot else os.environ['BOT_URL']}")
            say("It runs until Ctrl-C. Outputs: .local/outputs.json; log: .local/ministack.log")
            with _console():
                while True:
                    signal.pause()
    except KeyboardInterrupt:
        say("\nThe stack has ended.")
        return 0
    except StackError as error:
        say(str(error), sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
