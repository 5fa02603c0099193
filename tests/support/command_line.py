"""The command `relay`, run as people run it."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from support.deployed import Deployed
from support.relay_process import STREAMS, run

ROOT = Path(__file__).parents[2]
COMMAND = ("-m", "relay_cli.main")
_NOTHING: Mapping[str, str] = {}

FORKS = multiprocessing.get_context("forkserver")
"""Starts processes that have imported what takes `relay` longest."""
FORKS.set_forkserver_preload(
    ["boto3", "botocore.httpsession", "botocore.signers", "fastjsonschema", "requests"]
)


class CommandLine:
    """Runs `relay` in a folder that has the outputs of a local stack, with no other environment.

    `command` is what Python runs as `relay`.
    """

    def __init__(self, deployed: Deployed, folder: Path, command: Sequence[str] = COMMAND) -> None:
        self._command = command
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
        with TemporaryDirectory() as folder:
            scratch = Path(folder)
            stdin, stdout, stderr = (scratch / name for name in STREAMS)
            stdin.write_bytes(text if isinstance(text, bytes) else text.encode())
            environ = {**self._environment, **environment}
            process = FORKS.Process(
                target=run, args=(self._command, arguments, self.folder, environ, scratch)
            )
            process.start()
            process.join()
            code = process.exitcode
            process.close()
            assert code is not None
            return subprocess.CompletedProcess(
                arguments, code, stdout.read_text("utf-8"), stderr.read_text("utf-8")
            )

    @contextmanager
    def running(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """Start a command that runs until Ctrl-C, and end it."""
        with subprocess.Popen(
            [sys.executable, *self._command, *arguments],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
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
