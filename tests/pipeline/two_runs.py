"""Run by torchrun in `test_two_processes.py`, and imported there: recipes, carried out in a folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

from torch import nn

from convslim.pipeline import parse_recipe, run

TRAIN: Final = {"epochs": 2, "batch_size": 64, "steps_per_epoch": 8, "threads": 1}
CUT: Final = {"budget": {"macs": 0.5}, "round_to": 1}


class Steps(NamedTuple):
    """A network and what happens to it."""

    network: str
    steps: list[Any]


def network() -> nn.Module:
    """A small classifier of the digits, without BatchNorm."""
    first, second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, stride=2, padding=1)
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), *head)


RECIPES: Final = {
    "plain": Steps(
        f"{Path(__file__).resolve()}:network",
        [
            {"train": {**TRAIN, "lr": 0.1, "augment": True}},
            {"prune": {**CUT, "criterion": "l1"}},
            {"finetune": {**TRAIN, "lr": 0.05}},
        ],
    ),
    "normalized": Steps(
        "digits_cnn",
        [
            {"train": {**TRAIN, "lr": 0.01, "augment": True}},
            {"sparsify": {**TRAIN, "lr": 0.01, "strength": 0.1}},
            {"prune": {**CUT, "criterion": "l1"}},
            {"recalibrate": {"num_batches": 4}},
            {"finetune": {**TRAIN, "lr": 0.01}},
        ],
    ),
    "given": Steps(
        "digits_cnn",
        [
            {"prune": {**CUT, "criterion": "taylor"}},
            {"finetune": {**TRAIN, "lr": 0.05}},
            {"export": {"latency": None}},
        ],
    ),
}
"""`plain`: trained, then cut, no BatchNorm; `normalized`: with it; `given`: cut as it is, before any training."""


def main(out: Path) -> None:
    """Carry all out."""
    for name, (spec, steps) in RECIPES.items():
        head = {"name": name, "seed": 1, "threads": 1, "model": {"spec": spec}, "data": {"spec": "digits"}}
        run(parse_recipe({**head, "steps": steps}), out / name, quiet=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
