"""The fixtures that more than one test module uses."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from awslambdaric.lambda_runtime_log_utils import JsonFormatter

from local.local_stack import local_stack
from local.sample_bot import SampleBot
from push.dispatcher import Dispatcher
from relay import Stack
from relay.adapters.messages_table import MessagesTable
from settle import due
from support.callback_function import CallbackFunction, callback_in_this_process
from support.command_line import CommandLine
from support.deployed import IN, OUT, Deployed, Talk, new_bot
from support.due_items import no_schedule
from support.event_listener import EventListener, listen
from support.fuzzing import Fuzzer
from support.second_stack import second_stack
from support.workers import Workers


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The stack of template.yaml, one for all tests of a process."""
    folder = tmp_path_factory.mktemp("stack")
    with local_stack(folder=folder) as local:
        yield Deployed(local, Stack.from_file(folder / "outputs.json"))


@pytest.fixture(scope="session")
def default_bot(deployed: Deployed) -> Iterator[SampleBot]:
    """A sample bot that the stack knows as `default`, as examples do."""
    with SampleBot(deployed.local.outputs["CallbackUrl"], IN, OUT) as bot:
        deployed.local.connect(bot.url, IN, OUT)
        yield bot


@pytest.fixture(scope="session")
def guarded(deployed: Deployed) -> Iterator[str]:
    """The name of a second stack, with a customer key and everything else that is off by default."""
    key = deployed.client("kms").create_key()["KeyMetadata"]["Arn"]
    with second_stack(
        deployed,
        "relay-guarded",
        KmsKeyArn=key,
        SenderPrincipals="arn:aws:iam::111111111111:root,arn:aws:iam::333333333333:root",
        SenderSources=f"arn:aws:sns:{deployed.stack.region}:000000000000:orders.fifo",
        TaskOwners=f"arn:aws:states:{deployed.stack.region}:000000000000:stateMachine:ask",
        AccessLog="on",
        AlarmEmail="operator@example.com",
        CreateDashboard="on",
    ) as name:
        yield name


@pytest.fixture
def talk(deployed: Deployed) -> Iterator[Talk]:
    """A bot of the test's own, and a session with it."""
    with new_bot(deployed) as talk:
        yield talk


@pytest.fixture
def workers(deployed: Deployed) -> Workers:
    return Workers(deployed)


@pytest.fixture
def dispatcher(workers: Workers) -> Dispatcher:
    return workers.dispatcher()


@pytest.fixture
def only_this_bot(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only the test handles what is due, and only of its own bot."""
    monkeypatch.setattr(MessagesTable, "bot_items", lambda _: [{"message": talk.name}])
    monkeypatch.setattr(due, "SETTLE", f"settle-of-{talk.name}")
    with no_schedule(talk.deployed):
        yield


@pytest.fixture(scope="module")
def callback_function(deployed: Deployed) -> Iterator[CallbackFunction]:
    with callback_in_this_process(deployed) as function:
        yield function


@pytest.fixture
def callback(callback_function: CallbackFunction, talk: Talk) -> Iterator[CallbackFunction]:
    """Run callback in this process, with the test's own bot; at first all services beneath it work."""
    callback_function.cache_bot(talk.name)
    callback_function.reset()
    yield callback_function
    callback_function.reset()


@pytest.fixture
def relay(talk: Talk, tmp_path: Path) -> CommandLine:
    """The command `relay`, in a folder of its own."""
    return CommandLine(talk.deployed, tmp_path)


@pytest.fixture
def event_listener(talk: Talk) -> Iterator[EventListener]:
    with listen(talk) as listener:
        yield listener


@pytest.fixture
def fuzzer(capsys: pytest.CaptureFixture[str]) -> Fuzzer:
    return Fuzzer(capsys)


@pytest.fixture
def log_lines() -> Iterator[list[str]]:
    """What the functions log meanwhile, each line as Lambda's own formatter writes it."""
    written: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(self.format(record))

    handler = Handler()
    handler.setFormatter(JsonFormatter())
    loggers = [logging.getLogger(name) for name in ("relay", "push", "callback", "settle", "publish")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    yield written
    for logger in loggers:
        logger.removeHandler(handler)
