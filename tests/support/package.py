"""Builds the package of the functions as `sam build` does, with packages and Python of the tests."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# What functions/Makefile asks of uv: packages for Lambda, and its Python.
_UV = f"""#!/bin/sh
case "$1" in
  pip) while [ "$1" != --target ]; do shift; done
       tar -cf - --exclude __pycache__ -C "{ROOT}/.local/package" . | tar -xf - -C "$2" ;;
  run) [ -z "$WITHOUT_PYTHON" ] || exit 2
       while [ "$1" != -m ]; do shift; done
       exec "{sys.executable}" "$@" ;;
esac
"""


def build_package(folder: Path, **environment: str) -> Path:
    """Build the package in a new folder of `folder`, and return that one.

    What is printed is in `build.log`. With `WITHOUT_PYTHON` uv finds no Python of Lambda's version.
    """
    package, uv = folder / "package", folder / "bin/uv"
    package.mkdir()
    uv.parent.mkdir()
    uv.write_text(_UV)
    uv.chmod(0o755)
    with (folder / "build.log").open("w") as log:
        subprocess.run(
            ["make", "build-PushFunction"],
            cwd=ROOT / "functions",
            env={"PATH": f"{uv.parent}:{os.environ['PATH']}", "ARTIFACTS_DIR": str(package)} | environment,
            stdout=log,
            check=True,
        )
    return package
