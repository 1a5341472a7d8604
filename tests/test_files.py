"""Files are the old ones or the new ones, never half of either."""

import os

import pytest

from convslim.errors import ArtifactError
from convslim.files import replace_text


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(step, tmp_path, monkeypatch):
    file = replace_text(tmp_path / "plan.json", "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(ArtifactError, match=r"plan\.json cannot be written: .*No space left.*free some space"):
        replace_text(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_place_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"file/plan\.json cannot be written"):
        replace_text(tmp_path / "file" / "plan.json", "{}")
