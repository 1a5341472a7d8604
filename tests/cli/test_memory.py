"""What memory a compression needs."""

import pytest
import torch

from convslim.cli import memory
from convslim.data.unlabeled import Preprocessing, unlabeled_split
from convslim.measure.machine import peak_memory


@pytest.mark.parametrize(("gibibytes", "words"), [(8, []), (3, ["3 GiB", "has 3", "--num-images 142 "])])
def test_many_large_images_are_pointed_out(gibibytes, words, monkeypatch):
    monkeypatch.setattr(memory, "physical_memory", lambda: gibibytes * 2**30)
    preprocessing = Preprocessing((3, 224, 224), 224, "bilinear", (0.0,) * 3, (1.0,) * 3)
    text = memory.memory_note(unlabeled_split(torch.empty(1024, 3, 1, 1, dtype=torch.uint8), preprocessing))
    assert bool(text) == bool(words)
    assert [word for word in words if word not in text] == []


def test_the_peak_is_at_least_what_is_held_now():
    held = torch.ones(2**26, dtype=torch.uint8)
    peak = peak_memory()
    assert peak is None or peak > held.nbytes
