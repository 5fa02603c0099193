"""What a boto3 client is to the code of the relay: calls that take time, fail, and are tried again."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, Protocol

from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from simulation.faults import Fault, Faults
from simulation.world import World


class Exceptions:
    """The attribute `exceptions` of a client: a class for each code."""

    @staticmethod
    @cache
    def of(code: str) -> type[ClientError]:
        return type(code, (ClientError,), {})

    def __getattr__(self, code: str) -> type[ClientError]:
        return self.of(code)


def refusal(code: str, operation: str, message: str = "", **more: Any) -> ClientError:
    """Return the error with which a service refuses a call."""
    response: Any = {"Error": {"Code": code, "Message": message}, **more}
    return Exceptions.of(code)(response, operation)


class Service(Protocol):
    """A service; its methods are the operations, with the names and arguments of boto3."""

    name: str
    throttled: str
    """The code of the error with which it throttles."""


class Client:
    """A client of `service`, for the process that calls it; it makes `tries` of a call, as botocore does."""

    def __init__(
        self,
        world: World,
        faults: Faults,
        service: Service,
        tries: int = 1,
        connect: float = 2,
        read: float = 3,
    ) -> None:
        self.exceptions = Exceptions()
        self._world, self._faults, self._service = world, faults, service
        self._tries, self._connect, self._read = tries, connect, read
        self._chance = world.chance(f"latency of {service.name}")

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        return partial(self._call, operation)

    def get_paginator(self, operation: str) -> Any:
        def paginate(**arguments: Any) -> Iterator[Any]:
            while True:
                page = self._call(operation, **arguments)
                yield page
                if "LastEvaluatedKey" not in page:
                    return
                arguments["ExclusiveStartKey"] = page["LastEvaluatedKey"]

        return SimpleNamespace(paginate=paginate)

    def _call(self, operation: str, **arguments: Any) -> Any:
        caller = self._world.current.process.name
        planned = self._faults.planned_of_call(caller, self._service.name, operation)
        for tries_left in reversed(range(self._tries)):
            fault = planned or self._faults.of_call(self._service.name, operation)
            try:
                return self._try(operation, arguments, fault)
            except (ClientError, EndpointConnectionError, ConnectTimeoutError, ReadTimeoutError):
                if not fault:
                    raise
                if not tries_left:
                    self._faults.failed_calls.append((self._service.name, self._world.now))
                    raise
                self._world.sleep(self._chance.random())
        raise AssertionError

    def _try(self, operation: str, arguments: dict[str, Any], fault: Fault | None) -> Any:
        service, process = self._service, self._world.current.process
        self._world.sleep(self._chance.random() * self._faults.scenario.latencies.call)
        match fault:
            case Fault.THROTTLED:
                raise refusal(service.throttled, operation, "Rate exceeded")
            case Fault.BROKEN:
                raise refusal("InternalServerError", operation, "Internal server error")
            case Fault.DENIED:
                raise refusal("AccessDeniedException", operation, "explicit deny in an identity-based policy")
            case Fault.UNREACHABLE:
                raise EndpointConnectionError(endpoint_url=service.name)
            case Fault.HANGS:
                self._world.sleep(self._connect + self._read)
                raise ReadTimeoutError(endpoint_url=service.name)
        result = self._world.effect(
            process, f"{service.name}.{operation}", lambda: getattr(service, operation)(**arguments)
        )
        if fault is Fault.RESPONSE_LOST:
            self._world.sleep(self._read)
            raise ReadTimeoutError(endpoint_url=service.name)
        return result
