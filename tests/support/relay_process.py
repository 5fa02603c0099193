"""What a process of `relay` does; it imports nothing that `relay` would not."""

import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

STREAMS = ("stdin", "stdout", "stderr")


def run(
    command: Sequence[str],
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    scratch: Path,
) -> None:
    """Become `python COMMAND ARGUMENTS` in a folder, with the standard streams in files of `scratch`."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, name in enumerate(STREAMS):
        os.dup2(os.open(scratch / name, os.O_RDWR | os.O_CREAT), number)
        errors = "backslashreplace" if name == "stderr" else "surrogateescape"
        encoding = environment.get("PYTHONIOENCODING", "utf-8")
        stream = open(number, "w" if number else "r", encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
    *option, program = command  # with -m or without
    sys.argv = [program, *arguments]
    try:
        (runpy.run_module if option else runpy.run_path)(program, run_name="__main__")
    except Exception:
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
