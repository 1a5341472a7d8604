"""A detector in two processes under torchrun (gloo) against one process with the same batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.data.voc_sample import write_sample
from tests.torchrun import torchrun
from tests.train import two_detectors
from tests.train.two_detectors import judged, trained


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("voc") / "sample", images=12, side=64)


@pytest.fixture(scope="module")
def facts(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What both processes found."""
    out = tmp_path_factory.mktemp("two")
    torchrun(Path(two_detectors.__file__), root, out)
    first, second = (json.loads((out / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    return dict(first)


def test_average_precision_of_shared_images_is_that_of_all(facts: dict[str, Any]):
    alone = judged(0, 1, 33)
    assert 0.2 < alone.value < 0.9
    assert facts["judged"] == json.loads(json.dumps(alone.record_fields()))


def test_two_processes_train_and_evaluate_like_one(facts: dict[str, Any], root: Path):
    alone = trained(root)
    # BatchNorms of 2×2 maps enlarge roundings.
    assert facts["trained"]["losses"] == pytest.approx(alone["losses"], rel=5e-3)
    assert facts["trained"]["loss"] == pytest.approx(alone["loss"], rel=5e-3)
    assert facts["trained"]["total"] == alone["total"] == 5
