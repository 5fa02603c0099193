"""docs/reference.md has what a program knows: `make check` compares it with the code."""

import pytest

from relay.domain.part import ReplyPart
from relay.domain.record import MessageRecord
from relay.metrics import Metric
from support import reference


@pytest.mark.parametrize(
    ("path", "kind"), [("relay/domain/record.py", MessageRecord), ("relay/domain/part.py", ReplyPart)]
)
def test_each_attribute_of_an_item_has_a_description(path, kind):
    described = reference.members(path, kind.__name__)
    assert set(described) == kind.__required_keys__ | kind.__optional_keys__


def test_an_attribute_without_a_docstring_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "FUNCTIONS", tmp_path)
    (tmp_path / "item.py").write_text("class Item:\n    kept: str\n    '''Why.'''\n    lost: str\n")
    with pytest.raises(KeyError, match=r"Item\.lost needs a docstring"):
        reference.members("item.py", "Item")


def test_each_metric_has_who_writes_it_of_what_in_which_unit():
    rows = reference.metrics().splitlines()[2:]
    assert len(rows) == len(Metric)
    assert all(cell.strip() for row in rows for cell in row.strip("|").split("|"))
    assert any(row.startswith("| `TimeToAnswer` | `bot` | ms | push, settle |") for row in rows)
    assert any(row.startswith("| `Unknown` | `bot` | count | push |") for row in rows)


def test_each_command_is_listed_with_its_own_options():
    text = reference.commands()
    assert "#### `relay bots rotate`\n\nGive both sides new secrets" in text
    assert "| `--dedup-id ID` | a repetition with it within five minutes is the same message |" in text
    assert "--stack" not in text


def test_a_cell_keeps_its_row_whole():
    assert reference.table(["a"], [["one|two\nthree"]]) == "| a |\n| --- |\n| one\\|two three |\n"


def test_the_parameters_outputs_alarms_and_schemas_are_described():
    assert "| `MaxResends` | `0` | from 0 to 3 | Number of times" in reference.parameters()
    assert "| `PushQueueUrl` | URL of the queue" in reference.outputs()
    assert (
        "| `SettleStoppedAlarm` | `AsyncEventAge` (average) is above 30000 in 5 min, or has no value |"
        in (reference.alarms())
    )
    assert "| `read.first` | string | The sort key" in reference.events()
