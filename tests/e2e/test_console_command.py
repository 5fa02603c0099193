"""The command `relay console`, as it is typed."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from support.waiting import eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture
def start(deployed, tmp_path):
    """Start the command in a folder with the local stack's outputs."""
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local/outputs.json").write_text(json.dumps(deployed.local.outputs))
    started = []

    def start(*options, path=f"{ROOT}/functions:{ROOT}/infra", browser=None):
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "PYTHONUTF8": "1"}
        env |= {"BROWSER": str(browser)} if browser else {}
        command = [sys.executable, "-m", "relay_cli.main", "console", *options]
        command += [] if browser else ["--no-browser"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=env, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_command_prints_a_link_and_serves_the_page_until_ctrl_c(start):
    console = start("--port", "0")
    said = console.stdout.readline()
    assert said.startswith("The console of the local stack: http://127.0.0.1:")
    link = said.rsplit(" ", 1)[1].strip()
    url, _, token = link.partition("/?token=")
    with requests.Session() as browser:
        browser.trust_env = False
        assert "<title>LangBot Relay</title>" in browser.get(link, timeout=10).text
        browser.headers.update({"Origin": url, "Authorization": f"Bearer {token}"})
        browser.headers["Authorization"] = f"Bearer {browser.post(url + '/api/open', timeout=10).text}"
        # A browser that leaves in the middle of an answer does not end the console.
        for _ in range(3):
            browser.get(f"{url}/api/changes", stream=True, timeout=10).close()
        assert browser.get(f"{url}/api/stack", timeout=10).ok
    assert "The link was used. For another browser: http://127.0.0.1:" in console.stdout.readline()
    console.send_signal(signal.SIGINT)
    assert console.wait(20) == 0
    assert console.stderr.read() == ""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_link_is_not_in_the_browsers_arguments(start, tmp_path, end):
    seen, browser = tmp_path / "seen", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {seen}.new\nmv {seen}.new {seen}\n')
    browser.chmod(0o700)
    console = start("--port", "0", browser=browser)
    link = console.stdout.readline().rsplit(" ", 1)[1].strip()
    eventually(seen.exists, within=20)
    page = Path(seen.read_text().strip().removeprefix("file://"))
    assert link in page.read_text()
    assert page.stat().st_mode & 0o777 == 0o600
    console.send_signal(end)
    assert console.wait(20) == 0
    assert not page.parent.exists()


def test_a_port_that_is_in_use_is_said(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = start("--port", port)
        _, said = done.communicate(timeout=20)
    assert (done.returncode, said) == (1, f"relay: port {port} cannot be used; name another with --port\n")


def test_a_missing_package_is_said_with_what_installs_it(start, tmp_path):
    (tmp_path / "uvicorn.py").write_text("raise ImportError(name='uvicorn')")
    done = start(path=f"{tmp_path}:{ROOT}/functions:{ROOT}/infra")
    _, said = done.communicate(timeout=20)
    assert done.returncode == 1
    advice = "run pip install '.[console]' in a clone of the repository"
    assert said == f"relay: the console needs uvicorn: {advice}\n"
