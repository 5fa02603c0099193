import json
import sys

import pytest

from local.demo import Session
from relay_cli.main import parser
from relay_cli.terminal import complain, say, say_json, shell_quote, show_crash, truncate

STEERING = {
    "C0": "\x08",
    "escape": "\x1b[2J",
    "OSC": "\x1b]0;title\x07",
    "DEL": "\x7f",
    "C1": "\x9b2J",
    "bidi override": "\u202e",
    "bidi isolate": "\u2067",
    "symmetric swapping": "\u206a",
    # A stream with the error handler surrogateescape, as in the locale C, writes this as the byte 9b.
    "C1 as a byte": "\udc9b2J",
}


@pytest.fixture(params=STEERING.values(), ids=STEERING.keys())
def steering(request):
    """A text that would steer a terminal."""
    return f"a{request.param}b"


def shown(text):
    """Tell whether a terminal shows a printed text as it is."""
    return all(c.isprintable() or c == "\n" for c in text)


def test_a_text_for_people_does_not_steer_the_terminal(steering, capsys):
    say(steering)
    assert shown(capsys.readouterr().out)


def test_an_error_for_people_does_not_steer_the_terminal(steering, capsys):
    complain(steering)
    assert shown(capsys.readouterr().err)


def test_json_does_not_steer_the_terminal_and_keeps_the_text(steering, capsys):
    say_json({steering: steering})
    printed = capsys.readouterr().out
    assert shown(printed)
    assert json.loads(printed) == {steering: steering}


def test_a_word_for_the_shell_does_not_steer_the_terminal(steering):
    assert shown(shell_quote(steering))


def test_a_refused_argument_does_not_steer_the_terminal(steering, capsys):
    with pytest.raises(SystemExit) as refused:
        parser()[0].parse_args(["tail", "--", "session", steering])
    printed = capsys.readouterr().err
    assert refused.value.code == 2
    assert shown(printed)
    assert printed.count("\n") == 1


def test_an_unforeseen_error_does_not_steer_the_terminal(steering, capsys):
    try:
        raise KeyError(steering) from ValueError(steering)
    except KeyError:
        show_crash(*sys.exc_info())
    printed = capsys.readouterr().err
    assert shown(printed)
    assert "test_terminal.py" in printed


def test_a_reply_in_the_demonstration_does_not_steer_the_terminal(steering, capsys):
    Session("ticket-1", OneReply(steering), None).show_new()
    assert shown(capsys.readouterr().out)


class OneReply:
    """A conversation with a reply of one part."""

    def __init__(self, text):
        self.text = text

    def parts(self, after=""):
        return [{"part": "1", "reply_to": "r", "sequence": 1, "text": self.text}]


def test_line_ends_and_tabs_of_a_text_are_kept(capsys):
    say("one\n\ttwo")
    assert capsys.readouterr().out == "one\n\ttwo\n"


@pytest.mark.parametrize(
    ("line", "width", "cut"),
    [
        ("hello", 5, "hello"),
        ("hello", 4, "hel…"),
        ("\u4f60\u597d\u5417", 6, "\u4f60\u597d\u5417"),
        ("\u4f60\u597d\u5417", 5, "\u4f60\u597d…"),
        ("hello", None, "hello"),
    ],
)
def test_a_line_is_cut_by_the_cells_that_it_takes(line, width, cut):
    assert truncate(line, width) == cut
