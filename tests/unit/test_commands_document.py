"""docs/commands.md has the commands, options and exit codes of the command line."""

import re
from pathlib import Path

import pytest

from relay_cli.main import EXIT_CODES, parser

PAGE = (Path(__file__).parents[2] / "docs/commands.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| `relay (\w+)` \|(.*)$", PAGE, re.MULTILINE))
SHARED = {"--help", *re.findall(r"^\| `(--[a-z-]+)` \|", PAGE, re.MULTILINE)}
COMMANDS = parser()[1]


def test_the_table_has_each_command_in_the_order_of_the_help():
    assert list(ROWS) == list(COMMANDS)


@pytest.mark.parametrize("command", ROWS)
def test_a_row_has_each_option_that_is_the_command_s_own(command):
    options = set(re.findall(r"--[a-z-]+", COMMANDS[command].format_help()))
    assert set(re.findall(r"`(--[a-z-]+)`", ROWS[command])) == options - SHARED


def test_the_exit_codes_are_those_of_the_help():
    documented = re.findall(r"^\| (\d) \| (.*) \|$", PAGE, re.MULTILINE)
    assert documented == re.findall(r"^  (\d)  (.*)$", EXIT_CODES, re.MULTILINE)
