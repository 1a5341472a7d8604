"""What all tests share: a fixed seed, and the real files where a machine has them."""

import math
from pathlib import Path

import pytest
import torch

from convslim.data import DataSource, open_data
from convslim.data.cifar10 import search_folders
from convslim.train import progress


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_lines_in_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that a run writes now and then would come into whatever a test reads at that moment."""
    monkeypatch.setattr(progress, "LINE_EVERY", math.inf)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with CIFAR-10 and pretrained networks."""
    for folder in search_folders():
        if (folder / "cifar10").is_dir():
            return folder
    pytest.skip(f"no CIFAR-10 in {' or '.join(map(str, search_folders()))}; set CONVSLIM_DATA to test on it")


@pytest.fixture(scope="session")
def real_cifar10(real_data: Path) -> DataSource:
    """The real CIFAR-10, decoded once."""
    return open_data(f"cifar10:{real_data}")
