"""The documents name the commands and options that the command line has."""

import re
from pathlib import Path

import pytest

from relay_cli.main import parser

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("README*.md")), *sorted((ROOT / "docs").glob("*.md"))]


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
