"""The fixtures of the beliefs: an implementation of AWS, a queue and a table on it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import pytest

from beliefs import probe
from beliefs.implementations import STACK, Implementation, Models, dynalite, moto
from beliefs.probe import ModelProbe, Probe
from relay import Stack


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Stack:
    """The deployed stack that BELIEFS_STACK names, or else the local stack of the tests."""
    if STACK.endswith(".json"):
        return Stack.from_file(STACK)
    if STACK:
        return Stack.from_cloudformation(STACK)
    found: Stack = request.getfixturevalue("deployed").stack
    return found


@pytest.fixture(scope="session")
def implementations(stack: Stack) -> Iterator[Callable[[str], Implementation]]:
    """Return an implementation by its name; each is started once."""
    started: dict[str, Implementation] = {}
    servers: dict[str, Callable[[], AbstractContextManager[Implementation]]] = {
        "moto": moto,
        "dynalite": dynalite,
    }
    with ExitStack() as running:

        def of(name: str) -> Implementation:
            if name not in started:
                if name in servers:
                    started[name] = running.enter_context(servers[name]())
                elif name == "model":
                    started[name] = Models()
                else:
                    started[name] = Implementation(stack.client)
            return started[name]

        yield of


@pytest.fixture
def aws(request: pytest.FixtureRequest, implementations: Callable[[str], Implementation]) -> Implementation:
    """The implementation that the test is tried on."""
    return implementations(request.param)


@pytest.fixture(scope="session")
def tables(implementations: Callable[[str], Implementation]) -> Iterator[Callable[[Implementation], str]]:
    """Return the table of the beliefs on an implementation; tests have sessions of their own in it."""
    made: dict[int, str] = {}
    with ExitStack() as running:

        def of(aws: Implementation) -> str:
            if id(aws) not in made:
                made[id(aws)] = running.enter_context(aws.table())
            return made[id(aws)]

        yield of


@pytest.fixture
def table(aws: Implementation, tables: Callable[[Implementation], str]) -> str:
    return tables(aws)


@pytest.fixture
def queue(aws: Implementation) -> Iterator[str]:
    """A FIFO queue of the test's own; a message in flight is hidden for 2 seconds."""
    with aws.queue(visibility=2) as url:
        yield url


@pytest.fixture(scope="session")
def deployed_probe(stack: Stack) -> Iterator[Probe]:
    """A function behind a queue, a stream and an API, in a stack of its own."""
    with probe.deployed_probe(stack) as deployed:
        yield deployed


@pytest.fixture
def probed(request: pytest.FixtureRequest) -> Probe | ModelProbe:
    """The probe on the implementation that the test is tried on."""
    if request.param == "model":
        return ModelProbe()
    deployed: Probe = request.getfixturevalue("deployed_probe")
    return deployed
