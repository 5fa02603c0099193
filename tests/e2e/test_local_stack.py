"""The local stack as `make local` starts it."""

import pytest

from local.local_stack import OUTPUTS, StackError, local_stack


def test_only_its_user_reads_the_outputs_also_over_a_file_that_was_left(tmp_path):
    (tmp_path / OUTPUTS).touch(0o644)
    with local_stack(folder=tmp_path):
        assert (tmp_path / OUTPUTS).stat().st_mode & 0o777 == 0o600


def test_a_second_stack_in_the_same_folder_is_refused(tmp_path):
    with local_stack(folder=tmp_path):
        before = (tmp_path / OUTPUTS).read_text()
        with pytest.raises(StackError, match="runs already"), local_stack(folder=tmp_path):
            pass
        assert (tmp_path / OUTPUTS).read_text() == before
