"""The local stack as `make local` starts it."""

import pytest

from local.local_stack import OUTPUTS, StackError, local_stack


def test_a_second_stack_in_the_same_folder_is_refused(tmp_path):
    with local_stack(folder=tmp_path):
        before = (tmp_path / OUTPUTS).read_text()
        with pytest.raises(StackError, match="runs already"), local_stack(folder=tmp_path):
            pass
        assert (tmp_path / OUTPUTS).read_text() == before
