"""What the README sends and reads, it sends and reads."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from support.command_line import CommandLine

ROOT = Path(__file__).parents[2]
# In a session of its own, because the examples of docs/querying.md read this one.
README = (ROOT / "README.md").read_text("utf-8").replace("ticket-1", "ticket-readme")
SEND_AND_READ = README.partition("\n## Send and read\n")[2]
REPLY = "echo: Where is my order?"


@pytest.fixture
def relay(deployed, default_bot, tmp_path):
    return CommandLine(deployed, tmp_path)


def test_each_command_of_the_readme_shows_the_reply_or_the_message(relay):
    lines = re.findall(r"^relay (?!console)(.*)$", SEND_AND_READ, re.MULTILINE)
    done = [relay(*shlex.split(line, comments=True)) for line in lines]
    assert [(one.returncode, one.stderr) for one in done] == [(0, "")] * 2
    assert REPLY in done[0].stdout
    assert "answered" in done[1].stdout


def test_the_code_of_the_readme_prints_the_reply(relay):
    (code,) = re.findall(r"```python\n(.*?)```", SEND_AND_READ, re.DOTALL)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "functions")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=relay.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"{REPLY}\n")
