"""The command `relay`, run as people run it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from support.deployed import Deployed

ROOT = Path(__file__).parents[2]


class CommandLine:
    """Runs `relay` in a folder that has the outputs of a local stack, with no other environment."""

    def __init__(self, deployed: Deployed, folder: Path) -> None:
        (folder / ".local").mkdir()
        (folder / ".local/outputs.json").write_text(json.dumps(deployed.local.outputs))
        self._folder = folder
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}/functions:{ROOT}/infra",
            "PYTHONUTF8": "1",
        }

    def __call__(
        self, *arguments: str, text: str | None = None, environment: Mapping[str, str] = {}
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end; `text` is its standard input."""
        return subprocess.run(
            [sys.executable, "-m", "relay_cli.main", *arguments],
            cwd=self._folder,
            env={**self._environment, **environment},
            input=text or "",
            capture_output=True,
            text=True,
            timeout=500,
        )
