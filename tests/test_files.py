"""Files and folders that are written whole, by one process at a time."""
from pathlib import Path

import pytest

from config import UserError
from datasets import files


def test_a_process_that_is_refused_leaves_the_folder_of_the_other(tmp_path, monkeypatch):
    folder = tmp_path / "toy"
    folder.mkdir()
    with files.alone(folder):
        monkeypatch.setattr(Path, "exists", lambda _: False)  # as it was a moment before
        with pytest.raises(UserError, match="another process"), files.data_set(folder / "data.h5"):
            pass
        monkeypatch.undo()
        assert folder.exists()
