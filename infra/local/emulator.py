"""Runs in the emulator's own Python: ministack, for as long as the parent lives.

The argument is the folder with what requirements.txt pins; only the functions get to see it.
"""

import os
import signal
import sys
import threading
from pathlib import Path


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # returns when the parent closes the pipe, or dies however it dies
    os.killpg(0, signal.SIGKILL)  # the functions' processes too


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["PYTHONPATH"] = os.pathsep.join([sys.argv.pop(), f"{Path(__file__).parent}/lambda_site"])
    from ministack import app  # type: ignore[import-not-found]
    from ministack.core.lambda_runtime import Worker  # type: ignore[import-not-found]
    from ministack.services import lambda_svc  # type: ignore[import-not-found]
    from ministack.services.cloudformation.provisioners import (  # type: ignore[import-not-found]
        _RESOURCE_HANDLERS,
    )

    # After each invocation it waits 50 ms for a first line of the log, then 5 ms for another one. A function
    # writes its log before its result, so 5 ms are enough; a later line is shown after the next invocation.
    Worker._drain_stderr_bounded.__defaults__ = (0.005, 0.005, 0.25)
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
    app.main()
