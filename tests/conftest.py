"""What all tests share: a fixed seed, and the real files where a machine has them."""

from pathlib import Path

import pytest
import torch

from convslim.data import DataSource, open_data
from convslim.data.cifar10 import search_folders


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


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
