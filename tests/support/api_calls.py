"""The calls to AWS of the workers, counted at their clients."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from support.deployed import Deployed


@dataclass(frozen=True)
class ApiCalls:
    """Calls, and the capacity units that DynamoDB reports for them; both by operation."""

    calls: Counter[str] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)

    def clear(self) -> None:
        self.calls.clear()
        self.units.clear()


@contextmanager
def counted_calls(deployed: Deployed, *services: str) -> Iterator[ApiCalls]:
    """Count the calls of the clients that all workers share, and of the library's."""
    counted = ApiCalls()

    def ask_for_units(params: dict[str, Any], **_: Any) -> dict[str, Any]:
        return params | {"ReturnConsumedCapacity": "TOTAL"}

    def count(parsed: Mapping[str, Any], model: Any, **_: Any) -> None:
        counted.calls[model.name] += 1
        consumed = parsed.get("ConsumedCapacity", [])
        for one in consumed if isinstance(consumed, list) else [consumed]:
            counted.units[model.name] += one["CapacityUnits"]

    clients = [of.client(service) for of in (deployed, deployed.stack) for service in services]
    try:
        for client in clients:
            client.meta.events.register("provide-client-params.dynamodb", ask_for_units)
            client.meta.events.register("after-call", count)
        yield counted
    finally:
        for client in clients:
            client.meta.events.unregister("provide-client-params.dynamodb", ask_for_units)
            client.meta.events.unregister("after-call", count)
