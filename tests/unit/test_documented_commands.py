"""The documents name the commands, options and exit codes that the command line has."""

import re
from pathlib import Path

import pytest

from relay_cli.main import EXIT_CODES, parser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGE = (ROOT / "docs/commands.md").read_text("utf-8")
LISTED = re.findall(r"^\| `relay (\w+)` \|(.*)$", PAGE, re.MULTILINE)
ROWS = dict(LISTED)
SHARED = {"--help", *re.findall(r"^\| `(--[a-z-]+)` \|", PAGE, re.MULTILINE)}
COMMANDS = parser()[1]


def test_the_table_has_each_command_in_the_order_of_the_help():
    assert [command for command, _ in LISTED] == list(COMMANDS)


@pytest.mark.parametrize("command", ROWS)
def test_a_row_has_each_option_that_is_the_command_s_own(command):
    options = set(re.findall(r"--[a-z-]+", COMMANDS[command].format_help()))
    assert set(re.findall(r"`(--[a-z-]+)`", ROWS[command])) == options - SHARED


def test_the_exit_codes_are_those_of_the_help():
    documented = re.findall(r"^\| (\d) \| (.*) \|$", PAGE, re.MULTILINE)
    assert documented == re.findall(r"^  (\d)  (.*)$", EXIT_CODES, re.MULTILINE)


def commands_in(text):
    """Return the commands that a page quotes, in blocks of code or in a sentence."""
    blocks = "".join(re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL))
    return re.findall(r"^(?:\$ )?(relay .*)", blocks, re.MULTILINE) + re.findall(r"`(relay\s+[^`]*)`", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_quotes_only_commands_and_options_that_exist(page, capsys):
    for quoted in commands_in(page.read_text("utf-8")):
        _, *words = quoted.split()
        command = [word for word in words[: 2 if words[0] == "bots" else 1] if re.fullmatch("[a-z]+", word)]
        with pytest.raises(SystemExit) as ended:
            parser()[0].parse_args([*command, "--help"])
        assert ended.value.code == 0, quoted
        options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
        assert {word for word in words if word.startswith("--")} <= options, quoted
