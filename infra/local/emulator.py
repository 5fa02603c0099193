"""Runs in the emulator's own Python: ministack, for as long as the parent lives.

The argument is the folder with what requirements.txt pins; only the functions get to see it.
"""

import json
import os
import queue
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

LAST_LINE = "end of the invocation"
LAST_LINE_WITHIN = 5
"""Seconds to wait for it: only a process that has died does not write it."""


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # returns when the parent closes the pipe, or dies however it dies
    os.killpg(0, signal.SIGKILL)  # the functions' processes too


def _log_of(worker: Any) -> str:
    """Return what a function's process logged up to its last line."""
    lines: list[str] = []
    with suppress(queue.Empty):
        while (line := worker._stderr_queue.get(timeout=LAST_LINE_WITHIN)) != LAST_LINE:
            lines.append(line)
    return "\n".join(lines)


def _resource(kind: str, create: Any, delete: Any) -> dict[str, Any]:
    """Return how CloudFormation handles a resource whose API has the same properties."""

    def created(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, str]]:
        name = f"{stack}-{logical_id}"
        status, _, body = create(properties | {"Name": name})
        if status != 200:
            raise ValueError(body)
        return name, {"Arn": json.loads(body)[f"{kind}Arn"]}

    return {"create": created, "delete": lambda name, _properties: delete({"Name": name})}


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["PYTHONPATH"] = os.pathsep.join([sys.argv.pop(), f"{Path(__file__).parent}/lambda_site"])
    from ministack import app  # type: ignore[import-not-found]
    from ministack.core import lambda_runtime  # type: ignore[import-not-found]
    from ministack.services import eventbridge, lambda_svc  # type: ignore[import-not-found]
    from ministack.services.cloudformation.provisioners import (  # type: ignore[import-not-found]
        _RESOURCE_HANDLERS,
    )

    # It waits 50 ms for the log of an invocation, and shows a later line only after the next invocation, if
    # there is one. So each function's process writes a last line before it returns a result.
    before, flush, after = lambda_runtime._PYTHON_WORKER_SCRIPT.rpartition("        _real_stdout.flush()\n")
    lambda_runtime._PYTHON_WORKER_SCRIPT = f"{before}        print({LAST_LINE!r})\n{flush}{after}"
    lambda_runtime.Worker._drain_stderr_bounded = _log_of
    # It delivers the batches of a FIFO queue one after the other, AWS side by side. Its queues lock a message
    # group while one of its messages is in flight, so the order stays.
    lambda_svc._sqs_esm_concurrency = lambda mapping, *_: int(mapping["ScalingConfig"]["MaximumConcurrency"])
    # The template's policies refuse requests without TLS. Here everything is HTTP on the loopback interface.
    pin_request_origin = app.pin_request_origin
    app.pin_request_origin = lambda source_ip, _secure: pin_request_origin(source_ip, True)

    # It has no saved queries, which nothing here would run.
    _RESOURCE_HANDLERS["AWS::Logs::QueryDefinition"] = {
        "create": lambda logical_id, _properties, _stack: (logical_id, {}),
        "delete": lambda _physical_id, _properties: None,
    }
    # Its CloudFormation has neither of these, which its EventBridge has.
    _RESOURCE_HANDLERS["AWS::Events::Connection"] = _resource(
        "Connection", eventbridge._create_connection, eventbridge._delete_connection
    )
    _RESOURCE_HANDLERS["AWS::Events::ApiDestination"] = _resource(
        "ApiDestination", eventbridge._create_api_destination, eventbridge._delete_api_destination
    )
    app.main()
