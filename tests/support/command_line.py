"""The command `relay`, run as people run it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.deployed import Deployed

ROOT = Path(__file__).parents[2]
COMMAND = ("-m", "relay_cli.main")
_NOTHING: Mapping[str, str] = {}


class CommandLine:
    """Runs `relay` in a folder that has the outputs of a local stack, with no other environment.

    `command` is what Python runs as `relay`.
    """

    def __init__(self, deployed: Deployed, folder: Path, command: Sequence[str] = COMMAND) -> None:
        self._command = [sys.executable, *command]
        self.outputs = folder / ".local/outputs.json"
        self.outputs.parent.mkdir()
        self.outputs.write_text(json.dumps(deployed.local.outputs))
        self.folder = folder
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}/functions:{ROOT}/infra",
            "PYTHONUTF8": "1",
        }

    def __call__(
        self, *arguments: str, text: str | bytes = "", environment: Mapping[str, str] = _NOTHING
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end; `text` is its standard input."""
        done = subprocess.run(
            [*self._command, *arguments],
            cwd=self.folder,
            env={**self._environment, **environment},
            input=text if isinstance(text, bytes) else text.encode(),
            capture_output=True,
            timeout=500,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    @contextmanager
    def running(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """Start a command that runs until Ctrl-C, and end it."""
        with subprocess.Popen(
            [*self._command, *arguments],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
            # A process in the background of a shell would ignore it.
            preexec_fn=_obey_ctrl_c,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def _obey_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
