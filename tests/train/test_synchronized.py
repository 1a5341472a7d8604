"""BatchNorm in two processes, of unequal shares, against one process that has the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.torchrun import torchrun
from tests.train import two_shares
from tests.train.two_shares import CASES, computed
from torch import Tensor

from convslim.train.synchronized import synchronized

TOGETHER: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "outputs": lambda one, two: torch.cat([one, two]),
    "gradient": lambda one, two: torch.cat([one, two]),
    "weight": torch.add,
    "buffer": lambda one, two: two,
}
"""What two processes found, as one process finds it."""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shares")
    torchrun(Path(two_shares.__file__), folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_two_processes_are_one(out: Path, name: str):
    case = CASES[name]
    alone = computed(case, slice(None), together=False)
    first, second = (load_file(out / f"{name}-{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == second.keys() == alone.keys()
    for key, value in alone.items():
        together = TOGETHER[key.split()[0]](first[key], second[key])
        torch.testing.assert_close(together, value, rtol=case.tolerance, atol=case.tolerance)


def test_running_statistics_are_equal_to_the_bit(out: Path):
    for name in CASES:
        first, second = (load_file(out / f"{name}-{rank}.safetensors") for rank in (0, 1))
        assert all(torch.equal(first[key], second[key]) for key in first if key.startswith("buffer"))


def test_without_synchronization_they_are_not(out: Path):
    case = CASES["2d"]
    alone, part = computed(case, slice(None), together=False), computed(case, slice(5), together=False)
    assert not torch.allclose(part["outputs 0"], alone["outputs 0"][:5], atol=0.01)


def test_one_value_in_all_processes_is_refused(out: Path):
    for rank in (0, 1):
        assert "more than 1 value per channel" in (out / f"refused-{rank}").read_text()


def test_other_functions_are_left_alone():
    with synchronized():
        assert torch.nn.BatchNorm2d(2).eval()(torch.ones(1, 2, 3, 3)).shape == (1, 2, 3, 3)
