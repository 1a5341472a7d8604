"""The other methods on the detector: relation modules, maps of filters, gradients, coefficients guided by maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.data.voc_sample import write_sample

from convslim.errors import RecipeError
from convslim.pipeline import parse_recipe, run

SIDE = 64
TRAIN = {"epochs": 1, "batch_size": 4, "optimizer": "adam", "lr": 1e-3, "weight_decay": 0}
CUT = {"budget": {"macs": 0.8}, "num_batches": 2, "batch_size": 4, "ways": ["class"]}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("voc") / "sample", images=8, side=SIDE)


def recipe(sample: Path, *steps: dict[str, Any]) -> Any:
    options = {"train": "train", "side": SIDE, "workers": 0}
    return parse_recipe(
        {
            "name": "methods",
            "threads": 1,
            "model": {"spec": "yolov3_mobilenetv2", "options": {"num_classes": 2, "width": 0.1}},
            "data": {"spec": f"voc:{sample}", "options": options},
            "steps": list(steps),
        }
    )


METHODS: dict[str, list[dict[str, Any]]] = {
    "gfr": [{"sparsify": {**TRAIN, "gfr": {}}}, {"prune": {**CUT, "criterion": "gfr"}}],
    "activeness": [{"prune": {**CUT, "criterion": "activeness"}}],
    "taylor": [{"prune": {**CUT, "criterion": "taylor"}}],
    "self-selection": [
        {"select": {**TRAIN, "epochs": 2, "budget": {"macs": 0.8}, "distill": {"kind": "attention", "weight": 1.0}}}
    ],
    "guided": [{"prune": {**CUT, "criterion": "l1"}}, {"finetune": {**TRAIN, "distill": {"kind": "hint"}}}],
}


@pytest.mark.parametrize("method", METHODS)
def test_a_smaller_detector_comes_out(sample: Path, tmp_path: Path, method: str):
    record = run(recipe(sample, *METHODS[method]), tmp_path / "run", quiet=True)
    last = record.steps[-1]
    assert last.measure == "mAP@0.5"
    assert last.macs <= 0.8 * record.base_macs
    if method == "guided":
        assert last.details["epochs"][0]["guidance"] > 0


@pytest.mark.parametrize(
    "step",
    [
        {"train": {**TRAIN, "distill": {"kind": "logits"}}},
        {"select": {**TRAIN, "budget": {"macs": 0.8}}},
        {"quantize": {"mode": "qat", "train": {**TRAIN, "distill": {"losses": [{"kind": "hint"}, {"kind": "dkd"}]}}}},
    ],
)
def test_class_scores_are_not_compared(sample: Path, tmp_path: Path, step: dict[str, Any]):
    """Which is met before the step that trains for hours before it."""
    (kind,) = step
    key = "train.distill" if kind == "quantize" else "distill"
    words = rf"Step 2 \({kind}\): Distillation by .* the images have boxes.* 'steps.{kind}.{key}={{kind: attention}}'"
    with pytest.raises(RecipeError, match=words):
        run(recipe(sample, {"train": TRAIN}, step), tmp_path / "run", quiet=True)
    assert not list((tmp_path / "run").glob("steps/01-*"))
