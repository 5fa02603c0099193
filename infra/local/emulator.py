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
    from ministack.app import main  # type: ignore[import-not-found]
    from ministack.core.lambda_runtime import Worker  # type: ignore[import-not-found]

    # After each invocation it waits 50 ms for a first line of the log, then 5 ms for another one. A function
    # writes its log before its result, so 5 ms are enough; a later line is shown after the next invocation.
    Worker._drain_stderr_bounded.__defaults__ = (0.005, 0.005, 0.25)
    main()
